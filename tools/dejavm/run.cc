#include "tools/dejavm/run.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <map>
#include <thread>

#include <fmt/format.h>

#include "replay/replay/devices_only.h"
#include "replay/replay/parts.h"
#include "replay/replay/position.h"
#include "replay/replay/replayer.h"
#include "replay/snapshot/restore_snapshot.h"
#include "tools/dejavm/assemble.h"
#include "tools/dejavm/distinct_files.h"
#include "tools/dejavm/drive.h"
#include "tools/dejavm/gdb_wire.h"
#include "tools/dejavm/image_commit.h"
#include "tools/dejavm/report.h"
#include "tools/dejavm/sandbox.h"
#include "tools/dejavm/vcpu_options.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

// quiet: see HostConsole.
Result<std::unique_ptr<HostConsole>> open_console(const Options& o, bool quiet = false) {
  if (o.console == "none") return std::unique_ptr<HostConsole>();
  if (o.console == "stdio") return HostConsole::standard_output(quiet);
  return HostConsole::file(o.console.substr(5), o.force);
}

// No output of the command is one of its inputs, or another output.
Result<void> check_files(const Options& o, const NamedFile& recorded) {
  std::vector<NamedFile> outputs{{"--console", o.console.starts_with("file:") ? o.console.substr(5) : ""}};
  if (recorded.path.empty()) outputs.push_back({"-o", o.trace});
  for (const SnapshotRequest& r : o.snapshots) outputs.push_back({"--snapshot-at", r.path});
  std::vector<NamedFile> inputs = inputs_of(o);
  inputs.push_back(recorded);
  return distinct_files(inputs, outputs);
}

// A machine that is ready to run, with its console and inputs.
struct Session {
  std::unique_ptr<HostConsole> console;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<Inputs> inputs;
  std::unique_ptr<ControlServer> control;
  std::map<unsigned, std::unique_ptr<ImageCommit>> commits;  // by disk
  SnapshotHead about;                                        // for the snapshots and traces of this machine
  std::unique_ptr<gdb::Wire> gdb;
  std::unique_ptr<Driver> driver;

  Result<void> open(const Options& o) {
    if (auto done = check_files(o, {}); !done) return done;
    auto opened = open_console(o);
    if (!opened) return opened.error();
    console = opened.take();
    describe_program(about);
    return {};
  }
  Result<void> boot(const Options& o) {
    if (auto done = open(o); !done) return done;
    for (unsigned n = 0; n < o.disks.size(); ++n) {
      if (!o.disks[n].commit) continue;
      auto target = ImageCommit::prepare(o.disks[n].path, o.disks[n].format);
      if (!target) return target.error();
      commits[n] = target.take();
    }
    auto assembled = assemble(o, console.get(), about);
    if (!assembled) return assembled.error();
    machine = assembled.take();
    return begin(o);
  }
  Result<void> begin(const Options& o) {
    stop_on_signals();
    if (!o.control.empty()) {
      auto server = ControlServer::listen(o.control);
      if (!server) return server.error();
      control = server.take();
    }
    if (!o.gdb.empty()) {
      if (!machine->engine().set_debug_points(0, nullptr) || machine->engine().name() != "deterministic")
        return Error{ErrorKind::kHost, "--gdb needs the deterministic engine; record on this one, then: dejavm debug"};
      auto listener = Listener::open(o.gdb);
      if (!listener) return listener.error();
      fmt::print(stderr, "{}: waiting for gdb: target remote {}\n", o.trace.empty() ? "run" : "record",
                 listener->address());
      auto wire = listener->accept();
      if (!wire) return wire.error();
      gdb = wire.take();
    }
    if (o.console == "stdio")
      inputs = std::make_unique<StandardInput>(
          [this] { return machine->board().console_room(); }, [this] { console->flush(); },
          [this] { return control                        ? control->wake_fd()
                          : driver && driver->attached() ? gdb->fd()
                                                         : -1; });
    else inputs = std::make_unique<NoConsoleInputs>();
    driver = std::make_unique<Driver>(*machine, *inputs, control.get(), about, o);
    if (gdb) driver->attach(gdb.get());
    return driver->check();
  }
  // Before anything else is printed: the terminal as it was, the guest's last line out.
  Result<void> close() {
    control.reset();
    inputs.reset();
    return console ? console->finish() : Result<void>{};
  }
};

