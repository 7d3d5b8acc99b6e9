#include "tools/dejavm/run.h"

#include "replay/recorder.h"
#include "replay/replayer.h"
#include "tools/dejavm/report.h"
#include "vmm/host.h"

namespace dejavm::cli {
namespace {

Result<std::unique_ptr<HostConsole>> open_console(const Options& o) {
  if (o.console == "none") return std::unique_ptr<HostConsole>();
  if (o.console == "stdio") return HostConsole::standard_output();
  return HostConsole::file(o.console.substr(5));
}

// A machine that is ready to run, with its console and inputs.
struct Session {
  std::unique_ptr<HostConsole> console;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<Inputs> inputs;

  Result<void> prepare(const Options& o) {
    auto opened = open_console(o);
    if (!opened) return opened.error();
    console = opened.take();
    auto made = Machine::create(o.config, "deterministic", console.get());
    if (!made) return made.error();
    machine = made.take();
    if (auto done = machine->boot(o.boot); !done) return done;
    stop_on_signals();
    if (o.console == "stdio")
      inputs = std::make_unique<StandardInput>([this] { return machine->board().console_room(); }, [this] { console->flush(); });
    else
      inputs = std::make_unique<NoConsoleInputs>();
    return {};
  }
  // Before anything else is printed: the terminal as it was, the guest's last line out.
  void close() {
    inputs.reset();
    if (console) console->flush();
  }
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

Retired limit(const Options& o) { return o.max_instructions ? Retired{o.max_instructions} : kForever; }

}  // namespace

int run(const Options& o) {
  Session s;
  if (auto done = s.prepare(o); !done) return fail(done.error(), kUsage);
  const auto begin = std::chrono::steady_clock::now();
  const RunSummary summary = run_plain(*s.machine, *s.inputs, limit(o), false);
  s.close();
  return report_run(o, summary, "run", seconds_since(begin), 0);
}

int record(const Options& o) {
  auto boot = describe_boot(o.boot);
  if (!boot) return fail(boot.error(), kUsage);
  Session s;
  if (auto done = s.prepare(o); !done) return fail(done.error(), kUsage);
  auto writer = TraceWriter::create(o.trace, o.force);
  if (!writer) return fail(writer.error(), kUsage);
  ProgressLine progress(o.console);
  RecordOptions options;
  options.until = limit(o);
  options.boot = boot.take();
  options.append = o.boot.append;
  options.writer = "dejavm " DEJAVM_VERSION;
  options.progress = progress.function();
  const auto begin = std::chrono::steady_clock::now();
  auto summary = dejavm::record(*s.machine, *s.inputs, **writer, options);
  s.close();
  if (!summary) return fail(summary.error(), kUsage);
  return report_run(o, *summary, "record", seconds_since(begin), (*writer)->bytes_written());
}

int replay(const Options& o) {
  auto console = open_console(o);
  if (!console) return fail(console.error(), kUsage);
  auto trace = TraceReader::open(o.trace, TraceReader::Check::kAll);
  if (!trace) return fail(trace.error());
  Result<ReplaySummary> summary = [&] {
    ProgressLine progress(o.console);
    return dejavm::replay(**trace, console->get(), {.progress = progress.function()});
  }();
  if (*console) (*console)->flush();
  if (!summary) return fail(summary.error());
  return report_replay(o, *summary, **trace);
}

}  // namespace dejavm::cli
