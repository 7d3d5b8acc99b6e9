#include "tools/dejavm/trace_tool.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/explore/schedule_of.h"
#include "replay/replay/devices_only.h"
#include "replay/replay/replayer.h"
#include "replay/store/atomic_file.h"
#include "replay/timeline/timeline.h"
#include "replay/trace/copy.h"
#include "replay/trace/cursor.h"
#include "tools/dejavm/distinct_files.h"
#include "tools/dejavm/perfetto.h"
#include "tools/dejavm/report.h"
#include "tools/dejavm/trace_dump.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

using nlohmann::json;

void print(const std::string& line) { std::puts(line.c_str()); }

// What there is of each kind.
struct TraceCounts {
  std::array<uint64_t, kEventKinds> events{};
  std::map<std::string, uint64_t> devices;
  std::map<std::string, std::pair<uint64_t, uint64_t>> frames;  // number, bytes
};

Result<TraceCounts> count(const TraceReader& t) {
  TraceCounts c;
  EventCursor cursor(t, t.keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    ++c.events[static_cast<size_t>(e->kind)];
    if (device_of(*e) != "-") ++c.devices[std::string(device_of(*e))];
  }
  if (cursor.error()) return *cursor.error();
  for (const FrameInfo& f : t.frames()) {
    auto& [n, bytes] = c.frames[std::string(name_of(f.head.kind))];
    ++n;
    bytes += f.head.stored_bytes + kFrameHeadBytes;
  }
  return c;
}

const char* name_of(DiskController controller) { return controller == DiskController::kVirtio ? "virtio" : "nvme"; }

void add_disks(json& j, const MachineConfig& config) {
  j["disks"] = json::array();
  for (const DiskConfig& disk : config.disks)
    j["disks"].push_back({{"bytes", disk.bytes},
                          {"block_bytes", disk.block_bytes},
                          {"controller", name_of(disk.controller)},
                          {"read_only", disk.read_only},
                          {"serial", disk.serial},
                          {"image_hash", to_hex(load_hash(disk.hash.data()))}});
}

void print_disks(const MachineConfig& config) {
  for (size_t n = 0; n < config.disks.size(); ++n) {
    const DiskConfig& disk = config.disks[n];
    print(fmt::format("{:<12} {}, {} bytes in blocks of {}, serial {}{}, image {}", fmt::format("disk{}", n),
                      name_of(disk.controller), disk.bytes, disk.block_bytes, disk.serial,
                      disk.read_only ? ", read only" : "", to_hex(load_hash(disk.hash.data()))));
  }
}

json info_as_json(const TraceOptions& o, const TraceReader& t, const TraceCounts& c) {
  const TraceHeader& h = t.header();
  json j{{"file", o.file},
         {"version", t.version()},
         {"writer", h.writer},
         {"engine", h.engine},
         {"append", h.append},
         {"memory_bytes", h.config.memory_bytes},
         {"seed", h.config.seed},
         {"serial_timing", h.config.serial_baud ? "baud" : "instant"},
         {"pm_timer_bits", h.config.pm_timer_32 ? 32 : 24},
         {"cpu_without", h.config.cpu_without},
         {"keyframe_interval", h.keyframe_interval},
         {"events", t.event_count()},
         {"file_bytes", t.file_bytes()},
         {"last_instruction", t.last_at().value},
         {"truncated", t.truncated()}};
  add_disks(j, h.config);
  for (unsigned k = 0; k < kEventKinds; ++k)
    j["events_by_kind"][std::string(name_of(static_cast<EventKind>(k)))] = c.events[k];
  for (const auto& [name, n] : c.devices) j["events_by_device"][name] = n;
  for (const auto& [name, f] : c.frames) j["frames"][name] = {{"count", f.first}, {"bytes", f.second}};
  for (const Keyframe& k : t.keyframes())
    j["keyframes"].push_back({{"instruction", k.at.value}, {"event", k.first_event}});
  for (const BootImage& b : h.boot)
    j["boot"].push_back({{"role", b.role}, {"name", b.name}, {"len_bytes", b.len_bytes}, {"hash", to_hex(b.hash)}});
  if (t.end())
    j["end"] = {{"how", std::string(name_of(t.end()->end))},
                {"instructions", t.end()->instructions},
                {"exits", t.end()->exits},
                {"digest", to_hex(t.end()->digest)}};
  return j;
}

