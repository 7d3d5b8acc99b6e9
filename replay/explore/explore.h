// Looks for a schedule by which a guest fails: runs it again and again from one state, each time by the turns of
// another seed, and keeps the traces of the runs that were bad.
//
// In the folder: `outcomes.jsonl`, whose first line says what is looked for and then one line for each run in the order
// in which they were done; seed-N.dvt and seed-N.console of each bad run. A search that was interrupted goes on where
// it was: what is there is not done again. A search for something else in the same folder is refused.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "replay/explore/attempt.h"

namespace dejavm {

struct ExploreOptions {
  // Random or PCT; its seed is the search's, its length may be 0: that of the run in order. kRoundRobin: by the seed,
  // two of three are random, one PCT of a depth of 2 to 4.
  ScheduleConfig how;
  uint64_t slice = 0;  // 0: by the seed, 50 to 50000
  uint64_t first_seed = 0;
  uint64_t seeds = 100;
  unsigned jobs = 1;
  bool until_first = false;                       // ends with the first bad run
  std::chrono::milliseconds host_limit{600'000};  // of one run
  std::string folder;
  std::function<bool()> wanted{};  // false: the search ends, and may be gone on with later
};

// The turns of one seed. `length`: of a PCT run, for which nothing is said.
struct SeedTurns {
  ScheduleConfig schedule;
  uint64_t slice = kDefaultSlice;
};
SeedTurns turns_of_seed(const ExploreOptions&, uint64_t seed, uint64_t length);

struct ExploredRun {
  bool in_order = false;  // round robin, which comes first
  uint64_t seed = 0;
  std::string schedule;  // as --schedule has it
  uint64_t slice = 0;
  AttemptResult result;
  std::string trace;  // file name, of a bad run
};

struct ExploreSummary {
  uint64_t runs = 0;  // of all that are in the folder, the one in order not counted
  uint64_t bad = 0;
  uint64_t unknown = 0;
  uint64_t taken_over = 0;  // that were there already
  bool in_order_bad = false;
  bool ended_early = false;  // not all seeds were tried
};

// `done`: is told of each run as it ends. Error: the folder cannot be written, or holds another search.
Result<ExploreSummary> explore(const AttemptPlan&, const ExploreOptions&,
                               const std::function<void(const ExploredRun&, const ExploreSummary&)>& done);

}  // namespace dejavm
