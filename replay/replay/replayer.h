// Replaying: runs a recorded machine again from its trace alone, and compares it with the log at every exit and input,
// at every keyframe, and at the end.
//
//   auto trace = TraceReader::open(path, TraceReader::Check::kAll);   // damage anywhere: an error with its place
//   auto summary = replay(**trace, console, {});                      // ErrorKind::kDivergence at the first difference
//   if (summary->truncated) puts((*trace)->truncation());         // an interrupted recording, replayed to its end
//
// replay() prints nothing. Console gets what the guest prints, or may be nullptr.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "replay/guest/where.h"
#include "replay/record/recorder.h"
#include "replay/replay/keyframe.h"
#include "replay/trace/reader.h"

namespace dejavm {

struct ReplayOptions {
  size_t from_keyframe = 0;  // 0: the initial state
  Retired until = kForever;  // stop there, with the machine's digest
  EngineChoice engine{};     // empty: the one that recorded
  std::function<void(const Progress&)> progress{};
  std::function<void(Machine&)> at_begin{};  // called with the machine before it runs
  // Called at a divergence with a machine that stands before the instruction that diverged; its text is appended to the
  // report (instruction, registers). Default: describe_instruction.
  std::function<std::string(Machine&)> explain{};
  std::function<void(Machine&)> at_end{};  // called with the machine as the replay leaves it, unless it diverged
};

struct ReplaySummary : RunSummary {
  uint64_t events = 0;     // compared in this run
  uint64_t keyframes = 0;  // whose digests were compared in this run, the one started from included
  bool truncated = false;  // the log was cut off: the run ended where it does
};

Result<ReplaySummary> replay(const TraceReader&, Console*, const ReplayOptions&);
// The number of the last keyframe at or before an instruction.
size_t keyframe_before(const TraceReader&, Retired at);

}  // namespace dejavm
