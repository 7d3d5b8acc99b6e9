#include "tools/dejavm/drive.h"

#include <unistd.h>

#include <chrono>

#include <fmt/format.h>

#include "tools/dejavm/live_target.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

using nlohmann::json;

constexpr uint64_t kControlPoll = 5'000'000;  // instructions: some ms

json as_json(const Error& e) { return {{"ok", false}, {"error", e.message}}; }
json as_json(const Saved& s) {
  return {{"ok", true},       {"file", s.path},           {"instruction", s.retired}, {"digest", to_hex(s.digest)},
          {"delta", s.delta}, {"bytes", s.content_bytes}, {"pause_ns", s.pause_ns}};
}

}  // namespace

// The machine's inputs, and requests at the socket, which make it stand still.
class Driver::ControlledInputs final : public Inputs {
 public:
  explicit ControlledInputs(Driver& d) : d_(d) {}
  Retired next_poll(Position at) override {
    const Retired theirs = d_.inputs_.next_poll(at);
    return d_.control_ || d_.wanted_ ? std::min(theirs, at.retired + kControlPoll) : theirs;
  }
  Input take(Position at, Nanos now) override {
    if (d_.origin_ && d_.origin_->verification->failed()) return {Input::Kind::kStop, {}};
    if (stop_requested() || d_.machine_.lost_disk()) return {Input::Kind::kStop, {}};
    if (d_.wanted_ && (*d_.wanted_)()) return {Input::Kind::kControl, {'g', 'd', 'b'}};
    if (d_.control_) {
      if (d_.save_for_) d_.poll_saves();
      d_.control_->woken();
      // By the host's clock, for a halted machine completes no instructions; the guest sees nothing of it.
      const auto host_now = std::chrono::steady_clock::now();
      if (host_now >= next_publish_) {
        next_publish_ = host_now + std::chrono::milliseconds(10);
        d_.control_->publish(d_.status());
      }
      if (d_.control_->pending()) {
        const std::string text = d_.control_->waiting();
        return {Input::Kind::kControl, {text.begin(), text.end()}};
      }
    }
    return d_.inputs_.take(at, now);
  }
  Nanos idle(Position at, Nanos now, Nanos next_event) override {
    const Nanos to = d_.inputs_.idle(at, now, next_event);
    return d_.options_.max_time_ns ? std::min(to, Nanos{d_.options_.max_time_ns}) : to;
  }

 private:
  Driver& d_;
  std::chrono::steady_clock::time_point next_publish_;
};

Driver::Driver(Machine& machine, Inputs& inputs, ControlServer* control, const SnapshotHead& about,
               const Options& options)
    : machine_(machine), inputs_(inputs), control_(control), about_(about), options_(options), saver_(machine, about) {}

Result<void> Driver::check() const {
  if (!options_.snapshots.empty())
    if (auto done = Saver::can_save(machine_, options_.snapshots[0].path, {.external_base = options_.external_base});
        !done)
      return done;
  for (const SnapshotRequest& r : options_.snapshots) {
    if (Retired{r.at} < machine_.position().retired)
      return Error{ErrorKind::kHost, fmt::format("cannot save {} at instruction {}: the machine is at {} already",
                                                 r.path, r.at, machine_.position().retired.value)};
    if (!options_.force && ::access(r.path.c_str(), F_OK) == 0) return exists_error(r.path);
  }
  return {};
}

Result<void> Driver::start_recording(const std::string& path, bool force) {
  auto writer = TraceWriter::create(path, force);
  if (!writer) return writer.error();
  writer_ = writer.take();
  trace_path_ = path;
  return {};
}

