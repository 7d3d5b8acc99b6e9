#include "tools/dejavm/snapshot_tool.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/guest/kallsyms.h"
#include "replay/guest/symbols.h"
#include "replay/replay/replayer.h"
#include "replay/snapshot/pack.h"
#include "replay/snapshot/restore_snapshot.h"
#include "replay/snapshot/saver.h"
#include "replay/state/describe.h"
#include "replay/state/state_codec.h"
#include "replay/timeline/timeline.h"
#include "tools/dejavm/distinct_files.h"
#include "tools/dejavm/report.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

using nlohmann::json;

void print(const std::string& line) { std::puts(line.c_str()); }

std::string kind_of(const SnapshotHead& h) {
  return h.parent ? fmt::format("changes since {} ({})", h.parent->name, to_hex(h.parent->digest)) : "full";
}

uint64_t content_bytes(const SnapshotHead& h) {
  uint64_t bytes = 0;
  for (const MemoryExtent& e : h.extents) bytes += e.offset ? e.len_bytes : 0;
  return bytes;
}

std::string where_is_image(const SnapshotHead& h, unsigned disk) {
  if (h.delta()) return "where the snapshot has it that this one changes";
  return h.disks[disk].external ? "outside" : "within";
}

void print_disks(const SnapshotHead& h) {
  for (unsigned n = 0; n < h.disks.size(); ++n)
    print(fmt::format("disk {:<7} {} bytes, from {}, hash {}, {}", n, h.config.disks[n].bytes,
                      h.disks[n].name.empty() ? "an image" : h.disks[n].name,
                      to_hex(load_hash(h.config.disks[n].hash.data())), where_is_image(h, n)));
}

json disks_of(const SnapshotHead& h) {
  json out = json::array();
  for (unsigned n = 0; n < h.disks.size(); ++n)
    out.push_back({{"name", h.disks[n].name},
                   {"bytes", h.config.disks[n].bytes},
                   {"hash", to_hex(load_hash(h.config.disks[n].hash.data()))},
                   {"external", h.disks[n].external}});
  return out;
}

int info(const SnapshotOptions& o) {
  auto file = SnapshotFile::open(o.file);
  if (!file) return fail(file.error());
  const SnapshotHead& h = (*file)->head();
  if (o.json) {
    json j{{"file", o.file},
           {"writer", h.writer},
           {"engine", h.engine},
           {"memory_bytes", h.config.memory_bytes},
           {"vcpus", h.config.vcpus},
           {"cpu_model", h.config.cpu_model},
           {"seed", h.config.seed},
           {"serial_timing", h.config.serial_baud ? "baud" : "instant"},
           {"pm_timer_bits", h.config.pm_timer_32 ? 32 : 24},
           {"cpu_without", h.config.cpu_without},
           {"append", h.append},
           {"instruction", h.retired},
           {"now_ns", h.now_ns},
           {"exits", h.state.exits},
           {"digest", to_hex(h.state.digest)},
           {"memory_sum", to_hex(h.state.memory)},
           {"pages", h.state.pages},
           {"content_bytes", content_bytes(h)},
           {"file_bytes", h.file_bytes},
           {"disks", disks_of(h)},
           {"bindings", h.bindings}};
    if (h.parent) j["parent"] = {{"digest", to_hex(h.parent->digest)}, {"name", h.parent->name}};
    for (const BootImage& b : h.boot)
      j["boot"].push_back({{"role", b.role}, {"name", b.name}, {"len_bytes", b.len_bytes}, {"hash", to_hex(b.hash)}});
    for (const auto* list : {&h.unknown, &h.state.chunks})
      for (const StoredChunk& c : *list)
        j["chunks"].push_back({{"name", c.name},
                               {"instance", c.instance},
                               {"version", c.version},
                               {"critical", c.critical},
                               {"bytes", c.payload.size()}});
    print(line_of(j));
    return kDone;
  }
  print(fmt::format("{}: {}", o.file, kind_of(h)));
  print(fmt::format("machine      {} MiB, {} vCPU, {}, engine {}, seed {}{}", h.config.memory_bytes >> 20,
                    h.config.vcpus, h.config.cpu_model, h.engine, h.config.seed, unusual(h.config)));
  for (const BootImage& b : h.boot)
    print(fmt::format("{:<12} {}, {} bytes, {}", b.role, b.name, b.len_bytes, to_hex(b.hash)));
  if (!h.append.empty()) print(fmt::format("command line {}", h.append));
  print(fmt::format("moment       instruction {}, {:.6f} s of guest time, {} exits before it", h.retired,
                    static_cast<double>(h.now_ns) / 1e9, h.state.exits));
  print(fmt::format("digest       {}\nmemory sum   {}", to_hex(h.state.digest), to_hex(h.state.memory)));
  print(fmt::format("memory       {} pages in {} extents; {} bytes of file", h.state.pages, h.extents.size(),
                    h.file_bytes));
  print_disks(h);
  print(fmt::format("written by   {}\nchunk                    version  bytes", h.writer));
  for (const auto* list : {&h.unknown, &h.state.chunks})
    for (const StoredChunk& c : *list)
      print(fmt::format("  {:<22} {:>7} {:>6}{}", chunk_name(c.name, c.instance), c.version, c.payload.size(),
                        c.critical ? "" : "  optional"));
  return kDone;
}

