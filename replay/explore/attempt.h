// One run of a machine from where it stands, by a schedule of its own, in a copy of this process; and whether it was
// bad.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "replay/explore/bad_test.h"
#include "replay/explore/copies.h"
#include "replay/snapshot/snapshot_file.h"

namespace dejavm {

struct Attempt {
  ScheduleConfig schedule;
  uint64_t slice = kDefaultSlice;
  // Files to be written; empty: none.
  std::string trace;
  std::string console;
  std::string snapshot;  // of the end
};

struct AttemptResult {
  bool bad = false;
  std::string why;       // bad; or what prevented an answer
  bool unknown = false;  // nobody can say: the host's time was up, or the host failed
  std::string end;       // name_of(RunEnd)
  bool limit = false;    // ... by a limit of instructions or virtual time
  uint64_t instructions = 0;
  bool operator==(const AttemptResult&) const = default;
};

// What all attempts have in common.
struct AttemptPlan {
  Machine& machine;         // not run, but in copies; of the deterministic engine
  WatchedConsole& console;  // the machine's
  const std::vector<BadTest>& tests;
  SnapshotHead about;                       // for traces and snapshots
  Retired until = kForever;                 // limits: the machine's count
  Nanos until_time = kNever;                // and its time
  uint64_t keyframe_interval = 0;           // of a trace
  std::function<Result<void>()> confine{};  // called in the copy before the guest runs
};

// What a copy does: Copies::start(key, [&] { return run_attempt(plan, attempt); }).
std::string run_attempt(const AttemptPlan&, const Attempt&);
// Its answer, tests that are commands not included.
AttemptResult result_of(const Copies::Done&);
// The files that tests which are commands look at: BASE.console, BASE.dvs.
void name_files_of_commands(const std::vector<BadTest>&, const std::string& base, Attempt&);
// Runs those tests, for an attempt that was not bad so far, and removes their files.
void run_commands(const std::vector<BadTest>&, const Attempt&, AttemptResult&);

}  // namespace dejavm
