// The fewest switches by which a run is bad, of those that a recorded bad run made; so that without the last of them it
// is good. First the window: the shortest beginning of the list that is bad, and of that the shortest end; then what
// can be left out of it in pieces, down to single switches (Zeller, Hildebrandt: Simplifying and Isolating
// Failure-Inducing Input, 2002). A switch that does not come up, since others are left out, is left out too.
#pragma once

#include <chrono>
#include <functional>

#include "replay/explore/attempt.h"
#include "replay/explore/schedule_file.h"

namespace dejavm {

struct MinimiseOptions {
  unsigned jobs = 1;
  uint64_t attempts = 5000;                       // at most
  std::chrono::milliseconds host_limit{600'000};  // of one attempt
  std::string scratch;                            // a folder, for the files of tests that are commands
  std::function<void(size_t switches, uint64_t attempts)> progress{};
  std::function<bool()> wanted{};  // false: it is interrupted, an error
};

struct Minimised {
  ScheduleFile bad;   // not empty
  ScheduleFile good;  // the same without the last switch
  AttemptResult bad_result;
  AttemptResult good_result;
  uint64_t attempts = 0;
  bool complete = false;  // none of the switches can be left out; else the attempts were not enough
};

// ErrorKind::kHost: the list is not bad, or the guest is bad in order already.
Result<Minimised> minimise(const AttemptPlan&, const ScheduleFile& recorded, const MinimiseOptions&);

}  // namespace dejavm
