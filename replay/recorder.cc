#include "replay/recorder.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "replay/replayer.h"

namespace dejavm {
namespace {

TraceHeader make_header(Machine& machine, const RecordOptions& options) {
  TraceHeader h;
  h.writer = options.writer;
  h.engine = std::string(machine.engine().name());
  h.config = machine.config();
  h.boot = options.boot;
  h.append = options.append;
  h.keyframe_interval = options.keyframe_interval;
  for (const ChunkRef& c : machine.chunks())
    if (std::none_of(h.schemas.begin(), h.schemas.end(), [&](const Schema* s) { return s->name == c.schema->name; }))
      h.schemas.push_back(c.schema);
  return h;
}

void write_keyframe(Machine& machine, MemorySummer& summer, TraceWriter& log) {
  uint64_t pages = 0;
  Snapshot s = take_snapshot(machine, summer, [&](uint64_t index, const uint8_t* content) {
    log.page(index, content);
    ++pages;
  });
  s.pages = pages;
  s.exits = log.exits();
  log.snapshot(s, machine.position().retired);
}

RunSummary summarize(Machine& machine, RunEnd end, uint64_t exits, const Hash128& digest) {
  RunSummary s{end, exits, machine.position().retired.value, digest, 0, {}};
  if (end == RunEnd::kDebugExit) s.debug_exit = machine.debug_exit_status();
  if (end != RunEnd::kUntil && end != RunEnd::kPowerOff) s.detail = machine.detail();
  if (end == RunEnd::kUnimplemented) s.detail += "; " + describe_instruction(machine);
  return s;
}

Result<BootImage> describe_image(std::string role, const std::string& path) {
  auto source = open_file(path);
  if (!source) return source.error();
  std::vector<uint8_t> bytes((*source)->size());
  if (auto done = (*source)->read_at(0, bytes); !done) return done.error();
  return BootImage{std::move(role), path.substr(path.rfind('/') + 1), bytes.size(), hash128(bytes)};
}

// The stops of a run in their order, one of them periodic (interval 0: none).
class Stops {
 public:
  Stops(std::vector<RunStop> stops, Retired begin, uint64_t interval, std::function<void(uint64_t)> periodic)
      : stops_(std::move(stops)), interval_(interval ? interval : ~uint64_t{0}), tick_(after(begin)), periodic_(std::move(periodic)) {
    std::stable_sort(stops_.begin(), stops_.end(), [](const RunStop& a, const RunStop& b) { return a.at < b.at; });
  }
  Retired next() const { return next_ < stops_.size() ? std::min(stops_[next_].at, tick_) : tick_; }
  void act(Retired at, uint64_t exits, bool last) {
    if (at >= tick_ && !last) {
      periodic_(exits);
      tick_ = after(tick_);
    }
    for (; next_ < stops_.size() && stops_[next_].at <= at; ++next_) stops_[next_].action(exits);
  }

