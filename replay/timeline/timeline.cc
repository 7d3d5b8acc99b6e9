#include "replay/timeline/timeline.h"

#include "replay/guest/where.h"
#include "replay/replay/replay_run.h"
#include "replay/timeline/checkpoints.h"

namespace dejavm {
namespace {

// Checkpoints are this far apart at most where the machine came by, and about this far before where it was to go.
constexpr uint64_t kSparse = 50'000'000, kDense = 50'000;

}  // namespace

struct Timeline::Impl {
  const TraceReader& trace;
  Console* console;
  Checkpoints checkpoints;
  const ReplayOptions options{};
  std::unique_ptr<Replay> replay{};
  bool delivered = false;  // the machine has stopped at a debug point: events of this boundary may have come in

  Machine& machine() { return *replay->machine; }
  // On every vCPU.
  bool watch(DebugPoints* points) {
    bool can = true;
    for (uint32_t n = 0; n < machine().config().vcpus; ++n) can &= machine().engine().set_debug_points(n, points);
    return can;
  }
  Retired at() { return machine().position().retired; }
  Retired end() const { return limit_of(trace, kForever); }
  uint64_t address() {
    machine().sync_out();
    VcpuState s;
    machine().engine().get_state(machine().position().vcpu, s);
    return linear_rip(s);
  }

  void checkpoint() {
    checkpoints.take(machine(), replay->summer,
                     {at(), replay->log.index(), replay->exits_before + replay->log.exits()});
  }
  // By way of an earlier keyframe that is a checkpoint, so that only what changed since then must be read.
  Result<void> from_keyframe(size_t from) {
    for (size_t n = from; replay && n-- > 0;)
      if (const Checkpoints::Mark* mark = checkpoints.before(trace.keyframes()[n].at);
          mark != nullptr && mark->at == trace.keyframes()[n].at) {
        if (auto done = from_checkpoint(*mark); !done) return done;
        return onwards_to_keyframe(n, from);
      }
    return from_file(from);
  }
  Result<void> onwards_to_keyframe(size_t here, size_t to) {
    const Keyframe& keyframe = trace.keyframes()[to];
    auto snapshot = trace.snapshot(keyframe);
    if (!snapshot) return snapshot.error();
    if (auto done = apply_pages(trace, static_cast<int64_t>(here), static_cast<int64_t>(to), machine()); !done)
      return done;
    machine().sync_out();
    if (auto done = load_chunks(snapshot->chunks, machine().chunks()); !done)
      return trace.damaged(keyframe.frame, done.error().message);
    machine().sync_in(true);
    if (take_snapshot(machine(), replay->summer).memory != snapshot->memory)
      return trace.damaged(keyframe.frame, "its pages do not make the memory that it had");
    replay->log.seek(keyframe.first_event, snapshot->exits - replay->exits_before);
    replay->keyframe = to + 1;
    delivered = false;
    checkpoint();
    return {};
  }
  Result<void> from_file(size_t from) {
    auto restored = restore_keyframe(trace, from, console, options.engine);
    if (!restored) return restored.error();
    replay = std::make_unique<Replay>(trace, restored.take(), from, options);
    checkpoints.new_machine(machine(), replay->summer);
    checkpoint();
    delivered = false;
    return {};
  }
  Result<void> from_checkpoint(const Checkpoints::Mark& mark) {
    if (auto done = checkpoints.restore(mark, machine(), replay->summer); !done) return done;
    replay->log.seek(mark.event, mark.exits - replay->exits_before);
    replay->keyframe = keyframe_before(trace, mark.at) + 1;
    delivered = false;
    return {};
  }
  // To the nearest state at or before `to`.
  Result<void> nearest(Retired to) {
    const size_t keyframe = keyframe_before(trace, to);
    const Retired stored = trace.keyframes()[keyframe].at;
    const Checkpoints::Mark* mark = replay ? checkpoints.before(to) : nullptr;
    if (replay && !replay->log.stop() && (delivered ? at() < to : at() <= to) && at() >= stored &&
        (mark == nullptr || at() >= mark->at))
      return {};
    if (mark != nullptr && mark->at >= stored) return from_checkpoint(*mark);
    return from_keyframe(keyframe);
  }
  // Runs; an error if it is not as it was recorded. True: it stands where it was to, or at a debug point.
  Result<bool> run(Retired to) {
    auto end = replay->run(to);
    if (!end) return end.error();
    delivered = false;
    replay->log.finish(machine().position(), false);
    if (replay->log.error()) return *replay->log.error();
    if (replay->log.divergence()) return divergence_error(trace, *replay->log.divergence(), options);
    return *end == RunEnd::kUntil;
  }
  // The nearest state at or before a position.
  Retired before(Retired at) const {
    const Checkpoints::Mark* mark = checkpoints.before(at);
    return std::max(trace.keyframes()[keyframe_before(trace, at)].at, mark != nullptr ? mark->at : Retired{0});
  }