std::vector<RunStop> Driver::stops() {
  std::vector<RunStop> out;
  for (const SnapshotRequest& r : options_.snapshots)
    out.push_back({{r.at}, [this, &r](uint64_t exits) {
                     ++snapshots_taken_;
                     report_save(saver_.wait());
                     if (auto done = start_save(r.path, {.force = options_.force,
                                                         .delta = options_.delta,
                                                         .exits = exits,
                                                         .external_base = options_.external_base});
                         !done)
                       failed(done.error());
                   }});
  for (const uint64_t at : options_.keyframes_at)
    out.push_back({{at}, [this](uint64_t) {
                     if (recording_) recording_->keyframe();
                   }});
  return out;
}

void Driver::report_save(std::optional<Result<Saved>> result) {
  if (!result) return;
  if (save_for_) {
    const ControlRequest r = std::move(*save_for_);
    save_for_.reset();
    control_->watch(-1);
    control_->answer(r, *result ? as_json(**result) : as_json(result->error()));
    if (r.command == "suspend" && *result) {
      ended_ = true;
      outcome_.suspended = (*result)->path;
    }
    return;
  }
  if (!*result) return failed(result->error());
  const Saved& s = **result;
  std::fputs(fmt::format("snapshot: {} at instruction {}, digest {}, {} bytes{}\n", s.path, s.retired, to_hex(s.digest),
                         s.content_bytes, s.delta ? " changed" : "")
                 .c_str(),
             stderr);
}

Result<void> Driver::start_save(const std::string& path, const SaveOptions& options) {
  if (origin_ && !saved_ && options.delta) {
    if (auto done = origin_->verification->wait(); !done) return done;
    saver_.came_from(origin_path_, origin_->chain->head(), origin_->verification->hashes());
  }
  auto done = saver_.start(path, options);
  saved_ = saved_ || done.ok();
  return done;
}

ControlStatus Driver::status() const {
  return {paused_ ? "paused" : "running", machine_.position().retired.value, machine_.now().value, saver_.running(),
          writer_ ? trace_path_ : ""};
}

void Driver::close_trace() {
  outcome_.trace_bytes = writer_->bytes_written();
  outcome_.trace = trace_path_;
  recording_.reset();
  writer_.reset();
}

Result<void> Driver::may_write(const std::string& path) const {
  std::vector<NamedFile> taken = inputs_of(options_);
  if (options_.console.starts_with("file:")) taken.push_back({"--console", options_.console.substr(5)});
  return distinct_files(taken, {{"the file", path}});
}

void Driver::serve(const ControlRequest& r) {
  auto ok = [&](json more = json::object()) {
    json a{{"ok", true}, {"instruction", machine_.position().retired.value}};
    a.update(more);
    control_->publish(status());  // who asks for the status after this answer finds what it says
    control_->answer(r, a);
  };
  if (r.command == "pause" || r.command == "resume") {
    paused_ = r.command == "pause";
    ok();
  } else if (r.command == "engine") {
    if (writer_)
      return control_->answer(
          r, as_json({ErrorKind::kHost,
                      fmt::format("a trace has one engine; end the recording to {} first", trace_path_)}));
    report_save(saver_.wait());
    if (auto done = machine_.switch_engine(r.engine); !done) return control_->answer(r, as_json(done.error()));
    ok({{"engine", r.engine}});
  } else if (r.command == "stop") {
    ended_ = true;
    ok();
  } else if (r.command == "checkpoint" || r.command == "suspend") {
    if (auto done = may_write(r.file); !done) return control_->answer(r, as_json(done.error()));
    report_save(saver_.wait());
    const SaveOptions options{.force = r.force,
                              .delta = r.delta,
                              .exits = recording_ ? recording_->exits_logged() : 0,
                              .external_base = r.external_base || options_.external_base};
    if (auto done = start_save(r.file, options); !done) return control_->answer(r, as_json(done.error()));
    save_for_ = r;
    control_->watch(saver_.done_fd());                       // an idle machine wakes to answer
    if (r.command == "suspend") report_save(saver_.wait());  // the machine must not go on from what it left
  } else if (r.command == "record-start") {
    if (writer_)
      return control_->answer(r, as_json({ErrorKind::kHost, fmt::format("already recording to {}", trace_path_)}));
    if (auto done = may_write(r.file); !done) return control_->answer(r, as_json(done.error()));
    if (auto done = start_recording(r.file, r.force); !done) return control_->answer(r, as_json(done.error()));
    ok({{"file", r.file}});
  } else if (r.command == "record-stop") {
    if (!recording_) return control_->answer(r, as_json({ErrorKind::kHost, "not recording"}));
    const std::string path = trace_path_;
    auto summary = recording_->stop();
    close_trace();
    if (!summary) return control_->answer(r, as_json(summary.error()));
    ok({{"file", path},
        {"digest", to_hex(summary->digest)},
        {"exits", summary->exits},
        {"bytes", outcome_.trace_bytes}});
  }
}