 private:
  Retired after(Retired at) const { return interval_ > ~at.value ? kForever : at + interval_; }
  std::vector<RunStop> stops_;
  size_t next_ = 0;
  uint64_t interval_;
  Retired tick_;
  std::function<void(uint64_t)> periodic_;
};

}  // namespace

Result<std::vector<BootImage>> describe_boot(const BootSource& source) {
  std::vector<BootImage> out;
  for (const auto& [role, path] : {std::pair<const char*, const std::string&>{"kernel", source.kernel},
                                   {"initrd", source.initrd},
                                   {"firmware", source.firmware}}) {
    if (path.empty()) continue;
    auto image = describe_image(role, path);
    if (!image) return image.error();
    out.push_back(image.take());
  }
  return out;
}

Result<RunSummary> record(Machine& machine, Inputs& inputs, TraceWriter& log, const RecordOptions& options) {
  log.header(make_header(machine, options));
  MemorySummer summer;
  write_keyframe(machine, summer, log);
  RecordingExits exits(machine.board(), log);
  RecordingInputs logged_inputs(inputs, log, machine, options);
  std::vector<RunStop> stops = options.stops;
  Retired keyframe_at = machine.position().retired;
  const auto keyframe = [&](uint64_t) {
    const Retired at = machine.position().retired;
    if (at == keyframe_at) return;
    keyframe_at = at;
    write_keyframe(machine, summer, log);
  };
  for (const Retired at : options.keyframes_at) stops.push_back({at, keyframe});
  Stops order(std::move(stops), machine.position().retired, options.keyframe_interval, keyframe);
  RunEnd end;
  for (;;) {
    end = machine.run(std::min(options.until, order.next()), logged_inputs, exits);
    if (log.failed()) return *log.error();
    if (end != RunEnd::kUntil) break;
    const bool last = machine.position().retired >= options.until;
    order.act(machine.position().retired, log.exits(), last);
    if (last) break;
  }
  const Snapshot last = take_snapshot(machine, summer);
  RunSummary summary = summarize(machine, end, log.exits(), last.digest);
  TraceEnd record_end{end,         log.events(),       log.exits(),   summary.instructions,
                      last.digest, summary.debug_exit, summary.detail};
  record_end.detail.resize(std::min(record_end.detail.size(), kMaxDetailBytes));
  if (auto done = log.finish(record_end); !done) return done.error();
  return summary;
}

RunSummary run_plain(Machine& machine, Inputs& inputs, Retired until, bool digest, std::vector<RunStop> stops) {
  Stops order(std::move(stops), machine.position().retired, 0, {});
  RunEnd end;
  for (;;) {
    end = machine.run(std::min(until, order.next()), inputs, machine.board());
    if (end != RunEnd::kUntil) break;
    order.act(machine.position().retired, 0, true);
    if (machine.position().retired >= until) break;
  }
  Hash128 hash;
  if (digest) {
    MemorySummer summer;
    hash = take_snapshot(machine, summer).digest;
  }
  return summarize(machine, end, 0, hash);
}

uint64_t RecordingExits::io_read(Position at, Port port, unsigned size) {
  const uint64_t v = to_.io_read(at, port, size);
  log_.access(EventKind::kIoRead, at, port.value, size, v);
  return v;
}
void RecordingExits::io_write(Position at, Port port, unsigned size, uint64_t value) {
  to_.io_write(at, port, size, value);
  log_.access(EventKind::kIoWrite, at, port.value, size, value);
}
uint64_t RecordingExits::mmio_read(Position at, Gpa gpa, unsigned size) {
  const uint64_t v = to_.mmio_read(at, gpa, size);
  log_.access(EventKind::kMmioRead, at, gpa.value, size, v);
  return v;
}
void RecordingExits::mmio_write(Position at, Gpa gpa, unsigned size, uint64_t value) {
  to_.mmio_write(at, gpa, size, value);
  log_.access(EventKind::kMmioWrite, at, gpa.value, size, value);
}
bool RecordingExits::msr_read(Position at, uint32_t index, uint64_t& value) {
  const bool ok = to_.msr_read(at, index, value);
  log_.event({.kind = EventKind::kMsrRead, .ok = ok, .at = at, .address = index, .value = ok ? value : 0});
  return ok;
}
bool RecordingExits::msr_write(Position at, uint32_t index, uint64_t value) {
  const bool ok = to_.msr_write(at, index, value);
  log_.event({.kind = EventKind::kMsrWrite, .ok = ok, .at = at, .address = index, .value = value});
  return ok;
}
uint64_t RecordingExits::cr8_read(Position at) {
  const uint64_t v = to_.cr8_read(at);
  log_.event({.kind = EventKind::kCr8Read, .at = at, .value = v});
  return v;
}
void RecordingExits::cr8_write(Position at, uint64_t value) {
  to_.cr8_write(at, value);
  log_.event({.kind = EventKind::kCr8Write, .at = at, .value = value});
}
CpuidResult RecordingExits::cpuid(Position at, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) {
  const CpuidResult r = to_.cpuid(at, leaf, subleaf, cr4, xcr0);
  log_.event({.kind = EventKind::kCpuid,
              .at = at,
              .address = leaf,
              .subleaf = subleaf,
              .cr4 = cr4,
              .xcr0 = xcr0,
              .cpuid = r});
  return r;
}
int RecordingExits::acknowledge_interrupt(Position at) {
  const int vector = to_.acknowledge_interrupt(at);
  log_.event({.kind = EventKind::kInterrupt,
              .at = at,
              .value = vector < 0 ? kNoVector : static_cast<uint64_t>(vector)});
  return vector;
}

Retired RecordingInputs::next_poll(Position at) {
  const Retired ours{at.retired.value + kPollInterval};
  if (options_.progress && at.retired.value >= next_progress_) {
    next_progress_ = ours.value;
    options_.progress({at.retired, machine_.now(), log_.exits(), log_.bytes_written()});
  }
  return std::min(from_.next_poll(at), ours);
}

Input RecordingInputs::take(Position at, Nanos now) {
  if (log_.failed()) return {Input::Kind::kStop, {}};
  Input input;
  if (!rest_.empty()) {
    input = {Input::Kind::kConsole, std::exchange(rest_, {})};
  } else if (log_.events() >= options_.max_events) {
    input.kind = Input::Kind::kStop;
  } else {
    input = from_.take(at, now);
  }
  if (input.kind == Input::Kind::kConsole) {
    if (input.data.empty()) return {};
    if (input.data.size() > kMaxConsoleBytes) {
      rest_.assign(input.data.begin() + kMaxConsoleBytes, input.data.end());
      input.data.resize(kMaxConsoleBytes);
    }
    log_.event({.kind = EventKind::kConsole, .at = at, .data = input.data});
  } else if (input.kind == Input::Kind::kStop) {
    log_.event({.kind = EventKind::kStop, .at = at});
  }
  return input;
}

Nanos RecordingInputs::idle(Position at, Nanos now, Nanos next_event) {
  // With a log that failed nothing is waited for: take() stops the run next.
  const Nanos to = !log_.failed() ? from_.idle(at, now, next_event) : next_event == kNever ? now : next_event;
  CHECK(to >= now && to <= next_event);
  log_.event({.kind = EventKind::kIdle, .at = at, .value = to.value, .now = now, .next_event = next_event});
  return to;
}

}  // namespace dejavm