void print_info(const TraceOptions& o, const TraceReader& t, const TraceCounts& c) {
  const TraceHeader& h = t.header();
  print(fmt::format("{}: {} bytes, version {}, written by {}, engine {}", o.file, t.file_bytes(), t.version(), h.writer,
                    h.engine));
  print(fmt::format("machine      {} MiB, {} vCPU, {}, seed {}{}", h.config.memory_bytes >> 20, h.config.vcpus,
                    h.config.cpu_model, h.config.seed, unusual(h.config)));
  for (const BootImage& b : h.boot)
    print(fmt::format("{:<12} {}, {} bytes, {}", b.role, b.name, b.len_bytes, to_hex(b.hash)));
  print_disks(h.config);
  if (!h.append.empty()) print(fmt::format("command line {}", h.append));
  if (t.end())
    print(fmt::format("the run      {}; {} instructions, {} exits, digest {}", name_of(t.end()->end),
                      t.end()->instructions, t.end()->exits, to_hex(t.end()->digest)));
  else print(fmt::format("the run      {}", t.truncation()));
  for (const auto& [name, f] : c.frames)
    print(fmt::format("frames       {:<9} {:>6}  {:>10} bytes", name, f.first, f.second));
  print(fmt::format("keyframes    {}, every {} instructions", t.keyframes().size(), h.keyframe_interval));
  print(fmt::format("events       {}", t.event_count()));
  for (unsigned k = 0; k < kEventKinds; ++k)
    if (c.events[k]) print(fmt::format("  {:<18} {:>9}", name_of(static_cast<EventKind>(k)), c.events[k]));
  print("by device");
  for (const auto& [name, n] : c.devices) print(fmt::format("  {:<18} {:>9}", name, n));
}

int info(const TraceOptions& o) {
  auto trace = TraceReader::open(o.file, TraceReader::Check::kAll);
  if (!trace) return fail(trace.error());
  auto counts = count(**trace);
  if (!counts) return fail(counts.error());
  if (o.json) print(line_of(info_as_json(o, **trace, *counts)));
  else print_info(o, **trace, *counts);
  return kDone;
}

// What is written appears once the file is committed.
class AtomicSink final : public ByteSink {
 public:
  explicit AtomicSink(AtomicFile& to) : to_(to) {}
  Result<void> append(std::span<const uint8_t> bytes) override {
    auto done = to_.write_at(at_, bytes);
    if (done) at_ += bytes.size();
    return done;
  }
  void truncate(uint64_t len) override { at_ = len; }
  void discard() override {}

 private:
  AtomicFile& to_;
  uint64_t at_ = 0;
};

// `upgrade`: all of it, also of a recording that was interrupted; else the devices' part of a whole one.
int copy(const TraceOptions& o, bool upgrade) {
  auto trace = TraceReader::open(o.file, TraceReader::Check::kAll);
  if (!trace) return fail(trace.error());
  if (!upgrade && !(*trace)->end())
    return fail({ErrorKind::kBadInput,
                 fmt::format("{}: is not complete: the recording was interrupted, or still runs", o.file)});
  auto file = AtomicFile::create(o.output, o.force);
  if (!file) return fail(file.error(), kUsage);
  auto to = TraceWriter::create(std::make_unique<AtomicSink>(**file));
  if (auto done = copy_trace(**trace, *to, upgrade ? TraceParts::kAll : TraceParts::kDevices); !done)
    return fail(done.error());
  const uint64_t events = to->events();
  if (auto done = to->close(); !done) return fail(done.error(), kUsage);
  const uint64_t bytes = to->bytes_written();
  if (auto done = (*file)->commit(); !done) return fail(done.error(), kUsage);
  print(fmt::format("{}: {} events, {} bytes", o.output, events, bytes));
  return kDone;
}

