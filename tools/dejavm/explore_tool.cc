#include "tools/dejavm/explore_tool.h"

#include <unistd.h>

#include <filesystem>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/explore/explore.h"
#include "replay/snapshot/restore_snapshot.h"
#include "tools/dejavm/assemble.h"
#include "tools/dejavm/report.h"
#include "tools/dejavm/run_options.h"
#include "tools/dejavm/sandbox.h"
#include "tools/dejavm/vcpu_options.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  dejavm explore -o found --vcpus 4 --kernel vmlinuz --initrd initrd --append console=ttyS0 \
      --until-bad 'console:lost update' --seeds 200
  dejavm explore -o found --snapshot ready.dvs --schedule pct:3 --until-bad panic --until-bad hang --max-instructions 9G
In the folder: outcomes.jsonl, a line for each seed, and the trace of each bad run (dejavm replay, debug, minimise).
The same command again goes on where an interrupted one was.)";

// From which each run starts.
struct Start {
  std::vector<BadTest> tests;
  std::unique_ptr<WatchedConsole> console;
  std::unique_ptr<Machine> machine;
  SnapshotHead about;
};

Result<void> restore_start(const Options& o, Start& start) {
  auto restored = restore_file(o.snapshot, start.console.get(),
                               {.engine = EngineChoice("deterministic"), .verify = true, .images = o.images});
  if (!restored) return restored.error();
  const SnapshotHead& head = restored->chain->head();
  start.about.boot = head.boot;
  start.about.append = head.append;
  start.about.disks = restored->chain->files.front()->head().disks;
  start.machine = std::move(restored->machine);
  return {};
}

Result<Start> make_start(const ExploreToolOptions& o, Options machine) {
  Start start;
  auto tests = BadTest::parse_all(o.until_bad);
  if (!tests) return tests.error();
  start.tests = tests.take();
  start.console = std::make_unique<WatchedConsole>(start.tests);
  describe_program(start.about);
  if (!machine.snapshot.empty()) {
    if (auto done = restore_start(machine, start); !done) return done.error();
    return start;
  }
  auto source = boot_source_of(machine);
  if (!source) return source.error();
  machine.boot = source.take();
  machine.trace = o.folder;  // what is read of images is kept
  auto made = assemble(machine, start.console.get(), start.about);
  if (!made) return made.error();
  start.machine = made.take();
  return start;
}

// An image that a server gives is read by one run at a time.
unsigned jobs_of(const ExploreToolOptions& o, Machine& machine) {
  for (unsigned n = 0; n < machine.config().disks.size(); ++n)
    if (const DiskImage* image = machine.disk(n).image(); image != nullptr && image->is_for_one_copy()) return 1;
  return o.jobs != 0 ? o.jobs : std::max(1u, std::thread::hardware_concurrency());
}

void print(const ExploredRun& run, const ExploreSummary& s, const ExploreToolOptions& o) {
  const std::string name = run.in_order ? "round robin" : fmt::format("seed {}", run.seed);
  if (run.result.unknown) fmt::print(stderr, "explore: {}: no answer: {}\n", name, run.result.why);
  if (run.result.bad) fmt::print(stderr, "explore: {}: bad: {}; {}/{}\n", name, run.result.why, o.folder, run.trace);
  if (run.in_order && run.result.bad)
    fmt::print(stderr, "explore: it fails in order already: no schedule has to be looked for\n");
  if (::isatty(STDERR_FILENO)) fmt::print(stderr, "explore: {} of {} seeds, {} bad\r", s.runs, o.seeds, s.bad);
}

int report(const ExploreToolOptions& o, const ExploreSummary& s) {
  if (o.machine.json) {
    std::puts(line_of({{"runs", s.runs},
                       {"bad", s.bad},
                       {"unknown", s.unknown},
                       {"taken_over", s.taken_over},
                       {"in_order_bad", s.in_order_bad},
                       {"ended_early", s.ended_early}})
                  .c_str());
  } else {
    std::puts(fmt::format("explore: {} of {} seeds, {} bad{}{}; {}/outcomes.jsonl", s.runs, o.seeds, s.bad,
                          s.unknown != 0 ? fmt::format(", {} without an answer", s.unknown) : "",
                          s.taken_over != 0 ? fmt::format(", {} of an earlier search", s.taken_over) : "", o.folder)
                  .c_str());
  }
  return s.bad > 0 || s.in_order_bad ? kAbnormal : kDone;
}

}  // namespace

