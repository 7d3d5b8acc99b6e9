#include <exception>
#include <system_error>

#include <fmt/format.h>

#include "tools/dejavm/ctl.h"
#include "tools/dejavm/debug_tool.h"
#include "tools/dejavm/device_tool.h"
#include "tools/dejavm/golden_tool.h"
#include "tools/dejavm/host_tool.h"
#include "tools/dejavm/lockstep_tool.h"
#include "tools/dejavm/query_tool.h"
#include "tools/dejavm/report.h"
#include "tools/dejavm/run.h"
#include "tools/dejavm/snapshot_tool.h"
#include "tools/dejavm/symbols_tool.h"
#include "tools/dejavm/trace_tool.h"
#include "tools/dejavm/usage.h"

namespace {

constexpr const char* kFooter = R"(Each command has a --help of its own, with examples. First steps:
  dejavm record -o t.dvt     record the guest that is built in
  dejavm replay t.dvt        run it again and compare every exit

Exit status: 0 done; 1 wrong usage or a host error; 2 a damaged or foreign file; 3 the replay diverged, a golden differs;
4 the guest stopped abnormally (crash, --strict, --max-instructions, --max-time).)";

constexpr const char* kRunExamples = R"(Examples:
  dejavm run                                           the guest that is built in
  dejavm run --kernel vmlinuz --initrd initrd --append console=ttyS0
  dejavm run --snapshot-at 5M:s.dvs                    save it once it has run 5 million instructions, and go on
On a terminal Ctrl-A x ends a run.)";

constexpr const char* kRecordExamples = R"(Examples:
  dejavm record -o t.dvt
  dejavm record -o boot.dvt --kernel vmlinuz --initrd initrd --append console=ttyS0 --console file:boot.txt
On a terminal Ctrl-A x ends it; a recording that is ended, or killed, can be replayed that far.)";

constexpr const char* kReplayExamples = R"(Examples:
  dejavm replay t.dvt                                  all of it
  dejavm replay --console stdio t.dvt                  ... and see what the guest printed
  dejavm replay --from 4.5G --until 4.6G t.dvt         a piece, from the keyframe before
  dejavm replay --devices-only t.dvt                   the devices alone: no guest code runs)";

constexpr const char* kRestoreExamples = R"(Examples:
  dejavm restore s.dvs                                 go on, with nothing but the file
  dejavm restore s.dvs record -o t.dvt                 ... and record what follows)";

}  // namespace

int main(int argc, char** argv) {
  using namespace dejavm::cli;
  CLI::App app{"dejavm: virtual machines that can be lived through twice"};
  app.set_version_flag("--version", "dejavm " DEJAVM_VERSION);
  app.footer(kFooter);

  app.require_subcommand(1);
  Options for_run, for_record, for_replay, for_restore;
  CLI::App* run_app = app.add_subcommand("run", "run a guest until it powers off");
  CLI::App* record_app = app.add_subcommand("record", "run a guest and write a trace of everything that happens to it");
  CLI::App* replay_app =
      app.add_subcommand("replay", "run a trace's guest again, from the trace alone, and compare each exit");
  run_app->footer(kRunExamples);
  record_app->footer(kRecordExamples);
  replay_app->footer(kReplayExamples);
  add_machine_options(*run_app, for_run);
  add_record_options(*record_app, for_record);
  add_replay_options(*replay_app, for_replay);
  CLI::App* restore_app = app.add_subcommand("restore", "go on from a snapshot; nothing but the file is needed");
  CLI::App* restore_record_app = restore_app->add_subcommand("record", "... and record what follows");
  add_restore_options(*restore_app, for_restore);
  restore_app->footer(kRestoreExamples);
  restore_record_app->fallthrough();
  add_trace_options(*restore_record_app, for_restore);
  SnapshotOptions for_snapshot;
  CLI::App* snapshot_app = app.add_subcommand("snapshot", "look into snapshots, compare, merge, pack them");
  add_snapshot_tool(*snapshot_app, for_snapshot);
  CtlOptions for_ctl;
  add_ctl(*app.add_subcommand("ctl", "talk to a running machine through its control socket"), for_ctl);
  DeviceOptions for_device;
  CLI::App* device_app = app.add_subcommand("device", "the device models by themselves");
  add_device_tool(*device_app, for_device);
  GoldenOptions for_golden;
  CLI::App* golden_app = app.add_subcommand(
      "golden", "the gate on golden snapshots: does what was saved once still restore, and to the same");
  add_golden_tool(*golden_app, for_golden);
  LockstepOptions for_lockstep;
  add_lockstep_tool(*app.add_subcommand("lockstep", "run a guest on two engines, compared after each instruction"),
                    for_lockstep);
  HostOptions for_host;
  add_host_tool(*app.add_subcommand("host", "what this machine can do: KVM, tried with a tiny guest; the PMU"),
                for_host);
  DebugOptions for_debug;
  add_debug_tool(*app.add_subcommand("debug", "look at a recorded run with gdb, forwards and backwards"), for_debug);
  SymbolsOptions for_symbols;
  add_symbols_tool(*app.add_subcommand("symbols", "a Linux guest's kernel symbols, out of its own memory, for gdb"),
                   for_symbols);
  QueryOptions for_query;
  CLI::App* query_app =
      app.add_subcommand("query", "questions about a recorded run: who wrote there, when was this executed");
  add_query_tool(*query_app, for_query);
  TraceOptions for_trace;
  CLI::App* trace_app = app.add_subcommand("trace", "read what a trace holds");
  add_trace_tool(*trace_app, for_trace);
  const auto chosen = [&]() -> int {
    if (*run_app) return run(for_run);
    if (app.got_subcommand("ctl")) return run_ctl(for_ctl);
    if (app.got_subcommand("lockstep")) return run_lockstep(for_lockstep);
    if (app.got_subcommand("debug")) return run_debug(for_debug);
    if (app.got_subcommand("symbols")) return run_symbols(for_symbols);
    if (*query_app) return run_query(*query_app, for_query);
    if (app.got_subcommand("host")) return run_host(for_host);
    if (*device_app) return run_device(*device_app, for_device);
    if (*golden_app) return run_golden(*golden_app, for_golden);
    if (*trace_app) return run_trace(*trace_app, for_trace);
    if (*snapshot_app) return run_snapshot(*snapshot_app, for_snapshot);
    if (*restore_app) return restore(for_restore);
    if (*record_app) return run(for_record);
    return replay(for_replay);
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return with_output_written(answer_parse_error(app, e, argc, argv));
  }
  try {
    return with_output_written(chosen());
  } catch (const std::bad_alloc&) {
    std::fputs("dejavm: the host is out of memory; give the machine less (--memory)\n", stderr);
    return kUsage;
  } catch (const std::system_error& e) {  // of fmt::print
    return fail(dejavm::Error{dejavm::ErrorKind::kHost,
                              fmt::format("standard output: not all of it could be written: {}", e.code().message())},
                kUsage);
  }
}