bool Driver::serve() {
  for (;;) {
    control_->publish(status());
    while (!ended_ && !stop_requested()) {
      const auto r = control_->next();
      if (!r) break;
      serve(*r);
    }
    if (stop_requested()) ended_ = true;
    if (ended_ || !paused_) break;
    poll_saves();
    control_->publish(status());
    control_->wait(50);
  }
  control_->publish(status());
  return !ended_;
}

void Driver::begin_recording() {
  RecordOptions o;
  o.boot = about_.boot;
  o.append = about_.append;
  o.writer = about_.writer;
  o.scratch_folder = folder_of(trace_path_);
  o.keyframe_interval = options_.keyframe_interval;
  o.progress = progress_;
  recording_ = std::make_unique<Recording>(machine_, *controlled_, *writer_, o);
}

bool Driver::advance(Retired until, const std::function<bool()>& wanted) {
  const Retired limit = options_.max_instructions ? Retired{options_.max_instructions} : kForever;
  wanted_ = wanted ? &wanted : nullptr;
  for (;;) {
    if (writer_ && !recording_) begin_recording();
    const Retired target = std::min({limit, until, order_->next()});
    end_ = recording_ ? machine_.run(target, recording_->inputs(), recording_->exits())
                      : machine_.run(target, *controlled_, machine_.board());
    if (recording_ && recording_->failed()) {
      // The log cannot be written (a full disk). A run that was to be recorded ends; one that only happened to be goes
      // on.
      failed(*writer_->error());
      recording_.reset();
      writer_.reset();
      if (!options_.trace.empty()) return false;
      continue;
    }
    if (end_ != RunEnd::kUntil) return false;
    const Retired at = machine_.position().retired;
    const bool last = at >= limit || machine_.time_is_up();
    order_->act(at, recording_ ? recording_->exits_logged() : 0, last);
    if (last) return false;
    if (control_ && !serve()) {
      end_ = RunEnd::kUserStop;
      return false;
    }
    if (wanted && (at < target || at >= until)) return true;
  }
}

bool Driver::debug() {
  bool over = false;
  LiveTarget target(
      machine_,
      [&](Retired until, const std::function<bool()>& wanted) {
        over = over || !advance(until, wanted);
        return !over;
      },
      [this] { return writer_ != nullptr; });
  const gdb::Farewell how = gdb::serve(*gdb_, target);
  wanted_ = nullptr;
  gdb_ = nullptr;
  if (how == gdb::Farewell::kKill && !over) ended_ = over = true;
  if (!over)
    fmt::print(stderr, "gdb: {}; the guest goes on\n", how == gdb::Farewell::kClosed ? "has hung up" : "has detached");
  return !over;
}

std::string Driver::image_name(unsigned disk) const {
  for (const BoundImage& image : options_.images)
    if (image.disk == disk) return image.path;
  return disk < options_.disks.size() ? options_.disks[disk].path : std::string();
}

