#include "tools/dejavm/minimise_tool.h"

#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/explore/deciding.h"
#include "replay/explore/minimise.h"
#include "replay/explore/schedule_of.h"
#include "replay/replay/keyframe.h"
#include "replay/store/atomic_file.h"
#include "replay/trace/cursor.h"
#include "tools/dejavm/assemble.h"
#include "tools/dejavm/distinct_files.h"
#include "tools/dejavm/report.h"
#include "tools/dejavm/run_options.h"
#include "tools/dejavm/sandbox.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kExamples = R"(Example:
  dejavm minimise found/seed-31.dvt -o why --until-bad 'console:lost update' --symbols guest.elf
In the folder: bad.schedule with the switches that are left, good.schedule without the last of them, the traces bad.dvt
and good.dvt of both runs, and report.txt.)";

// What was typed would have to be typed again at the same place of another run.
Result<void> has_no_inputs(const TraceReader& trace) {
  EventCursor cursor(trace, trace.keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop())
    if (e->kind == EventKind::kConsole)
      return Error{ErrorKind::kHost, fmt::format("{}: something was typed at its console, at instruction {}; runs with "
                                                 "inputs cannot be minimised",
                                                 trace.name(), e->at.retired.value)};
  return cursor.error() ? Result<void>(*cursor.error()) : Result<void>();
}

// A run that ended by itself may take somewhat longer by other turns.
Retired limit_of(const MinimiseToolOptions& o, const TraceReader& trace) {
  if (o.limits.max_instructions != 0) return {o.limits.max_instructions};
  const uint64_t begin = trace.keyframes().front().at.value;
  const uint64_t end = trace.last_at().value;
  if (trace.end() && trace.end()->end == RunEnd::kUntil) return {end};
  return {end + (end - begin) + 10'000'000};
}

std::string text_of(const StandingVcpu& vcpu) {
  std::string out = fmt::format("  {}\n", vcpu.instruction);
  for (size_t n = 0; n < vcpu.stack.size(); ++n)
    out += fmt::format("    {}{}\n", n == 0 ? "in   " : vcpu.guessed ? "from?" : "from ", " " + vcpu.stack[n]);
  return out;
}

std::string text_of(const SharedPlace& place, const Symbols& symbols) {
  const std::string name = symbols.name(place.accesses.front().linear);
  std::string out = fmt::format("  {:#x}{}\n", place.accesses.front().linear, name.empty() ? "" : ", " + name);
  for (const SharedAccess& one : place.accesses) {
    const std::string in = symbols.name(one.rip);
    out += fmt::format("    vCPU {} {} {} byte{} at instruction {}, in {}\n", one.vcpu, one.write ? "writes" : "reads",
                       one.len_bytes, one.len_bytes == 1 ? "" : "s", one.at.value,
                       in.empty() ? fmt::format("{:#x}", one.rip) : in);
  }
  return out;
}

json accesses_of(const SharedPlace& place) {
  json out = json::array();
  for (const SharedAccess& one : place.accesses)
    out.push_back({{"vcpu", one.vcpu},
                   {"write", one.write},
                   {"address", fmt::format("{:#x}", one.linear)},
                   {"bytes", one.len_bytes},
                   {"instruction", one.at.value},
                   {"rip", fmt::format("{:#x}", one.rip)}});
  return out;
}

class Minimisation {
 public:
  explicit Minimisation(const MinimiseToolOptions& o) : o_(o) {}

  Result<void> run() {
    if (auto done = open(); !done) return done;
    const AttemptPlan plan = plan_of();
    MinimiseOptions options;
    options.jobs = o_.jobs != 0 ? o_.jobs : std::max(1u, std::thread::hardware_concurrency());
    options.attempts = o_.attempts;
    options.host_limit = std::chrono::seconds(o_.host_seconds);
    options.scratch = o_.folder;
    options.wanted = [] { return !stop_requested(); };
    if (::isatty(STDERR_FILENO))
      options.progress = [](size_t left, uint64_t attempts) {
        fmt::print(stderr, "minimise: {} switches after {} attempts  \r", left, attempts);
      };
    auto minimised = minimise(plan, recorded_, options);
    if (!minimised) return minimised.error();
    minimised_ = minimised.take();
    if (auto done = record_both(plan); !done) return done;
    return look();
  }