// What the guest has written goes to the images that are to have it.
Result<void> commit_images(Session& s, const Outcome& outcome) {
  for (const auto& [number, target] : s.commits) {
    const auto refused = [&](const std::string& why) {
      return Error{ErrorKind::kHost, fmt::format("disk{}, {}: is as it was before: {}", number, target->path(), why)};
    };
    if (outcome.status != kDone) return refused("the run failed");
    if (!outcome.suspended.empty()) return refused(fmt::format("what was written is in {}", outcome.suspended));
    auto done = target->replace(s.machine->disk(number), s.machine->config().disks[number].bytes);
    if (!done) return refused(done.error().message);
    fmt::print(stderr, "disk{}: {} has what the guest has written\n", number, target->path());
  }
  return {};
}

int run_session(Session& s, const Options& o, const char* verb) {
  if (!o.trace.empty())
    if (auto done = s.driver->start_recording(o.trace, o.force); !done) return fail(done.error(), kUsage);
  if (o.sandbox)
    if (auto done = enter_sandbox(); !done) return fail(done.error(), kUsage);
  Outcome outcome = [&] {
    ProgressLine progress(o.console);
    return s.driver->run(progress.function());
  }();
  const auto closed = s.close();
  if (!closed) fail(closed.error(), kUsage);
  const auto committed = commit_images(s, outcome);
  if (!committed) fail(committed.error(), kUsage);
  if (!o.trace.empty() && !outcome.recorded) return outcome.status;  // said already
  const int status = report_run(o, outcome, verb);
  return outcome.status != kDone ? outcome.status : !closed || !committed ? kUsage : status;
}

}  // namespace

int run(const Options& given) {
  Options o = given;  // outlives the session, which refers to it
  auto source = boot_source_of(o);
  if (!source) return fail(source.error(), kUsage);
  o.boot = source.take();
  settle_length(o, 0);
  if (auto done = read_schedule_of(o); !done) return fail(done.error());
  Session s;
  if (auto done = s.boot(o); !done) return fail(done.error(), kUsage);
  return run_session(s, o, o.trace.empty() ? "run" : "record");
}

// The machine's memory is the file's, until it is written to.
static void on_lost_file(int) {
  constexpr char kText[] =
      "dejavm: the snapshot's file was cut off while the machine was running from it; replace files by renaming, not "
      "by writing over them\n";
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, kText, sizeof kText - 1);
  ::_exit(kBadFile);
}

// --schedule and --slice, as far as they are given.
static Result<void> reschedule(Machine& machine, Options& o) {
  const MachineConfig& config = machine.config();
  if (!o.reschedule || config.vcpus == 1) return {};
  o.config.vcpus = config.vcpus;
  if (!o.has_slice) o.config.slice = config.slice;
  const uint64_t begin = machine.position().retired.value;
  ScheduleConfig& schedule = o.config.schedule;
  settle_vcpu_options(o);
  settle_length(o, begin);
  if (auto done = read_schedule_of(o); !done) return done;
  if (schedule.kind == ScheduleKind::kRandom || schedule.kind == ScheduleKind::kPct) schedule.from = begin;
  machine.set_schedule(schedule, o.config.slice);
  return {};
}

int restore(const Options& given) {
  Options o = given;  // outlives the session, which refers to it
  Session s;
  std::signal(SIGBUS, on_lost_file);
  if (auto done = s.open(o); !done) return fail(done.error(), kUsage);
  auto restored =
      restore_file(o.snapshot, s.console.get(), {.engine = engine_of(o, ""), .verify = o.verify, .images = o.images});
  if (!restored) return fail(restored.error());
  s.machine = std::move(restored->machine);
  if (auto done = reschedule(*s.machine, o); !done) return fail(done.error());
  const SnapshotHead& head = restored->chain->head();
  s.about.boot = head.boot;
  s.about.append = head.append;
  s.about.disks = restored->chain->files.front()->head().disks;
  if (auto done = s.begin(o); !done) return fail(done.error(), kUsage);
  s.driver->came_from(o.snapshot, *restored);
  const int status = run_session(s, o, o.trace.empty() ? "restore" : "record");
  if (auto done = restored->verification->wait(); !done) return fail(done.error());
  return status;
}