void Driver::warn_of_changed_images() const {
  for (unsigned n = 0; n < machine_.config().disks.size(); ++n) {
    const DiskImage* image = machine_.disk(n).image();
    if (image == nullptr || !image->changed()) continue;
    fmt::print(stderr, "warning: disk{}, {}: was written by another program during the run{}\n", n, image_name(n),
               writer_ ? "; the trace has what the guest has read, but a snapshot that needs this image is lost" : "");
  }
}

void Driver::report_lost_disk() {
  const auto lost = machine_.lost_disk();
  if (!lost) return;
  const auto& [disk, why] = *lost;
  const std::string name = image_name(disk);
  // Of a snapshot out of a trace, which has what was read of the image.
  const std::string hint =
      !name.empty() ? std::string() : fmt::format(" (its image is given by --bind disk{}=PATH)", disk);
  failed(
      {ErrorKind::kHost, fmt::format("disk{}{}{}: cannot be read any more: {}{}; the run ends at instruction {}{}",
                                     disk, name.empty() ? "" : ", ", name, why, hint, machine_.position().retired.value,
                                     recording_ ? ", and its trace is whole up to there" : "")});
}

void Driver::report_missed_switches() {
  if (options_.schedule_file.empty()) return;
  const auto [missed, to_come] = machine_.switches_left();
  const bool stopped = end_ == RunEnd::kUntil || end_ == RunEnd::kUserStop;
  if (missed == 0 && (to_come == 0 || stopped)) return;
  failed(
      {ErrorKind::kHost,
       fmt::format("{}: of its {} switches {} did not come up, for the vCPU had executed more by then or the next one "
                   "could not run, and {} were still to come when the run ended; is it of this guest, with these "
                   "options?",
                   options_.schedule_file, machine_.config().schedule.switches.size(), missed, to_come)});
}

Outcome Driver::run(std::function<void(const Progress&)> progress) {
  progress_ = std::move(progress);
  const auto begin = std::chrono::steady_clock::now();
  controlled_ = std::make_unique<ControlledInputs>(*this);
  order_ = std::make_unique<Stops>(stops(), machine_.position().retired, options_.keyframe_interval, [this] {
    if (recording_) recording_->keyframe();
  });
  paused_ = options_.paused;
  if (options_.max_time_ns) machine_.limit_time(Nanos{options_.max_time_ns});
  if (control_) control_->start(status());
  outcome_.ready_seconds = std::chrono::duration<double>(begin - options_.begun).count();
  if ((!control_ || serve()) && (gdb_ == nullptr || debug())) advance(kForever, {});
  report_save(saver_.wait());
  report_lost_disk();
  report_missed_switches();
  warn_of_changed_images();
  if (writer_ && !recording_) begin_recording();  // ended before its first instruction: a trace of that
  if (recording_) {
    // Where the time is up the vCPU may be asleep, at an instruction that was reached before: the log says that it ends
    // there.
    const bool stopped = ended_ || (end_ == RunEnd::kUntil && machine_.time_is_up());
    auto summary = stopped ? recording_->stop() : recording_->finish(end_);
    close_trace();
    if (summary) {
      outcome_.summary = *summary;
      outcome_.summary.end = end_;
      outcome_.recorded = true;
    } else failed(summary.error());
  }
  if (!outcome_.recorded)
    outcome_.summary = summarize(machine_, end_, 0, options_.digest ? machine_digest(machine_) : Hash128{});
  outcome_.engine = machine_.engine().name();
  for (const auto& [name, n] : machine_.engine().counters()) outcome_.counters.emplace_back(name, n);
  outcome_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (snapshots_taken_ < options_.snapshots.size() && outcome_.status == kDone)
    failed({ErrorKind::kHost, fmt::format("the run ended at instruction {}; {} of {} snapshots were not reached",
                                          machine_.position().retired.value,
                                          options_.snapshots.size() - snapshots_taken_, options_.snapshots.size())});
  return outcome_;
}

}  // namespace dejavm::cli