void add_explore_tool(CLI::App& app, ExploreToolOptions& o) {
  app.footer(kExamples);
  app.add_option("-o,--output", o.folder, "the folder for what is found; of an interrupted search: goes on with it")
      ->type_name("FOLDER")
      ->required();
  app.add_option("--until-bad", o.until_bad,
                 "when a run is bad: exit (a crash, or a debug exit other than 0), panic, hang, console:REGEX (a "
                 "line), command:TEXT (fails; $DEJAVM_CONSOLE is what was printed), snapshot:TEXT (the same, with "
                 "$DEJAVM_SNAPSHOT); may be given again")
      ->type_name("TEST")
      ->required()
      ->expected(1)
      ->take_all();
  app.add_option("--seeds", o.seeds, "how many are tried [100]")->type_name("N")->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--first-seed", o.first_seed, "the first of them [0]")->type_name("N");
  app.add_option("--jobs", o.jobs, "runs at the same time; one with images that are not raw [one for each processor]")
      ->type_name("N")
      ->check(CLI::Range(1, 256));
  app.add_option("--host-seconds", o.host_seconds, "a run that takes longer than that has no answer [600]")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--first", o.until_first, "end with the first bad run");
  add_limited_options(app, o.machine);
  add_keyframe_option(app, o.machine);
  const size_t of_any_machine = app.get_options().size();
  add_hardware_options(app, o.machine);
  const std::vector<CLI::Option*> all = app.get_options();
  CLI::Option* snapshot =
      app.add_option("--snapshot", o.machine.snapshot, "start from a snapshot, rather than a machine by these options")
          ->type_name("FILE");
  for (size_t n = of_any_machine; n < all.size(); ++n)
    if (!all[n]->check_name("--schedule") && !all[n]->check_name("--slice")) snapshot->excludes(all[n]);
}

int run_explore(const ExploreToolOptions& o) {
  const Options& machine = o.machine;
  if (!machine.schedule_file.empty())
    return fail({ErrorKind::kHost, "explore: a file has one schedule, with which there is nothing to explore"}, kUsage);
  if (std::error_code error;
      !machine.snapshot.empty() && std::filesystem::equivalent(folder_of(machine.snapshot), o.folder, error))
    return fail({ErrorKind::kHost, "explore: the folder (-o) is that of the snapshot; choose one of its own"}, kUsage);
  auto start = make_start(o, machine);
  if (!start) return fail(start.error());
  const MachineConfig& config = start->machine->config();
  if (config.vcpus == 1)
    return fail({ErrorKind::kHost, "explore: a machine of one vCPU has one schedule; give it several (--vcpus)"},
                kUsage);
  stop_on_signals();
  const ExploreOptions options{.how = machine.config.schedule,
                               .slice = machine.has_slice ? machine.config.slice : 0,
                               .first_seed = o.first_seed,
                               .seeds = o.seeds,
                               .jobs = jobs_of(o, *start->machine),
                               .until_first = o.until_first,
                               .host_limit = std::chrono::seconds(o.host_seconds),
                               .folder = o.folder,
                               .wanted = [] { return !stop_requested(); }};
  const AttemptPlan plan{
      .machine = *start->machine,
      .console = *start->console,
      .tests = start->tests,
      .about = start->about,
      .until = machine.max_instructions ? Retired{machine.max_instructions} : kForever,
      .until_time = machine.max_time_ns ? Nanos{machine.max_time_ns} : kNever,
      .keyframe_interval = machine.keyframe_interval,
      .confine = [&]() -> Result<void> { return machine.sandbox ? enter_sandbox() : Result<void>(); }};
  const auto summary =
      explore(plan, options, [&](const ExploredRun& run, const ExploreSummary& so_far) { print(run, so_far, o); });
  if (!summary) return fail(summary.error(), kUsage);
  return report(o, *summary);
}

}  // namespace dejavm::cli