json to_json(std::span<const uint8_t> payload) {
  const json j = json::from_cbor(payload, true, false);
  return j.is_discarded() ? json("damaged") : j;
}
// Byte strings as arrays of numbers, so that every JSON reader takes them.
void plain(json& j) {
  if (j.is_binary()) {
    json out = json::array();
    for (const uint8_t b : j.get_binary()) out.push_back(b);
    j = std::move(out);
  } else if (j.is_structured()) {
    for (auto& x : j) plain(x);
  }
}

int show(const SnapshotOptions& o) {
  auto file = SnapshotFile::open(o.file);
  if (!file) return fail(file.error());
  const SnapshotHead& h = (*file)->head();
  auto wanted = [&](const StoredChunk& c) {
    return o.chunks.empty() ||
           std::find(o.chunks.begin(), o.chunks.end(), chunk_name(c.name, c.instance)) != o.chunks.end();
  };
  for (const std::string& name : o.chunks)
    if (std::none_of(h.state.chunks.begin(), h.state.chunks.end(),
                     [&](const StoredChunk& c) { return chunk_name(c.name, c.instance) == name; }))
      return fail({ErrorKind::kHost, fmt::format("{}: has no chunk '{}'; info lists them", o.file, name)});
  const auto units = field_units(h.schema_payload);
  json all = json::object();
  for (const StoredChunk& c : h.state.chunks) {
    if (!wanted(c)) continue;
    const std::string name = chunk_name(c.name, c.instance);
    if (o.json) {
      all[name] = to_json(c.payload);
      plain(all[name]);
      continue;
    }
    print(fmt::format("{} (version {})", name, c.version));
    size_t zeros = 0;
    for (const FieldText& f : flatten(c.payload)) {
      const bool element = f.path.find('[') != std::string::npos;
      if (element && !o.all && (f.value == "0" || f.value == "false")) {
        ++zeros;
        continue;
      }
      std::string path = c.name + "." + f.path;
      while (path.find('[') != std::string::npos) path.erase(path.find('['), path.find(']') - path.find('[') + 1);
      const auto unit = units.find(path);
      print(fmt::format("  {} = {}{}", f.path, f.value, unit == units.end() ? "" : " " + unit->second));
    }
    if (zeros) print(fmt::format("  ({} elements of arrays are 0; --all shows them)", zeros));
  }
  if (o.json) print(line_of(all));
  return kDone;
}

// What a page of memory belongs to: a linear address in the kernel's half, with a symbol.
std::string where_is(uint64_t gpa, const SnapshotHead& h, const Symbols& symbols) {
  for (const ElfLoad& m : h.mappings)
    if (m.linear >> 63 && gpa >= m.physical && gpa - m.physical < m.len_bytes) {
      const uint64_t linear = m.linear + (gpa - m.physical);
      if (const std::string name = symbols.name(linear); !name.empty()) return fmt::format("  {:#x} {}", linear, name);
    }
  return {};
}

