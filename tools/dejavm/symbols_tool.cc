#include "tools/dejavm/symbols_tool.h"

#include <elf.h>

#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "replay/guest/symbol_file.h"
#include "replay/replay/position.h"
#include "replay/snapshot/restore_snapshot.h"
#include "replay/store/atomic_file.h"
#include "replay/timeline/timeline.h"
#include "tools/dejavm/distinct_files.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {

void add_symbols_tool(CLI::App& app, SymbolsOptions& o) {
  app.add_option("file", o.file, "a trace or a snapshot of a Linux guest, 6.0 or later")->type_name("FILE")->required();
  app.add_option("-o,--output", o.output, "write an ELF file with the symbols, and with what backtraces need, for gdb")
      ->type_name("FILE");
  app.add_option("--at", o.at,
                 fmt::format("of a trace: as the guest was there [where they are found]: {}", kPositionHelp))
      ->type_name("POSITION");
  app.add_flag("--force", o.force, "replace an existing file");
  app.footer(
      "  dejavm symbols boot.dvt                   print them as /proc/kallsyms does\n"
      "  dejavm symbols boot.dvt -o kernel.elf     for gdb: gdb kernel.elf -ex 'target remote | dejavm debug --stdio "
      "boot.dvt'\n"
      "The guest's memory holds them, at the addresses where its kernel runs (KASLR): nothing else is needed.");
}

namespace {

int write_symbol_file(const SymbolsOptions& o, const GuestKernel& kernel, const GuestMemory& memory) {
  const Bytes bytes = symbol_file(kernel, memory);
  auto file = AtomicFile::create(o.output, o.force);
  if (!file) return fail(file.error());
  if (auto done = (*file)->write_at(0, bytes); !done) return fail(done.error());
  if (auto done = (*file)->commit(); !done) return fail(done.error());
  fmt::print(stderr, "symbols: {} of Linux {}, offset {:#x}, in {}\n", kernel.symbols.size(), kernel.release,
             kernel.offset, o.output);
  return kDone;
}

}  // namespace

int run_symbols(const SymbolsOptions& o) {
  if (auto done = distinct_files({{"the input", o.file}}, {{"-o", o.output}}); !done) return fail(done.error(), kUsage);
  auto source = open_file(o.file);
  if (!source) return fail(source.error());
  uint8_t magic[SELFMAG] = {};
  const bool snapshot =
      (*source)->size() >= SELFMAG && (*source)->read_at(0, magic).ok() && std::memcmp(magic, ELFMAG, SELFMAG) == 0;
  std::unique_ptr<Machine> machine;
  Result<GuestKernel> kernel = Error{ErrorKind::kBadInput, "the guest's kernel symbols: not looked for"};
  if (snapshot) {
    auto restored = restore_file(o.file, nullptr, {.engine = "deterministic", .verify = true, .run = false});
    if (!restored) return fail(restored.error());
    machine = std::move(restored->machine);
    kernel = GuestKernel::find(machine->memory());
  } else {
    auto trace = TraceReader::open(o.file);
    if (!trace) return fail(trace.error());
    if (!o.at.empty()) {
      auto at = parse_position(**trace, o.at);
      if (!at) return fail(at.error());
      auto timeline = Timeline::open(**trace, nullptr);
      if (!timeline) return fail(timeline.error());
      if (auto done = (*timeline)->seek(*at); !done) return fail(done.error());
      kernel = GuestKernel::find((*timeline)->machine().memory());
      if (kernel && !o.output.empty()) return write_symbol_file(o, *kernel, (*timeline)->machine().memory());
    } else {
      auto found = find_kernel(**trace);
      if (!found) return fail(found.error());
      machine = std::move(found->machine);
      kernel = std::move(found->kernel);
    }
  }
  if (!kernel) return fail(Error{kernel.error().kind, o.file + ": " + kernel.error().message});
  if (!o.output.empty()) return write_symbol_file(o, *kernel, machine->memory());
  for (const KernelSymbol& s : kernel->symbols) fmt::print("{:016x} {} {}\n", s.address, s.type, s.name);
  std::fflush(stdout);
  return kDone;
}

}  // namespace dejavm::cli