  std::string text() const {
    const ScheduledSwitch& which = deciding_.which;
    std::string out = fmt::format(
        "{}: {} switches were recorded; {} {} enough for '{}'{}, and without the last of them the run is good: {}, at "
        "instruction {}\n\n",
        o_.trace, recorded_.switches.size(), minimised_.bad.switches.size(),
        minimised_.bad.switches.size() == 1 ? "is" : "are", minimised_.bad_result.why,
        minimised_.complete ? "" : " (fewer might be, with more --attempts)", minimised_.good_result.end,
        minimised_.good_result.instructions);
    out += fmt::format(
        "The deciding switch, at instruction {} of the machine, where vCPU {} has executed {}: the good "
        "run goes on with vCPU {}, the bad one with vCPU {}.\n",
        deciding_.at.value, which.vcpu, which.executed, which.vcpu, which.next);
    out += text_of(deciding_.from);
    if (which.next != which.vcpu) out += text_of(deciding_.to);
    out += "\nMemory that both touch around it, the closest first:\n";
    if (deciding_.shared.empty()) out += "  none\n";
    for (const SharedPlace& place : deciding_.shared) out += text_of(place, deciding_.symbols);
    out += fmt::format(
        "\nTo stand there:\n  dejavm debug {0}/bad.dvt     then in gdb: monitor goto {1}\n"
        "  dejavm debug {0}/good.dvt    the same\n",
        o_.folder, deciding_.at.value);
    return out;
  }
  json as_json() const {
    json out{{"recorded_switches", recorded_.switches.size()},
             {"switches", minimised_.bad.switches.size()},
             {"complete", minimised_.complete},
             {"attempts", minimised_.attempts},
             {"why", minimised_.bad_result.why},
             {"instruction", deciding_.at.value},
             {"from_vcpu", deciding_.which.vcpu},
             {"to_vcpu", deciding_.which.next},
             {"from_stack", deciding_.from.stack},
             {"to_stack", deciding_.to.stack}};
    out["shared"] = json::array();
    for (const SharedPlace& place : deciding_.shared) out["shared"].push_back(accesses_of(place));
    return out;
  }

 private:
  Result<void> open() {
    auto tests = BadTest::parse_all(o_.until_bad);
    if (!tests) return tests.error();
    tests_ = tests.take();
    if (auto done = check_outputs(); !done) return done;
    auto opened = TraceReader::open(o_.trace, TraceReader::Check::kAll);
    if (!opened) return opened.error();
    trace_ = opened.take();
    if (auto done = has_no_inputs(*trace_); !done) return done;
    if (!o_.symbols.empty()) {
      auto symbols = Symbols::load(o_.symbols);
      if (!symbols) return symbols.error();
      symbols_ = symbols.take();
    }
    // Told from the usual order, whatever the run's slice was. Of a guest that hangs most are of its waiting. These
    // take 64 MB.
    constexpr size_t kAtMost = 4'000'000;
    auto recorded = first_switches_of(*trace_, kDefaultSlice, kAtMost);
    if (!recorded) return recorded.error();
    recorded_ = recorded.take();
    console_ = std::make_unique<WatchedConsole>(tests_);
    auto restored = restore_keyframe(*trace_, 0, console_.get(), "deterministic");
    if (!restored) return restored.error();
    machine_ = std::move(restored->machine);
    if (::mkdir(o_.folder.c_str(), 0777) != 0 && errno != EEXIST)
      return host_error(o_.folder, "create the folder", errno);
    return {};
  }
  AttemptPlan plan_of() const {
    SnapshotHead about;
    describe_program(about);
    about.boot = trace_->header().boot;
    about.append = trace_->header().append;
    return {.machine = *machine_,
            .console = *console_,
            .tests = tests_,
            .about = about,
            .until = limit_of(o_, *trace_),
            .until_time = o_.limits.max_time_ns ? Nanos{o_.limits.max_time_ns} : kNever,
            .keyframe_interval = trace_->header().keyframe_interval,
            .confine = [this]() -> Result<void> { return o_.limits.sandbox ? enter_sandbox() : Result<void>(); }};
  }