int diff(const SnapshotOptions& o) {
  SnapshotChain chains[2];
  for (int i = 0; i < 2; ++i) {
    auto chain = SnapshotChain::open(i ? o.other : o.file);
    if (!chain) return fail(chain.error());
    chains[i] = chain.take();
  }
  Symbols symbols;
  if (!o.symbols.empty()) {
    auto loaded = Symbols::load(o.symbols);
    if (!loaded) return fail(loaded.error());
    symbols = loaded.take();
    VcpuState vcpu;
    for (const StoredChunk& c : chains[1].head().state.chunks)
      if (c.name == Vcpu::kName && c.instance == 0 && decode_state(schema_of<Vcpu>(), 0, c.version, c.payload, &vcpu))
        symbols.set_linux_entry(vcpu.lstar);
  } else if (auto restored =
                 restore_file(o.other, nullptr, {.engine = "deterministic", .verify = false, .run = false})) {
    if (auto kernel = GuestKernel::find(restored->machine->memory())) symbols = symbols_of(*kernel);
  }
  const auto fields = diff_stored(chains[0].head().state.chunks, chains[1].head().state.chunks);
  std::map<uint64_t, Hash128> pages[2];
  for (int i = 0; i < 2; ++i) {
    auto done = chains[i].read_memory([&](uint64_t index, const uint8_t*, const Hash128& hash) -> Result<void> {
      if (hash.zero()) pages[i].erase(index);
      else pages[i][index] = hash;
      return {};
    });
    if (!done) return fail(done.error());
  }
  std::vector<uint64_t> differ;
  for (const auto& [index, hash] : pages[0]) {
    const auto it = pages[1].find(index);
    if (it == pages[1].end() || it->second != hash) differ.push_back(index);
  }
  for (const auto& [index, hash] : pages[1])
    if (!pages[0].contains(index)) differ.push_back(index);
  std::sort(differ.begin(), differ.end());
  if (o.json) {
    json j{{"fields", json::array()}, {"pages", json::array()}};
    for (const FieldDifference& f : fields)
      j["fields"].push_back({{"field", f.path}, {"before", f.before}, {"after", f.after}});
    for (const uint64_t p : differ) j["pages"].push_back(p * kPageSize);
    print(line_of(j));
    return kDone;
  }
  for (const FieldDifference& f : fields) print(fmt::format("{}: {} -> {}", f.path, f.before, f.after));
  const size_t limit = o.all ? differ.size() : 64;
  for (size_t i = 0; i < differ.size() && i < limit; ++i)
    print(fmt::format("memory {:#x}{}", differ[i] * kPageSize,
                      where_is(differ[i] * kPageSize, chains[1].head(), symbols)));
  if (differ.size() > limit) print(fmt::format("... and {} more pages; --all shows them", differ.size() - limit));
  print(fmt::format("{} fields and {} pages differ", fields.size(), differ.size()));
  return kDone;
}

int verify(const SnapshotOptions& o) {
  auto chain = SnapshotChain::open(o.file);
  if (!chain) return fail(chain.error());
  const MachineConfig config = chain->head().config;
  const Hash128 digest = chain->head().state.digest;
  const size_t files = chain->files.size();
  Verification v(std::make_shared<SnapshotChain>(chain.take()),
                 memory_layout(config.memory_bytes, config.rom_bytes, config.test_device, config.disks));
  if (auto done = v.wait(); !done) return fail(done.error());
  print(fmt::format("{}: whole, digest {}{}", o.file, to_hex(digest),
                    files > 1 ? fmt::format(", with {} before it", files - 1) : ""));
  return kDone;
}

int save_again(Machine& machine, SnapshotHead about, const SnapshotOptions& o) {
  Saver saver(machine, about);
  const bool outside = std::ranges::any_of(about.disks, &DiskBase::external);
  if (auto done = saver.start(o.output, {.force = o.force, .external_base = outside}); !done)
    return fail(done.error(), kUsage);
  auto result = saver.wait();
  if (!*result) return fail(result->error(), kUsage);
  print(
      fmt::format("{}: digest {}, {} bytes of memory", o.output, to_hex((*result)->digest), (*result)->content_bytes));
  return kDone;
}