int print_schedule(const TraceOptions& o) {
  auto trace = TraceReader::open(o.file, TraceReader::Check::kAll);
  if (!trace) return fail(trace.error());
  auto schedule = schedule_of(**trace);
  if (!schedule) return fail(schedule.error());
  const std::string text = to_text(*schedule);
  if (o.output.empty()) {
    std::fputs(text.c_str(), stdout);
    return kDone;
  }
  if (auto done = write_text(o.output, text, o.force); !done) return fail(done.error(), kUsage);
  print(fmt::format("{}: {} switches, slices of {}", o.output, schedule->switches.size(), schedule->slice));
  return kDone;
}

}  // namespace

void add_trace_tool(CLI::App& app, TraceOptions& o) {
  app.require_subcommand(1);
  auto sub = [&](const char* name, const char* help) {
    CLI::App* s = app.add_subcommand(name, help);
    s->add_option("trace", o.file, "a trace, whole or not")->type_name("FILE")->required();
    s->add_flag("--json", o.json, "as JSON, one object a line");
    return s;
  };
  auto filters = [&](CLI::App* s) {
    s->add_option("--kind", o.kinds, "only this kind of event; may be given again")
        ->type_name("KIND")
        ->expected(1)
        ->take_all();
    s->add_option("--device", o.devices, "only this device's; may be given again")
        ->type_name("NAME")
        ->expected(1)
        ->take_all();
    s->add_option("--from", o.from, "from this instruction on")
        ->type_name("INSTRUCTION")
        ->transform(instruction_count());
    s->add_option("--to", o.to, "up to this instruction")->type_name("INSTRUCTION")->transform(instruction_count());
    s->add_option("--limit", o.limit, "at most so many")->type_name("N");
  };
  sub("info", "what was recorded: the machine, its end, frames, keyframes, events by kind and device");
  CLI::App* s = sub("dump", "a line for each event");
  filters(s);
  s->add_flag("--code", o.code, "with the instruction at which it happened, by running the guest again");
  s->add_flag("--requests", o.requests, "with what the disks were asked for by it");
  s->add_option("--symbols", o.symbols,
                "a System.map or an ELF file, to name that instruction's place (implies --code)")
      ->type_name("FILE");
  s = app.add_subcommand("devices", "copy all but memory: small, and enough for replay --devices-only");
  s->add_option("trace", o.file, "a trace")->type_name("FILE")->required();
  s->add_option("-o,--output", o.output, "the trace to write")->type_name("FILE")->required();
  s->add_flag("--force", o.force, "replace an existing file");
  s = app.add_subcommand("upgrade", "write a trace of an earlier version of the format in the present one");
  s->add_option("trace", o.file, "a trace, whole or not")->type_name("FILE")->required();
  s->add_option("-o,--output", o.output, "the trace to write")->type_name("FILE")->required();
  s->add_flag("--force", o.force, "replace an existing file");
  s = app.add_subcommand("export", "write it for another program: Perfetto (ui.perfetto.dev), chrome://tracing");
  s->add_option("trace", o.file, "a trace")->type_name("FILE")->required();
  s->add_option("--perfetto", o.output,
                "JSON of the Trace Event Format: exits, interrupts, sleep and console on one virtual time line")
      ->type_name("FILE")
      ->required();
  s->add_flag("--force", o.force, "replace an existing file");
  s = app.add_subcommand("schedule", "the turns of its vCPUs, for --schedule file:PATH");
  s->add_option("trace", o.file, "a trace of a machine with several vCPUs")->type_name("FILE")->required();
  s->add_option("-o,--output", o.output, "the file to write; else standard output")->type_name("FILE");
  s->add_flag("--force", o.force, "replace an existing file");
  filters(sub("tail", "a line for each event as it is recorded, until the recording ends"));
}

int run_trace(const CLI::App& app, const TraceOptions& o) {
  const std::string what = app.get_subcommands().front()->get_name();
  if (auto done = distinct_files({{"the trace", o.file}}, {{"the output", o.output}}); !done)
    return fail(done.error(), kUsage);
  if (what == "export") {
    auto trace = TraceReader::open(o.file);
    if (!trace) return fail(trace.error());
    if (auto done = export_perfetto(**trace, o.output, o.force); !done) return fail(done.error());
    return kDone;
  }
  if (what == "schedule") return print_schedule(o);
  if (what == "devices" || what == "upgrade") return copy(o, what == "upgrade");
  return what == "info" ? info(o) : what == "dump" ? dump_trace(o) : tail_trace(o);
}

}  // namespace dejavm::cli