// "12345", "4.5G" or "k3"; kUsage if it is neither.
static Result<size_t> first_keyframe(const TraceReader& trace, const std::string& from) {
  if (from.empty()) return size_t{0};
  const bool number = from[0] == 'k';
  const auto value = number ? parse_instructions(std::string_view(from).substr(1)) : parse_instructions(from);
  if (!value || (number && from.find_first_not_of("0123456789", 1) != std::string::npos))
    return Error{ErrorKind::kHost,
                 fmt::format("--from '{}': neither an instruction, such as 5000000, 5M or 1.5G, nor kN", from)};
  if (!number && Retired{*value} < trace.keyframes().front().at)
    return Error{ErrorKind::kHost, fmt::format("--from {}: the trace begins at instruction {}", *value,
                                               trace.keyframes().front().at.value)};
  return number ? *value : keyframe_before(trace, {*value});
}

static int replay_devices(const Options& o, const TraceReader& trace, Console* console) {
  auto s = replay_devices_only(trace, console);
  if (!s) return fail(s.error());
  if (o.json) {
    std::puts(fmt::format("{{\"identical\":true,\"exits\":{},\"answers\":{},\"keyframes\":{}}}", s->exits, s->answers,
                          s->keyframes)
                  .c_str());
    return kDone;
  }
  std::puts(
      fmt::format("replay: devices identical, {} exits, {} answers, {} keyframes", s->exits, s->answers, s->keyframes)
          .c_str());
  return kDone;
}

// A part has to be long enough to be worth a machine's restoring, and all machines have to fit into the host's free
// memory.
static unsigned replay_jobs(const Options& o, const TraceReader& trace, size_t from, Retired until) {
  if (o.jobs != 0) return o.jobs;
  if (o.console != "none" || from >= trace.keyframes().size()) return 1;
  constexpr uint64_t kWorthIt = 500'000'000;
  const uint64_t begin = trace.keyframes()[from].at.value,
                 end = std::max(begin, std::min(until, trace.last_at()).value);
  const uint64_t free_bytes =
      static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t jobs = std::min({uint64_t{std::thread::hardware_concurrency()}, (end - begin) / kWorthIt,
                                  free_bytes / 2 / trace.header().config.memory_bytes});
  return static_cast<unsigned>(std::max(jobs, uint64_t{1}));
}

int replay(const Options& o) {
  if (auto done = check_files(o, {"the trace", o.trace}); !done) return fail(done.error(), kUsage);
  auto trace = TraceReader::open(o.trace, TraceReader::Check::kAll);
  if (!trace) return fail(trace.error());
  constexpr bool kQuiet = true;
  auto console = open_console(o, kQuiet);
  if (!console) return fail(console.error(), kUsage);
  if (o.devices_only) {
    const int status = replay_devices(o, **trace, console->get());
    const auto closed = *console ? (*console)->finish() : Result<void>{};
    return !closed ? fail(closed.error(), kUsage) : status;
  }
  // Exact traces are replayed by the engine that needs no KVM, unless another is asked for.
  const std::string& recorded = (*trace)->header().engine;
  if (recorded == "kvm" && engine_of(o, "deterministic").name != "deterministic")
    return fail(
        {ErrorKind::kHost,
         (*trace)->name() + ": was recorded on KVM; its guest can be run again on the deterministic engine alone"},
        kUsage);
  const EngineChoice engine = engine_of(o, recorded.starts_with("kvm") ? "deterministic" : "");
  auto from = first_keyframe(**trace, o.from);
  if (!from) return fail(from.error(), kUsage);
  if (o.sandbox)
    if (auto done = enter_sandbox(); !done) return fail(done.error(), kUsage);
  const ReplayOptions options{.from_keyframe = *from, .until = o.until ? Retired{o.until} : kForever, .engine = engine};
  const unsigned jobs = replay_jobs(o, **trace, *from, options.until);
  if (jobs > 1 && o.console != "none")
    return fail({ErrorKind::kHost,
                 "--jobs and --console: parts that are replayed at the same time print at the same time; leave one of "
                 "the two out"},
                kUsage);
  Result<ReplaySummary> summary = [&] {
    ProgressLine progress(o.console);
    ReplayOptions shown = options;
    shown.progress = progress.function();
    return jobs > 1 ? replay_in_parts(**trace, shown, jobs) : dejavm::replay(**trace, console->get(), shown);
  }();
  const auto closed = *console ? (*console)->finish() : Result<void>{};
  if (!summary) return fail(summary.error());
  const int status = report_replay(o, *summary, **trace);
  return !closed ? fail(closed.error(), kUsage) : status;
}

}  // namespace dejavm::cli