int rewrite(const SnapshotOptions& o, bool as_stored) {
  auto restored = restore_file(o.file, nullptr, {.engine = {}, .verify = true, .run = false});
  if (!restored) return fail(restored.error());
  SnapshotHead about = head_for_rewrite(*restored, as_stored);
  if (!as_stored) about.writer = "dejavm " DEJAVM_VERSION;
  return save_again(*restored->machine, std::move(about), o);
}

int extract(const SnapshotOptions& o) {
  auto trace = TraceReader::open(o.file, TraceReader::Check::kAll);
  if (!trace) return fail(trace.error());
  auto timeline = Timeline::open(**trace, nullptr);
  if (!timeline) return fail(timeline.error());
  if (auto done = (*timeline)->seek(Retired{o.at}); !done) return fail(done.error());
  SnapshotHead about;
  about.writer = "dejavm " DEJAVM_VERSION;
  about.boot = (*trace)->header().boot;
  about.append = (*trace)->header().append;
  about.bindings = {"console"};
  return save_again((*timeline)->machine(), std::move(about), o);
}

int finish(const Result<void>& done, const std::string& output) {
  if (!done) return fail(done.error());
  auto file = open_file(output);
  if (!file) return fail(file.error());
  print(fmt::format("{}: {} bytes", output, (*file)->size()));
  return kDone;
}

}  // namespace

void add_snapshot_tool(CLI::App& app, SnapshotOptions& o) {
  app.require_subcommand(1);
  auto sub = [&](const char* name, const char* help, const char* input) {
    CLI::App* s = app.add_subcommand(name, help);
    s->add_option("file", o.file, input)->type_name("FILE")->required();
    return s;
  };
  auto output = [&](CLI::App* s) {
    s->add_option("-o,--output", o.output, "the file to write")->type_name("FILE")->required();
    s->add_flag("--force", o.force, "replace an existing file");
  };
  auto reading = [&](CLI::App* s) { s->add_flag("--json", o.json, "as one JSON object"); };
  reading(sub("info", "what a snapshot is of, and its chunks with versions and sizes", "a snapshot"));
  CLI::App* s = sub("show", "every field of the machine's state, by name, with units", "a snapshot");
  s->add_option("chunks", o.chunks, "only these chunks, e.g. vcpu vatpit")->type_name("CHUNK");
  s->add_flag("--all", o.all, "elements of arrays that are 0 too");
  reading(s);
  s = sub("diff", "how two snapshots differ, field by field and page by page", "the earlier one");
  s->add_option("other", o.other, "the later one")->type_name("FILE")->required();
  s->add_option("--symbols", o.symbols, "a System.map or an ELF file, to name the kernel's memory")->type_name("FILE");
  s->add_flag("--all", o.all, "all pages");
  reading(s);
  sub("verify", "compare all of a snapshot with its hashes, and with its parents'", "a snapshot");
  output(sub("merge", "a delta and those before it as one full snapshot", "the last of the chain"));
  output(sub("upgrade", "the same machine as this version would write it", "a snapshot"));
  output(sub("pack", "compress a snapshot, to ship it (zstd)", "a snapshot"));
  output(sub("unpack", "the snapshot that was packed", "a packed snapshot"));
  s = sub("extract", "the machine at one instruction of a trace, as a snapshot", "a trace");
  s->add_option("--at", o.at, "the instruction")->type_name("INSTRUCTION")->transform(instruction_count())->required();
  output(s);
}

int run_snapshot(const CLI::App& app, const SnapshotOptions& o) {
  const std::string what = app.get_subcommands().front()->get_name();
  if (auto done = distinct_files({{"the input", o.file}}, {{"-o", o.output}}); !done) return fail(done.error(), kUsage);
  if (what == "info") return info(o);
  if (what == "show") return show(o);
  if (what == "diff") return diff(o);
  if (what == "verify") return verify(o);
  if (what == "merge") return rewrite(o, true);
  if (what == "upgrade") return rewrite(o, false);
  if (what == "pack") return finish(pack(o.file, o.output, o.force), o.output);
  if (what == "unpack") return finish(unpack(o.file, o.output, o.force), o.output);
  return extract(o);
}

}  // namespace dejavm::cli
