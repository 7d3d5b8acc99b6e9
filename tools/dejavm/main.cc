#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tools/dejavm/ctl.h"
#include "tools/dejavm/debug_tool.h"
#include "tools/dejavm/device_tool.h"
#include "tools/dejavm/disk_tool.h"
#include "tools/dejavm/explore_tool.h"
#include "tools/dejavm/golden_tool.h"
#include "tools/dejavm/host_tool.h"
#include "tools/dejavm/lockstep_tool.h"
#include "tools/dejavm/minimise_tool.h"
#include "tools/dejavm/query_tool.h"
#include "tools/dejavm/report.h"
#include "tools/dejavm/run.h"
#include "tools/dejavm/snapshot_tool.h"
#include "tools/dejavm/symbols_tool.h"
#include "tools/dejavm/trace_tool.h"
#include "tools/dejavm/usage.h"

namespace dejavm::cli {
namespace {

constexpr const char* kFooter = R"(Each command has a --help of its own, with examples. First steps:
  dejavm record -o t.dvt     record the guest that is built in
  dejavm replay t.dvt        run it again and compare every exit

Exit status: 0 done; 1 wrong usage or a host error; 2 a damaged or foreign file; 3 the replay diverged, a golden differs;
4 the guest stopped abnormally (crash, --strict, --max-instructions, --max-time).)";

constexpr const char* kRunExamples = R"(Examples:
  dejavm run                                           the guest that is built in
  dejavm run --kernel vmlinuz --initrd initrd --append console=ttyS0
  dejavm run debian.qcow2                              boot from a disk, by SeaBIOS; the image is not written
  dejavm run --snapshot-at 5M:s.dvs                    save it once it has run 5 million instructions, and go on
On a terminal Ctrl-A x ends a run.)";

constexpr const char* kRecordExamples = R"(Examples:
  dejavm record -o t.dvt
  dejavm record -o debian.dvt debian.img               boot from a disk; the trace alone replays it
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

// Every subcommand, and what its command line asks for.
class Commands {
 public:
  explicit Commands(CLI::App& app) : app_(app) {
    app.require_subcommand(1);
    add_runs();
    add_tools();
  }
  int run_chosen() {
    for (const Command& c : commands_)
      if (app_.got_subcommand(c.name)) return c.run();
    return kUsage;
  }

 private:
  struct Command {
    std::string name;
    std::function<int()> run;
  };
  CLI::App* add(const char* name, const char* help, std::function<int()> what) {
    commands_.push_back({name, std::move(what)});
    return app_.add_subcommand(name, help);
  }

  void add_runs() {
    CLI::App* a = add("run", "run a guest until it powers off", [this] { return run(run_); });
    a->footer(kRunExamples);
    add_machine_options(*a, run_);
    a = add("record", "run a guest and write a trace of everything that happens to it",
            [this] { return run(record_); });
    a->footer(kRecordExamples);
    add_record_options(*a, record_);
    a = add("replay", "run a trace's guest again, from the trace alone, and compare each exit",
            [this] { return replay(replay_); });
    a->footer(kReplayExamples);
    add_replay_options(*a, replay_);
    a = add("restore", "go on from a snapshot; nothing but the file is needed", [this] { return restore(restore_); });
    a->footer(kRestoreExamples);
    CLI::App* restore_record = a->add_subcommand("record", "... and record what follows");
    add_restore_options(*a, restore_);
    restore_record->fallthrough();
    add_trace_options(*restore_record, restore_);
  }

  void add_tools() {
    CLI::App* snapshot = add("snapshot", "look into snapshots, compare, merge, pack them",
                             [this] { return run_snapshot(*app_.get_subcommand("snapshot"), snapshot_); });
    add_snapshot_tool(*snapshot, snapshot_);
    CLI::App* disk = add("disk", "a recorded or saved machine's disks, as they were at any moment",
                         [this] { return run_disk_tool(*app_.get_subcommand("disk"), disk_); });
    add_disk_tool(*disk, disk_);
    add_ctl(*add("ctl", "talk to a running machine through its control socket", [this] { return run_ctl(ctl_); }),
            ctl_);
    CLI::App* device = add("device", "the device models by themselves",
                           [this] { return run_device(*app_.get_subcommand("device"), device_); });
    add_device_tool(*device, device_);
    CLI::App* golden =
        add("golden", "the gate on golden snapshots: does what was saved once still restore, and to the same",
            [this] { return run_golden(*app_.get_subcommand("golden"), golden_); });
    add_golden_tool(*golden, golden_);
    add_lockstep_tool(*add("lockstep", "run a guest on two engines, compared after each instruction",
                           [this] { return run_lockstep(lockstep_); }),
                      lockstep_);
    add_host_tool(*add("host", "what this machine can do: KVM, tried with a tiny guest; the PMU",
                       [this] { return run_host(host_); }),
                  host_);
    add_debug_tool(
        *add("debug", "look at a recorded run with gdb, forwards and backwards", [this] { return run_debug(debug_); }),
        debug_);
    add_symbols_tool(*add("symbols", "a Linux guest's kernel symbols, out of its own memory, for gdb",
                          [this] { return run_symbols(symbols_); }),
                     symbols_);
    add_explore_tool(*add("explore", "look for the turns of several vCPUs by which a guest fails",
                          [this] { return run_explore(explore_); }),
                     explore_);
    add_minimise_tool(*add("minimise", "the one switch of vCPUs by which a recorded run fails",
                           [this] { return run_minimise(minimise_); }),
                      minimise_);
    CLI::App* query = add("query", "questions about a recorded run: who wrote there, when was this executed",
                          [this] { return run_query(*app_.get_subcommand("query"), query_); });
    add_query_tool(*query, query_);
    CLI::App* trace =
        add("trace", "read what a trace holds", [this] { return run_trace(*app_.get_subcommand("trace"), trace_); });
    add_trace_tool(*trace, trace_);
  }

  CLI::App& app_;
  std::vector<Command> commands_;
  Options run_, record_, replay_, restore_;
  SnapshotOptions snapshot_;
  DiskToolOptions disk_;
  CtlOptions ctl_;
  DeviceOptions device_;
  GoldenOptions golden_;
  LockstepOptions lockstep_;
  HostOptions host_;
  DebugOptions debug_;
  SymbolsOptions symbols_;
  ExploreToolOptions explore_;
  MinimiseToolOptions minimise_;
  QueryOptions query_;
  TraceOptions trace_;
};

}  // namespace
}  // namespace dejavm::cli

int main(int argc, char** argv) {
  using namespace dejavm::cli;
  CLI::App app{"dejavm: virtual machines that can be lived through twice"};
  app.set_version_flag("--version", "dejavm " DEJAVM_VERSION);
  app.footer(kFooter);
  Commands commands(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return with_output_written(answer_parse_error(app, e, argc, argv));
  }
  try {
    return with_output_written(commands.run_chosen());
  } catch (const std::bad_alloc&) {
    std::fputs("dejavm: the host is out of memory; give the machine less (--memory)\n", stderr);
    return kUsage;
  } catch (const std::system_error& e) {  // of fmt::print
    return fail(dejavm::Error{dejavm::ErrorKind::kHost,
                              fmt::format("standard output: not all of it could be written: {}", e.code().message())},
                kUsage);
  }
}