  Result<Stop> onwards(DebugPoints& points, Retired until, const std::function<bool()>& wanted) {
    points.hit.reset();
    const Retired last = end(), limit = std::min(until, last);
    Stop stop{at() >= last ? Why::kEnd : Why::kLimit, {}};
    if (at() >= limit) return stop;
    if (!watch(&points)) return Error{ErrorKind::kHost, "this engine cannot stop at debug points"};
    Result<bool> there = true;
    while (at() < limit) {
      const Retired next = std::min(limit, at() + kSparse);
      there = run(next);
      if (!there) break;
      if (points.hit || !*there || at() < next) {
        stop = {points.hit ? Why::kHit : *there ? Why::kLimit : Why::kEnd, points.hit};
        // An instruction's access stops before any event comes in.
        delivered = !points.hit || (points.hit->kind == DebugPoints::Kind::kCode || points.hit->at == at());
        break;
      }
      checkpoint();
      if (at() >= last) stop.why = Why::kEnd;
      if (wanted && wanted()) break;
    }
    watch(nullptr);
    if (!there) return there.error();
    return stop;
  }
};

Timeline::Timeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Timeline::~Timeline() = default;

Result<std::unique_ptr<Timeline>> Timeline::open(const TraceReader& trace, Console* console,
                                                 const TimelineOptions& options) {
  if (trace.header().engine == "kvm")
    return Error{
        ErrorKind::kHost,
        trace.name() +
            ": was recorded on KVM, where instructions are not counted: it can be replayed, but not stopped in. "
            "Record on the deterministic engine or with --engine kvm-step"};
  std::unique_ptr<Timeline> t(new Timeline(std::unique_ptr<Impl>(new Impl{
      trace, console, Checkpoints(options.memory_budget_bytes), ReplayOptions{.engine = {"", options.translation}}})));
  if (auto done = t->seek(t->begin()); !done) return done.error();
  return t;
}

Retired Timeline::begin() const { return impl_->trace.keyframes().front().at; }
Retired Timeline::end() const { return impl_->end(); }
Machine& Timeline::machine() { return impl_->machine(); }
Hash128 Timeline::digest() { return take_snapshot(machine(), impl_->replay->summer).digest; }
std::map<uint64_t, Hash128> Timeline::page_hashes() {
  std::map<uint64_t, Hash128> out;
  for (const MemoryRegion& r : machine().memory().regions())
    for_each_page_with(r, kPageWritten, [&](uint64_t p) {
      const uint64_t index = r.start.value / kPageSize + p;
      if (const Hash128 h = hash_page(index, r.host + p * kPageSize); !h.zero()) out[index] = h;
    });
  return out;
}
size_t Timeline::checkpoints() const { return impl_->checkpoints.count(); }
uint64_t Timeline::checkpoint_bytes() const { return impl_->checkpoints.bytes(); }

Timeline::Moment Timeline::now() const {
  Moment m{impl_->at(), {}};
  if (impl_->delivered) m.address = impl_->address();
  return m;
}

Result<void> Timeline::seek(Moment to) {
  Impl& m = *impl_;
  if (to.at > end() || to.at < begin())
    return Error{ErrorKind::kHost, fmt::format("{}: goes from instruction {} to {}; cannot go to {}", m.trace.name(),
                                               begin().value, end().value, to.at.value)};
  if (m.replay && !m.replay->log.stop() && now() == to) return {};
  if (auto done = m.nearest(to.at); !done) return done;
  while (m.at() < to.at) {
    const uint64_t left = to.at - m.at();
    const Retired next = left > 2 * kDense ? m.at() + std::min(std::max(left / 2, kDense), kSparse) : to.at;
    auto there = m.run(next);
    if (!there) return there.error();
    if (m.at() != next)
      return Error{ErrorKind::kHost, fmt::format("{}: the run ended at instruction {}; cannot go to {}", m.trace.name(),
                                                 m.at().value, to.at.value)};
    if (next != to.at) m.checkpoint();
  }
  if (!to.address) return {};
  DebugPoints there_only;
  there_only.code = {*to.address};
  auto there = m.onwards(there_only, to.at + 1, {});
  if (!there) return there.error();
  if (!there->hit || there->hit->at != to.at)
    return Error{ErrorKind::kHost, fmt::format("{}: at instruction {} the machine does not come to {:#x}",
                                               m.trace.name(), to.at.value, *to.address)};
  return {};
}

Result<Timeline::Stop> Timeline::forward(const DebugPoints& what, Retired until, const std::function<bool()>& wanted) {
  DebugPoints points = what;
  points.known_at = impl_->at();
  points.known_address = impl_->address();
  return impl_->onwards(points, until, wanted);
}

Result<Timeline::Stop> Timeline::backward(const DebugPoints& what, const std::function<bool()>& wanted) {
  Impl& m = *impl_;
  const Moment here = now();
  // Window by window, each from the nearest state before it.
  for (Moment to = here; to.at > begin() || to.address;) {
    const Retired from = m.before(to.address ? to.at : Retired{to.at.value - 1});
    if (auto done = seek(from); !done) return done.error();
    DebugPoints points = what;
    points.passing = true;
    points.known_at = to.address ? to.at : kForever;
    points.known_address = to.address.value_or(0);
    auto stop = m.onwards(points, to.address ? to.at + 1 : to.at, wanted);
    if (!stop) return stop.error();
    if (wanted && wanted()) {
      if (auto done = seek(here); !done) return done.error();
      return Stop{Why::kLimit, {}};
    }
    if (const auto& hit = points.last) {
      if (auto done = seek(hit->kind == DebugPoints::Kind::kCode ? Moment{hit->at, hit->address} : Moment{hit->at, {}});
          !done)
        return done.error();
      return Stop{Why::kHit, hit};
    }
    to = {from, {}};
  }
  if (auto done = seek(begin()); !done) return done.error();
  return Stop{Why::kBegin, {}};
}

Result<uint64_t> Timeline::count(const DebugPoints& what, Retired until) {
  DebugPoints points = what;
  points.passing = true;
  points.passed = 0;
  auto stop = impl_->onwards(points, until, {});
  if (!stop) return stop.error();
  return points.passed;
}

Result<Timeline::Stop> Timeline::step() {
  if (impl_->at() >= end()) return Stop{Why::kEnd, {}};
  if (auto done = seek(Moment{impl_->at() + 1, {}}); !done) return done.error();
  return Stop{Why::kLimit, {}};
}

Result<Timeline::Stop> Timeline::step_back() {
  const Moment here = now();
  if (!here.address && here.at <= begin()) return Stop{Why::kBegin, {}};
  if (auto done = seek(here.address ? Moment{here.at, {}} : Moment{Retired{here.at.value - 1}, {}}); !done)
    return done.error();
  return Stop{Why::kLimit, {}};
}

Result<KernelAt> find_kernel(const TraceReader& trace) {
  Error why{ErrorKind::kBadInput, "no keyframe"};
  for (size_t n = trace.keyframes().size(); n-- > 0;) {
    auto restored = restore_keyframe(trace, n, nullptr, "deterministic");
    if (!restored) return restored.error();
    auto kernel = GuestKernel::find(restored->machine->memory());
    if (kernel) return KernelAt{kernel.take(), std::move(restored->machine)};
    if (n + 1 == trace.keyframes().size()) why = kernel.error();
  }
  why.message = trace.name() + ": " + why.message;
  return why;
}

}  // namespace dejavm
