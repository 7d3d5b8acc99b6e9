#include "replay/replay/replayer.h"

#include <fmt/format.h>

#include "replay/guest/where.h"
#include "replay/replay/replay_run.h"

namespace dejavm {

Result<void> can_run_again(const TraceReader& trace) {
  const TraceHeader& header = trace.header();
  if (header.engine != "kvm" || header.config.vcpus == 1) return {};
  return Error{ErrorKind::kHost,
               fmt::format("{}: its {} vCPUs ran at once on KVM, and no log can tell how their stores fell among each "
                           "other, so the guest cannot be run again; 'dejavm replay --devices-only' verifies its "
                           "devices, and --engine kvm-step records the whole",
                           trace.name(), header.config.vcpus)};
}

// The report of a divergence, with the instruction: another machine is taken to just before it.
Error divergence_error(const TraceReader& trace, const Divergence& d, const ReplayOptions& options) {
  std::string text = fmt::format("{}: {}", trace.name(), d.message);
  const size_t from = keyframe_before(trace, d.at.retired);
  auto restored = restore_keyframe(trace, from, nullptr, options.engine);
  if (restored && trace.header().engine != "kvm") {
    Replay again(trace, restored.take(), from, options);
    again.keyframe = trace.keyframes().size();  // no digests this time
    ReplayInputs quiet(again.log);
    if (again.machine->run(d.at.retired, quiet, again.exits) == RunEnd::kUntil) {
      again.machine->sync_out();
      text += "\n" + (options.explain ? options.explain(*again.machine) : describe_place(*again.machine, d.at.vcpu));
    }
  }
  return {ErrorKind::kDivergence, std::move(text)};
}

namespace {

// What the end record says against what happened.
std::string compare_end(const TraceEnd& e, const RunSummary& s, bool same_engine, bool counted) {
  std::string out;
  auto differ = [&](std::string_view what, const auto& expected, const auto& found) {
    if (expected != found) out += fmt::format("\n{}: expected {}, found {}", what, expected, found);
  };
  differ("how the run ended", name_of(e.end), name_of(s.end));
  if (counted) differ("instructions", e.instructions, s.instructions);
  differ("exits", e.exits, s.exits);
  differ("debug-exit status", e.debug_exit, s.debug_exit);
  if (same_engine) differ("digest", to_hex(e.digest), to_hex(s.digest));
  return out;
}

}  // namespace

Result<ReplaySummary> replay(const TraceReader& trace, Console* console, const ReplayOptions& options) {
  if (auto possible = can_run_again(trace); !possible) return possible.error();
  auto restored = restore_keyframe(trace, options.from_keyframe, console, options.engine);
  if (!restored) return restored.error();
  const Retired start = trace.keyframes()[options.from_keyframe].at;
  if (options.until < start)
    return Error{ErrorKind::kHost, fmt::format("cannot stop at instruction {}: keyframe {} is at instruction {}",
                                               options.until.value, options.from_keyframe, start.value)};
  Replay r(trace, restored.take(), options.from_keyframe, options);
  if (options.at_begin) options.at_begin(*r.machine);
  const Retired limit = limit_of(trace, options.until);
  // A run that ended at its last instruction needs a step beyond it to say so (power-off, a halt for ever); one that
  // was told to stop there needs none.
  const bool to_the_end = trace.end() && options.until >= Retired{trace.end()->instructions};
  const bool ended_by_itself = to_the_end && trace.end()->end != RunEnd::kUntil;
  auto end = r.run(ended_by_itself ? one_more(limit) : limit);
  if (!end) return end.error();
  r.log.finish(r.machine->position(), to_the_end);
  if (r.log.error()) return *r.log.error();
  if (r.log.divergence()) return divergence_error(trace, *r.log.divergence(), options);

  ReplaySummary s;
  s.end = *end;
  s.exits = r.exits_before + r.log.exits();
  s.instructions = r.machine->position().retired.value;
  s.events = r.log.index() - trace.keyframes()[options.from_keyframe].first_event;
  s.keyframes = r.keyframe - options.from_keyframe;
  s.truncated = !trace.end() && options.until > limit;
  if (s.truncated) s.end = RunEnd::kUntil;
  const Snapshot last = take_snapshot(*r.machine, r.summer);
  s.digest = last.digest;
  if (options.at_end) options.at_end(*r.machine);
  if (s.end == RunEnd::kDebugExit) s.debug_exit = r.machine->debug_exit_status();
  if (s.end != RunEnd::kUntil && s.end != RunEnd::kPowerOff) s.detail = r.machine->detail();
  if (to_the_end)
    if (const std::string why = compare_end(*trace.end(), s, r.same_engine(), !r.follows()); !why.empty())
      return Error{
          ErrorKind::kDivergence,
          fmt::format("{}: the replay followed the log to its end, and ends differently{}", trace.name(), why)};
  return s;
}

size_t keyframe_before(const TraceReader& trace, Retired at) {
  size_t n = 0;
  while (n + 1 < trace.keyframes().size() && trace.keyframes()[n + 1].at <= at) ++n;
  return n;
}

}  // namespace dejavm
