// A recorded machine that can be taken to any moment of its trace, forwards by running and otherwise from the nearest
// state before: a keyframe of the trace, or one of the checkpoints that it keeps in memory as it goes. What runs is
// verified against the log like replay(). What the guest prints goes to the console each time it is run through.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "replay/guest/kallsyms.h"
#include "replay/store/hash.h"
#include "replay/trace/reader.h"
#include "vmm/machine/machine.h"
#include "vmm/state/engine_choice.h"

namespace dejavm {

struct TimelineOptions {
  uint64_t memory_budget_bytes = uint64_t{1} << 30;  // for checkpoints
  TranslateOptions translation{};
};

class Timeline {
 public:
  static Result<std::unique_ptr<Timeline>> open(const TraceReader&, Console*, const TimelineOptions& = {});
  ~Timeline();
  Retired begin() const;
  Retired end() const;  // the last that can be gone to

  // Between two instructions: `at` are complete. Events that come in there (interrupts, the exception that the
  // instruction raised) have been delivered if `address` is set: it is the linear address of the instruction to be
  // executed next.
  struct Moment {
    Retired at;
    std::optional<uint64_t> address{};
    bool operator==(const Moment&) const = default;
  };
  Moment now() const;
  // Exactly there; an error leaves the machine somewhere on its way.
  Result<void> seek(Moment);
  Result<void> seek(Retired at) { return seek(Moment{at, {}}); }

  // kLimit: `until`, or the caller's wish. kEnd, kBegin: of the trace.
  enum class Why : uint8_t { kHit, kLimit, kBegin, kEnd };
  struct Stop {
    Why why = Why::kLimit;
    std::optional<DebugPoints::Hit> hit{};
  };
  // Runs on to the first hit. An access has then happened.
  Result<Stop> forward(const DebugPoints&, Retired until = kForever, const std::function<bool()>& wanted = {});
  // To the last hit before now. An access is then about to happen.
  Result<Stop> backward(const DebugPoints&, const std::function<bool()>& wanted = {});
  // How often instructions at points.code are executed from now to `until`, where it then stands; each time is counted,
  // also one that faults.
  Result<uint64_t> count(const DebugPoints&, Retired until = kForever);
  // One instruction; at the begin or the end, nothing. Of this vCPU: the others do before it what they did.
  Result<Stop> step(std::optional<uint32_t> vcpu = {});
  Result<Stop> step_back(std::optional<uint32_t> vcpu = {});
  // Of several vCPUs: the last `count` turns before now, in their order; fewer from the begin.
  Result<std::vector<Turn>> turns(size_t count);

  // To be looked at. Who changes its dirty flags (a MemorySummer of his own) calls mark_all_written() after.
  Machine& machine();
  Hash128 digest();                           // of the machine as it is
  std::map<uint64_t, Hash128> page_hashes();  // by Gpa / 4096; of those that are not all zero
  size_t checkpoints() const;
  uint64_t checkpoint_bytes() const;

 private:
  struct Impl;
  explicit Timeline(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

// The kernel of a recorded Linux guest, as it was at the last keyframe at which its symbols are in memory.
struct KernelAt {
  GuestKernel kernel;
  std::unique_ptr<Machine> machine;  // there
};
Result<KernelAt> find_kernel(const TraceReader&);

}  // namespace dejavm