  // A list, a trace and a console of each run, and the report.
  std::vector<std::string> outputs() const {
    std::vector<std::string> out;
    for (const char* name :
         {"bad.schedule", "bad.dvt", "bad.console", "good.schedule", "good.dvt", "good.console", "report.txt"})
      out.push_back(o_.folder + "/" + name);
    return out;
  }
  Result<void> check_outputs() const {
    std::vector<NamedFile> named;
    for (const std::string& path : outputs()) {
      if (!o_.force && ::access(path.c_str(), F_OK) == 0) return exists_error(path);
      named.push_back({"-o", path});
    }
    return distinct_files({{"the trace", o_.trace}, {"--symbols", o_.symbols}}, named);
  }
  Result<void> write(const std::string& name, const std::string& text) const {
    return write_text(o_.folder + "/" + name, text, o_.force);
  }
  Result<void> record_both(const AttemptPlan& plan) const {
    const std::pair<const char*, const ScheduleFile*> runs[] = {{"bad", &minimised_.bad}, {"good", &minimised_.good}};
    for (const auto& [name, file] : runs) {
      if (auto done = write(fmt::format("{}.schedule", name), to_text(*file)); !done) return done;
      Attempt what;
      what.slice = file->slice;
      if (!file->switches.empty()) what.schedule = {.kind = ScheduleKind::kList, .switches = file->switches};
      what.trace = fmt::format("{}/{}.dvt", o_.folder, name);
      what.console = fmt::format("{}/{}.console", o_.folder, name);
      Copies copies(std::chrono::seconds(o_.host_seconds));
      copies.start(0, [&] { return run_attempt(plan, what); });
      std::optional<Copies::Done> done;
      while (!done) done = copies.wait(std::chrono::milliseconds(1000));
      const AttemptResult result = result_of(*done);
      if (result.unknown) return Error{ErrorKind::kHost, fmt::format("{}: {}", what.trace, result.why)};
    }
    return {};
  }
  Result<void> look() {
    auto bad = TraceReader::open(o_.folder + "/bad.dvt", TraceReader::Check::kAll);
    if (!bad) return bad.error();
    auto deciding = deciding_switch(**bad, symbols_);
    if (!deciding) return deciding.error();
    deciding_ = deciding.take();
    return write("report.txt", text());
  }

  const MinimiseToolOptions& o_;
  std::vector<BadTest> tests_;
  std::unique_ptr<TraceReader> trace_;
  Symbols symbols_;
  ScheduleFile recorded_;
  std::unique_ptr<WatchedConsole> console_;
  std::unique_ptr<Machine> machine_;
  Minimised minimised_;
  DecidingSwitch deciding_;
};

}  // namespace

void add_minimise_tool(CLI::App& app, MinimiseToolOptions& o) {
  app.footer(kExamples);
  app.add_option("trace", o.trace, "a recording of a bad run, such as explore keeps")->type_name("FILE")->required();
  app.add_option("-o,--output", o.folder, "the folder for what is found")->type_name("FOLDER")->required();
  app.add_option("--until-bad", o.until_bad, "when a run is bad, as for explore; may be given again")
      ->type_name("TEST")
      ->required()
      ->expected(1)
      ->take_all();
  app.add_option("--symbols", o.symbols,
                 "an ELF file or a System.map, to name places of the guest, besides those of a Linux kernel and its "
                 "modules, which its memory tells")
      ->type_name("FILE");
  app.add_option("--jobs", o.jobs, "runs at the same time [one for each processor]")
      ->type_name("N")
      ->check(CLI::Range(1, 256));
  app.add_option("--attempts", o.attempts, "runs at most [5000]")->type_name("N")->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--host-seconds", o.host_seconds, "a run that takes longer than that has no answer [600]")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--force", o.force, "replace what an earlier one has left in the folder");
  add_limited_options(app, o.limits);
}

int run_minimise(const MinimiseToolOptions& o) {
  stop_on_signals();
  Minimisation minimisation(o);
  if (auto done = minimisation.run(); !done) return fail(done.error());
  std::fputs((o.limits.json ? line_of(minimisation.as_json()) + "\n" : minimisation.text()).c_str(), stdout);
  return kDone;
}

}  // namespace dejavm::cli
