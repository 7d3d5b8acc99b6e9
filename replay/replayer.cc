#include "replay/where.h"
#include "replay/replayer.h"

#include <algorithm>

#include <fmt/format.h>

#include "replay/follow.h"
#include "replay/verify.h"

namespace dejavm {
namespace {

Retired one_more(Retired r) { return r == kForever ? r : r + 1; }

// Where the run ends: the caller's wish, or the end of the log.
Retired limit_of(const TraceReader& trace, Retired until) {
  if (trace.end()) return std::min(until, Retired{trace.end()->instructions});
  // A last exit belongs to the instruction at its position; that completes one later.
  return std::min(until, quiet_end(trace).value_or(one_more(trace.last_at())));
}

struct Replay {
  Replay(const TraceReader& t, Restored r, size_t from, const ReplayOptions& o)
      : trace(t), options(o), machine(std::move(r.machine)), summer(std::move(r.summer)),
        exits_before(r.snapshot.exits), log(t, t.keyframes()[from]), keyframe(from + 1),
        exits(machine->board(), log), inputs(log, [this](Position at) { progress(at); }) {
    if (!follows()) return;
    machine->wrap_engine([this](std::unique_ptr<Engine> soft) { return make_follow_engine(std::move(soft), machine->board(), log, trace); });
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
      log.diverge(machine->position(), fmt::format("keyframe {}: {}", keyframe - 1,
                                                   explain_digest(trace, k, *expected, now, *machine)));
    return {};
  }

  // KVM's recordings do not count instructions: the log says where the guest is.
  bool follows() const { return trace.header().engine == "kvm" && options.engine != "kvm"; }
  bool same_engine() const { return options.engine.empty() || options.engine == trace.header().engine; }

  const TraceReader& trace;
  const ReplayOptions& options;
  std::unique_ptr<Machine> machine;
  MemorySummer summer;
  uint64_t exits_before;
  LogFollower log;
  size_t keyframe;  // the next to compare
  VerifyingExits exits;
  ReplayInputs inputs;
};

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
      text += "\n" + (options.explain ? options.explain(*again.machine)
                                      : describe_instruction(*again.machine, d.at.vcpu));
    }
  }
  return {ErrorKind::kDivergence, std::move(text)};
}

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
  auto restored = restore_keyframe(trace, options.from_keyframe, console, options.engine);
  if (!restored) return restored.error();
  const Retired start = trace.keyframes()[options.from_keyframe].at;
  if (options.until < start)
    return Error{ErrorKind::kHost,
                 fmt::format("cannot stop at instruction {}: keyframe {} is at instruction {}",
                             options.until.value, options.from_keyframe, start.value)};
  Replay r(trace, restored.take(), options.from_keyframe, options);
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
      return Error{ErrorKind::kDivergence,
                   fmt::format("{}: the replay followed the log to its end, and ends differently{}",
                               trace.name(), why)};
  return s;
}

size_t keyframe_before(const TraceReader& trace, Retired at) {
  size_t n = 0;
  while (n + 1 < trace.keyframes().size() && trace.keyframes()[n + 1].at <= at) ++n;
  return n;
}

struct Timeline::Impl {
  const TraceReader& trace;
  Console* console;
  const ReplayOptions options{};
  std::unique_ptr<Replay> replay;
};

Timeline::Timeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Timeline::~Timeline() = default;

Result<std::unique_ptr<Timeline>> Timeline::open(const TraceReader& trace, Console* console) {
  std::unique_ptr<Timeline> t(new Timeline(std::make_unique<Impl>(Impl{trace, console, {}, nullptr})));
  if (auto done = t->seek(t->begin()); !done) return done.error();
  return t;
}

Retired Timeline::begin() const { return impl_->trace.keyframes().front().at; }
Retired Timeline::end() const { return limit_of(impl_->trace, kForever); }
Machine& Timeline::machine() { return *impl_->replay->machine; }

Result<void> Timeline::seek(Retired at) {
  Impl& m = *impl_;
  if (at > end() || at < begin())
    return Error{ErrorKind::kHost, fmt::format("{}: goes from instruction {} to {}; cannot go to {}", m.trace.name(), begin().value,
                                               end().value, at.value)};
  const size_t from = keyframe_before(m.trace, at);
  const Retired now = m.replay ? m.replay->machine->position().retired : Retired{0};
  if (!m.replay || now > at || m.trace.keyframes()[from].at > now) {
    auto restored = restore_keyframe(m.trace, from, m.console);
    if (!restored) return restored.error();
    m.replay = std::make_unique<Replay>(m.trace, restored.take(), from, m.options);
  }
  Replay& r = *m.replay;
  if (auto end = r.run(at); !end) return end.error();
  r.log.finish(r.machine->position(), false);
  if (r.log.error()) return *r.log.error();
  if (r.log.divergence()) return divergence_error(m.trace, *r.log.divergence(), m.options);
  if (r.machine->position().retired != at)
    return Error{ErrorKind::kHost, fmt::format("{}: the run ended at instruction {}; cannot go to {}", m.trace.name(),
                                               r.machine->position().retired.value, at.value)};
  return {};
}

}  // namespace dejavm
