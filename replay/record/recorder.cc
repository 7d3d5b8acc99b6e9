#include "replay/record/recorder.h"
#include "replay/guest/where.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

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

Result<BootImage> describe_image(std::string role, const std::string& path) {
  auto source = open_file(path);
  if (!source) return source.error();
  std::vector<uint8_t> bytes((*source)->size());
  if (auto done = (*source)->read_at(0, bytes); !done) return done.error();
  return BootImage{std::move(role), file_name(path), bytes.size(), hash128(bytes)};
}

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

RunSummary summarize(Machine& machine, RunEnd end, uint64_t exits, const Hash128& digest) {
  RunSummary s{end, exits, machine.position().retired.value, digest, 0, {}};
  if (end == RunEnd::kDebugExit) s.debug_exit = machine.debug_exit_status();
  if (end != RunEnd::kUntil && end != RunEnd::kPowerOff) s.detail = machine.detail();
  if (end == RunEnd::kUnimplemented || end == RunEnd::kEngineError) s.detail += "; " + describe_place(machine);
  return s;
}

Recording::Recording(Machine& machine, Inputs& from, TraceWriter& log, const RecordOptions& options)
    : machine_(machine),
      log_(log),
      options_(options),
      keyframe_at_(machine.position().retired),
      exits_(machine.board(), log),
      inputs_(from, log, machine, options_),
      disks_(machine, log, options.scratch_folder) {
  log_.header(make_header(machine_, options_));
  mark_all_written(machine_);
  write_keyframe(machine_, summer_, log_);
}

void Recording::keyframe() {
  const Retired at = machine_.position().retired;
  if (at == keyframe_at_) return;
  keyframe_at_ = at;
  write_keyframe(machine_, summer_, log_);
}

Result<RunSummary> Recording::finish(RunEnd end) {
  if (log_.failed()) return *log_.error();
  const Snapshot last = take_snapshot(machine_, summer_);
  RunSummary summary = summarize(machine_, end, log_.exits(), last.digest);
  TraceEnd record_end{end,         log_.events(),      log_.exits(),  summary.instructions,
                      last.digest, summary.debug_exit, summary.detail};
  record_end.detail.resize(std::min(record_end.detail.size(), kMaxDetailBytes));
  if (auto done = log_.finish(record_end); !done) return done.error();
  return summary;
}

Result<RunSummary> Recording::stop() {
  log_.event({.kind = EventKind::kStop, .at = machine_.position()});
  return finish(RunEnd::kUserStop);
}

Result<RunSummary> record(Machine& machine, Inputs& inputs, TraceWriter& log, const RecordOptions& options) {
  Recording recording(machine, inputs, log, options);
  std::vector<RunStop> stops = options.stops;
  for (const Retired at : options.keyframes_at) stops.push_back({at, [&](uint64_t) { recording.keyframe(); }});
  Stops order(std::move(stops), machine.position().retired, options.keyframe_interval, [&] { recording.keyframe(); });
  for (;;) {
    const RunEnd end = machine.run(std::min(options.until, order.next()), recording.inputs(), recording.exits());
    if (log.failed()) return *log.error();
    if (end != RunEnd::kUntil) return recording.finish(end);
    const bool last = machine.position().retired >= options.until || machine.time_is_up();
    order.act(machine.position().retired, log.exits(), last);
    if (!last) continue;
    if (!machine.time_is_up()) return recording.finish(end);
    // It may be asleep, at an instruction that was reached before: the log says that it ends there.
    auto summary = recording.stop();
    if (summary) summary->end = end;
    return summary;
  }
}

RunSummary run_plain(Machine& machine, Inputs& inputs, Retired until, bool digest, std::vector<RunStop> stops) {
  Stops order(std::move(stops), machine.position().retired, 0, {});
  RunEnd end;
  for (;;) {
    end = machine.run(std::min(until, order.next()), inputs, machine.board());
    if (end != RunEnd::kUntil) break;
    order.act(machine.position().retired, 0, true);
    if (machine.position().retired >= until || machine.time_is_up()) break;
  }
  Hash128 hash;
  if (digest) hash = machine_digest(machine);
  return summarize(machine, end, 0, hash);
}

bool RecordingDisks::failed(const Error& e) {
  why_ = e.message;
  return false;
}

bool RecordingDisks::piece(unsigned disk, uint64_t number, std::span<const uint8_t> content) {
  if (!copy_) {
    auto made = ScratchFile::create(folder_);
    if (!made) return failed(made.error());
    copy_ = made.take();
  }
  auto place = copy_->append(content);
  if (!place) return failed(place.error());
  places_[{disk, number}] = *place;
  log_.block(disk, number, content);
  return true;
}

bool RecordingDisks::read(unsigned disk, uint64_t offset, std::span<uint8_t> to) {
  const uint64_t place = places_.at({disk, offset / kDiskPieceBytes});
  auto done = copy_->read_at(place + offset % kDiskPieceBytes, to);
  return done || failed(done.error());
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
  if (input.kind == Input::Kind::kControl) log_.event({.kind = EventKind::kControl, .at = at, .data = input.data});
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
