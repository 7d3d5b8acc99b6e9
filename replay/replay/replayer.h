// Replaying: runs a recorded machine again from its trace alone, and compares it with the log at every exit and input,
// at every keyframe, and at the end.
//
//   auto trace = TraceReader::open(path, TraceReader::Check::kAll);   // damage anywhere: an error with its place
//   auto summary = replay(**trace, console, {});                      // ErrorKind::kDivergence at the first difference
//   if (summary->truncated) puts((*trace)->truncation());         // an interrupted recording, replayed to its end
//   replay_devices_only(**trace, ...)                                 // the logged exits into a fresh board; no CPU
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
#include "replay/trace/trace.h"

namespace dejavm {

struct ReplayOptions {
  size_t from_keyframe = 0;   // 0: the initial state
  Retired until = kForever;   // stop there, with the machine's digest
  std::string engine{};       // empty: the one that recorded
  std::function<void(const Progress&)> progress{};
  // Called at a divergence with a machine that stands before the instruction that diverged; its text is appended to the
  // report (instruction, registers). Default: describe_instruction.
  std::function<std::string(Machine&)> explain{};
  std::function<void(Machine&)> at_end{};  // called with the machine as the replay leaves it, unless it diverged
};

struct ReplaySummary : RunSummary {
  uint64_t events = 0;        // compared in this run
  uint64_t keyframes = 0;     // whose digests were compared in this run, the one started from included
  bool truncated = false;     // the log was cut off: the run ended where it does
};

Result<ReplaySummary> replay(const TraceReader&, Console*, const ReplayOptions&);
// The same by so many threads at most, each with a machine of its own, which runs from one keyframe to a later one. Since what a part
// ends with is compared with what the next begins with, all that replay() compares is compared. Of several differences the first
// in the guest's order is reported. `progress` is called by all threads, one at a time.
Result<ReplaySummary> replay_in_parts(const TraceReader&, const ReplayOptions&, unsigned jobs);

// The number of the last keyframe at or before an instruction.
size_t keyframe_before(const TraceReader&, Retired at);

struct DevicesSummary {
  uint64_t events = 0, exits = 0;
  uint64_t answers = 0;       // reads, MSRs, CPUIDs and interrupt vectors compared
  uint64_t keyframes = 0;     // whose device states were compared
};
// Feeds the logged exits, inputs and skips of time to a fresh board, compares each answer, and at each keyframe every field
// of every device. No guest code runs. A difference names device, event and the fields that differ at the next keyframe.
Result<DevicesSummary> replay_devices_only(const TraceReader&, Console*);

// How long the processor was asked for an interrupt before it took it: from INTR's rise, or from when the interrupt before was taken.
struct InterruptTaken {
  uint8_t vector = 0;
  Position at;
  Nanos raised, taken;
};
// All of a trace's, in their order, from the devices alone.
Result<void> interrupts_taken(const TraceReader&, const std::function<void(const InterruptTaken&)>&);

// The device that an event is about, "cpu" for CPUID; "-": none.
std::string_view device_of(const Event&);

}  // namespace dejavm
