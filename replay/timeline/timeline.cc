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
  std::optional<uint32_t> only{};  // debug points are for this vCPU, or all but it
  bool all_but = false;
  bool delivered = false;  // the machine has stopped at a debug point: events of this boundary may have come in

  Machine& machine() { return *replay->machine; }
  // On every vCPU.
  bool watch(DebugPoints* points) {
    bool can = true;
    for (uint32_t n = 0; n < machine().config().vcpus; ++n)
      can &= machine().engine().set_debug_points(n, watches(n) ? points : nullptr);
    return can;
  }
  bool watches(uint32_t n) const { return !only || (n == *only) != all_but; }
  // Runs, or passes, to where one of these vCPUs is about to execute an instruction.
  Result<Stop> onwards_to_vcpu(DebugPoints& points, uint32_t vcpu, bool other, Retired until) {
    only = vcpu;
    all_but = other;
    points.every = true;
    auto stop = onwards(points, until, {});
    only.reset();
    return stop;
  }
  Retired at() { return machine().position().retired; }
  Retired begin() const { return trace.keyframes().front().at; }
  Retired end() const { return limit_of(trace, kForever); }
  Moment now() {
    Moment moment{at(), {}};
    if (delivered) moment.address = address();
    return moment;
  }
  Result<void> seek(Moment);
  Result<std::optional<Retired>> last_of(uint32_t vcpu, Retired before_this);
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
    if (const char* why = machine().misfit()) return trace.damaged(keyframe.frame, why);
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
    if (auto possible = can_run_again(trace); !possible) return possible.error();
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

Retired Timeline::begin() const { return impl_->begin(); }
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

Timeline::Moment Timeline::now() const { return impl_->now(); }

Result<void> Timeline::seek(Moment to) { return impl_->seek(to); }

Result<void> Timeline::Impl::seek(Moment to) {
  if (to.at > end() || to.at < begin())
    return Error{ErrorKind::kHost, fmt::format("{}: goes from instruction {} to {}; cannot go to {}", trace.name(),
                                               begin().value, end().value, to.at.value)};
  if (replay && !replay->log.stop() && now() == to) return {};
  if (auto done = nearest(to.at); !done) return done;
  while (at() < to.at) {
    const uint64_t left = to.at - at();
    const Retired next = left > 2 * kDense ? at() + std::min(std::max(left / 2, kDense), kSparse) : to.at;
    auto there = run(next);
    if (!there) return there.error();
    if (at() != next)
      return Error{ErrorKind::kHost, fmt::format("{}: the run ended at instruction {}; cannot go to {}", trace.name(),
                                                 at().value, to.at.value)};
    if (next != to.at) checkpoint();
  }
  if (!to.address) return {};
  DebugPoints there_only;
  there_only.code = {*to.address};
  auto there = onwards(there_only, to.at + 1, {});
  if (!there) return there.error();
  if (!there->hit || there->hit->at != to.at)
    return Error{ErrorKind::kHost, fmt::format("{}: at instruction {} the machine does not come to {:#x}", trace.name(),
                                               to.at.value, *to.address)};
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

Result<Timeline::Stop> Timeline::step(std::optional<uint32_t> vcpu) {
  if (impl_->at() >= end()) return Stop{Why::kEnd, {}};
  const bool turn_is_over = vcpu && *vcpu != machine().position().vcpu;
  if (!turn_is_over) {
    if (auto done = seek(Moment{impl_->at() + 1, {}}); !done) return done.error();
    if (!vcpu || *vcpu == machine().position().vcpu) return Stop{Why::kLimit, {}};
  }
  DebugPoints points;
  auto stop = impl_->onwards_to_vcpu(points, *vcpu, false, kForever);
  if (!stop || stop->why != Why::kHit) return stop;
  if (auto done = seek(Moment{impl_->at() + 1, {}}); !done) return done.error();
  return Stop{Why::kLimit, {}};
}

Result<Timeline::Stop> Timeline::step_back(std::optional<uint32_t> vcpu) {
  const Moment here = now();
  if (!here.address && here.at <= begin()) return Stop{Why::kBegin, {}};
  if (!vcpu) {
    if (auto done = seek(here.address ? Moment{here.at, {}} : Moment{Retired{here.at.value - 1}, {}}); !done)
      return done.error();
    return Stop{Why::kLimit, {}};
  }
  auto last = impl_->last_of(*vcpu, here.at);
  if (!last) return last.error();
  if (!*last) {
    if (auto done = seek(begin()); !done) return done.error();
    return Stop{Why::kBegin, {}};
  }
  if (auto done = seek(**last); !done) return done.error();
  if (machine().position().vcpu == *vcpu) return Stop{Why::kLimit, {}};
  DebugPoints points;  // its turn begins here
  if (auto stop = impl_->onwards_to_vcpu(points, *vcpu, false, **last + 1); !stop) return stop.error();
  return Stop{Why::kLimit, {}};
}

// Where a vCPU's last instruction before a moment is about to be executed, if there is one.
Result<std::optional<Retired>> Timeline::Impl::last_of(uint32_t vcpu, Retired before_this) {
  if (before_this <= begin()) return std::optional<Retired>();
  if (auto done = seek({before_this, {}}); !done) return done.error();
  if (machine().position().vcpu == vcpu) return std::optional(Retired{before_this.value - 1});
  // A moment of its last turn, and from there to the end of that.
  for (Retired to = before_this; to > begin();) {
    const Retired from = before(Retired{to.value - 1});
    if (auto done = seek({from, {}}); !done) return done.error();
    DebugPoints points;
    points.passing = true;
    if (auto stop = onwards_to_vcpu(points, vcpu, false, to); !stop) return stop.error();
    to = from;
    if (!points.last) continue;
    if (auto done = seek({points.last->at, {}}); !done) return done.error();
    DebugPoints end_of_turn;
    // It is about to begin here, or has begun.
    if (machine().position().vcpu != vcpu)
      if (auto stop = onwards_to_vcpu(end_of_turn, vcpu, false, before_this); !stop) return stop.error();
    if (auto stop = onwards_to_vcpu(end_of_turn, vcpu, true, before_this); !stop) return stop.error();
    return std::optional(Retired{at().value - 1});
  }
  return std::optional<Retired>();
}

Result<std::vector<Turn>> Timeline::turns(size_t count) {
  const Moment here = now();
  std::vector<Turn> out;
  for (Retired to = here.at; to > begin() && out.size() < count;) {
    const Retired from = impl_->before(Retired{to.value - 1});
    if (auto done = seek(from); !done) return done.error();
    std::vector<Turn> of_window;
    machine().watch_turns([&](const Turn& turn) { of_window.push_back(turn); });
    const auto there = impl_->run(to);
    machine().watch_turns(nullptr);
    if (!there) return there.error();
    out.insert(out.begin(), of_window.begin(), of_window.end());
    to = from;
  }
  if (out.size() > count) out.erase(out.begin(), out.end() - static_cast<std::ptrdiff_t>(count));
  if (auto done = seek(here); !done) return done.error();
  return out;
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
