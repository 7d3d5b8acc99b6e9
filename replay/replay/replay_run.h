// A replay at work: what replay() and Timeline have in common.
#pragma once

#include <algorithm>

#include <fmt/format.h>

#include "replay/replay/kvm_follow.h"
#include "replay/replay/replayer.h"
#include "replay/replay/verify.h"

namespace dejavm {

inline Retired one_more(Retired r) { return r == kForever ? r : r + 1; }

// Where the run ends: the caller's wish, or the end of the log.
inline Retired limit_of(const TraceReader& trace, Retired until) {
  if (trace.end()) return std::min(until, Retired{trace.end()->instructions});
  // A last exit belongs to the instruction at its position; that completes one later.
  return std::min(until, quiet_end(trace).value_or(one_more(trace.last_at())));
}

struct Replay {
  Replay(const TraceReader& t, Restored r, size_t from, const ReplayOptions& o)
      : trace(t),
        options(o),
        machine(std::move(r.machine)),
        summer(std::move(r.summer)),
        exits_before(r.snapshot.exits),
        log(t, t.keyframes()[from]),
        keyframe(from + 1),
        exits(machine->board(), log),
        inputs(log, [this](Position at) { progress(at); }) {
    if (!follows()) return;
    machine->wrap_engine([this](std::unique_ptr<Engine> soft) {
      return make_follow_engine(std::move(soft), machine->board(), log, trace);
    });
    keyframe = trace.keyframes().size();  // they are at no place that the log has
  }

  void progress(Position at) {
    if (options.progress)
      options.progress({at.retired, machine->now(), exits_before + log.exits(), trace.file_bytes()});
  }

  // Runs to `until` or to the end of the log, by way of each keyframe, whose digests it compares.
  Result<RunEnd> run(Retired until) {
    for (;;) {
      const auto& keyframes = trace.keyframes();
      const bool more = keyframe < keyframes.size() && keyframes[keyframe].at <= until;
      const RunEnd end = machine->run(more ? keyframes[keyframe].at : until, inputs, exits);
      if (log.stop()) return end;
      if (end != RunEnd::kUntil || !more) return end;
      if (machine->position().retired < keyframes[keyframe].at) return end;  // at a debug point
      if (auto done = compare_keyframe(); !done) return done.error();
      if (log.stop()) return end;
    }
  }

  Result<void> compare_keyframe() {
    const Keyframe& k = trace.keyframes()[keyframe++];
    auto expected = trace.snapshot(k);
    if (!expected) return expected.error();
    if (log.index() != k.first_event)
      log.diverge(machine->position(), fmt::format("expected keyframe {} after {} events\nhappened after {}",
                                                   keyframe - 1, k.first_event, log.index()));
    const Snapshot now = take_snapshot(*machine, summer);
    // Another engine has chunks of its own; then memory alone is compared.
    if (same_engine() ? now.digest != expected->digest : now.memory != expected->memory)
      log.diverge(machine->position(),
                  fmt::format("keyframe {}: {}", keyframe - 1, explain_digest(trace, k, *expected, now, *machine)));
    return {};
  }

  // KVM's recordings do not count instructions: the log says where the guest is.
  bool follows() const { return trace.header().engine == "kvm" && options.engine.name != "kvm"; }
  bool same_engine() const { return options.engine.or_else(trace.header().engine).name == trace.header().engine; }

  const TraceReader& trace;
  const ReplayOptions& options;
  std::unique_ptr<Machine> machine;
  MemorySummer summer;
  uint64_t exits_before;
  LogVerifier log;
  size_t keyframe;  // the next to compare
  VerifyingExits exits;
  ReplayInputs inputs;
};

// Error: nothing in the log tells how the guest's vCPUs ran beside each other.
Result<void> can_run_again(const TraceReader&);

// The report of a divergence, with the instruction: another machine is taken to just before it.
Error divergence_error(const TraceReader&, const Divergence&, const ReplayOptions&);

}  // namespace dejavm
