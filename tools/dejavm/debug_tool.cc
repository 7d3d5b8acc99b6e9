#include "tools/dejavm/debug_tool.h"

#include <fmt/format.h>

#include "replay/gdb/timeline_target.h"
#include "replay/replay/position.h"
#include "tools/dejavm/gdb_wire.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {

void add_debug_tool(CLI::App& app, DebugOptions& o) {
  app.add_option("file", o.file, "a trace")->type_name("FILE")->required();
  auto* listen = app.add_option("--listen", o.listen,
                                "where gdb connects, for one client [127.0.0.1:1234]; port 0: any that is free")
                     ->type_name("HOST:PORT");
  app.add_flag("--stdio", o.stdio, "gdb is at standard input and output: target remote | dejavm debug --stdio FILE")
      ->excludes(listen);
  app.add_option("--at", o.at, fmt::format("where to stand first [begin]: {}", kPositionHelp))->type_name("POSITION");
  app.add_option("--symbols", o.symbols,
                 "System.map, or an ELF file of the kernel, for what monitor commands print [the guest's own, if it is "
                 "a Linux]")
      ->type_name("FILE");
  app.add_option("--memory-budget", o.memory_budget_bytes, "host memory for checkpoints [1G]")
      ->type_name("SIZE")
      ->transform(size_in_bytes());
  app.footer(
      "  dejavm debug boot.dvt &\n"
      "  gdb -ex 'target remote :1234'\n"
      "  (gdb) hbreak *0xffffffff81000000   breakpoints, watchpoints; the guest's memory is never changed\n"
      "  (gdb) continue, stepi              forwards ...\n"
      "  (gdb) reverse-continue, reverse-stepi   ... and backwards, to what happened before\n"
      "  (gdb) monitor help                 positions, devices, the log\n"
      "Exit status: 0 gdb is done; 1 wrong usage or a host error; 2 a damaged trace.");
}

int run_debug(const DebugOptions& o) {
  auto trace = TraceReader::open(o.file);
  if (!trace) return fail(trace.error());
  Symbols symbols;
  if (!o.symbols.empty()) {
    auto loaded = Symbols::load(o.symbols);
    if (!loaded) return fail(loaded.error());
    symbols = loaded.take();
  } else if (auto found = find_kernel(**trace)) {
    symbols = symbols_of(found->kernel);
  }
  Retired at = begin_of(**trace);
  if (!o.at.empty()) {
    auto where = parse_position(**trace, o.at);
    if (!where) return fail(where.error());
    at = *where;
  }
  auto timeline = Timeline::open(**trace, nullptr, {o.memory_budget_bytes});
  if (!timeline) return fail(timeline.error());
  if (auto done = (*timeline)->seek(at); !done) return fail(done.error());
  gdb::TimelineTarget target(**trace, **timeline, std::move(symbols));
  std::unique_ptr<gdb::Wire> wire;
  if (o.stdio) {
    wire = stdio_wire();
  } else {
    auto listener = Listener::open(o.listen);
    if (!listener) return fail(listener.error());
    fmt::print(stderr, "debug: waiting for gdb: target remote {}\n", listener->address());
    auto connected = listener->accept();
    if (!connected) return fail(connected.error());
    wire = connected.take();
  }
  const gdb::Farewell how = gdb::serve(*wire, target);
  if (!o.stdio) fmt::print(stderr, "debug: gdb {}\n", how == gdb::Farewell::kClosed ? "has hung up" : "is done");
  return kDone;
}

}  // namespace dejavm::cli
