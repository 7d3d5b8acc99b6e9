#include "tools/dejavm/trace_dump.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/guest/symbols.h"
#include "replay/guest/where.h"
#include "replay/replay/devices_only.h"
#include "replay/replay/disk_requests.h"
#include "replay/replay/position.h"
#include "replay/replay/replayer.h"
#include "replay/timeline/timeline.h"
#include "replay/trace/cursor.h"
#include "tools/dejavm/report.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

using nlohmann::json;

void print(const std::string& line) { std::puts(line.c_str()); }

std::string hex(uint64_t v) { return fmt::format("{:#x}", v); }

json as_json(const Event& e, const EventOperand& operand) {
  const uint64_t value = operand_value(e, operand);
  if (!operand.none.empty() && value == ~uint64_t{0}) return nullptr;
  switch (operand.text) {
    case OperandText::kHex: return hex(value);
    case OperandText::kHash: return fmt::format("{:016x}", value);
    case OperandText::kDecimal:
    case OperandText::kTime: return value;
    case OperandText::kUtf8: return std::string(e.data.begin(), e.data.end());
    case OperandText::kCharacters:  // any bytes may have been typed
    case OperandText::kBytes: return e.data;
    case OperandText::kIfSet:
    case OperandText::kIfClear: return value != 0;
  }
  return nullptr;
}

json as_json(const Event& e, uint64_t index) {
  json j{{"event", index},
         {"kind", std::string(name_of(e.kind))},
         {"vcpu", e.at.vcpu},
         {"instruction", e.at.retired.value}};
  if (const auto device = device_of(e); device != "-") j["device"] = std::string(device);
  for (const EventOperand& operand : descriptor_of(e.kind)) j[std::string(operand.name)] = as_json(e, operand);
  return j;
}

// Events that pass the filters, printed one a line.
class Printer {
 public:
  Printer(const TraceOptions& o, Symbols symbols) : o_(o), symbols_(std::move(symbols)) {}
  bool wanted(const Event& e) const {
    auto in = [](const std::vector<std::string>& list, std::string_view name) {
      return list.empty() || std::find(list.begin(), list.end(), name) != list.end();
    };
    return e.at.retired.value >= o_.from && e.at.retired.value <= o_.to && in(o_.kinds, name_of(e.kind)) &&
           in(o_.devices, device_of(e));
  }
  // False: enough.
  bool show(const Event& e, uint64_t index, Timeline* timeline) {
    if (printed_++ >= o_.limit) return false;
    std::string code, where;
    // An event of a vCPU that the machine does not have is not one of its instructions.
    if (timeline && e.at.vcpu < timeline->machine().config().vcpus) {
      Machine& m = timeline->machine();
      code = describe_instruction(m, e.at.vcpu);
      VcpuState s;
      m.engine().get_state(e.at.vcpu, s);
      symbols_.set_linux_entry(s.lstar);
      where = symbols_.name(s.rip);
      if (const size_t rip = code.find("rip "); rip != std::string::npos) code = code.substr(rip);
    }
    if (o_.json) {
      json j = as_json(e, index);
      if (!code.empty()) j["code"] = code;
      if (!where.empty()) j["symbol"] = where;
      print(line_of(j));
    } else {
      print(fmt::format("{:>8} {:<9} {}{}{}", index, device_of(e), describe(e), code.empty() ? "" : "  | " + code,
                        where.empty() ? "" : "  <" + where + ">"));
    }
    return true;
  }

 private:
  const TraceOptions& o_;
  Symbols symbols_;
  uint64_t printed_ = 0;
};

// What the disks were asked for, by the event that asked.
class RequestLines {
 public:
  static Result<RequestLines> of(const TraceReader& trace, uint64_t to) {
    RequestLines out;
    for (const DiskConfig& disk : trace.header().config.disks) out.block_bytes_.push_back(disk.block_bytes);
    auto done = disk_requests(trace, [&](const DiskRequest& request) {
      if (request.at.retired.value > to) return false;
      out.by_event_.emplace(request.event, request);
      return true;
    });
    if (!done) return done.error();
    return out;
  }
  void show(uint64_t event, bool as_json) const {
    const auto [first, last] = by_event_.equal_range(event);
    for (auto at = first; at != last; ++at) {
      const DiskRequest& r = at->second;
      const uint64_t block = r.offset / block_bytes_[r.disk];
      if (!as_json) {
        print(fmt::format("{:>8} disk{:<5} {} block {} bytes {}{}", event, r.disk, name_of_request(r.kind), block,
                          r.len_bytes, r.ok ? "" : ", failed"));
        continue;
      }
      print(line_of(json{{"event", event},
                         {"kind", "disk_request"},
                         {"disk", r.disk},
                         {"request", std::string(name_of_request(r.kind))},
                         {"block", block},
                         {"bytes", r.len_bytes},
                         {"ok", r.ok}}));
    }
  }

 private:
  std::multimap<uint64_t, DiskRequest> by_event_;
  std::vector<uint32_t> block_bytes_;
};

int bad_filter(const TraceOptions& o) {
  for (const std::string& kind : o.kinds) {
    std::string all;
    bool known = false;
    for (unsigned k = 0; k < kEventKinds; ++k) {
      const std::string name(name_of(static_cast<EventKind>(k)));
      known |= name == kind;
      all += (k ? ", " : "") + name;
    }
    if (!known) return fail({ErrorKind::kHost, fmt::format("there is no kind of event '{}'; there are {}", kind, all)});
  }
  return kDone;
}

}  // namespace

int dump_trace(const TraceOptions& o) {
  if (const int status = bad_filter(o)) return status;
  auto trace = TraceReader::open(o.file, TraceReader::Check::kHeads);
  if (!trace) return fail(trace.error());
  Symbols symbols;
  if (!o.symbols.empty()) {
    auto loaded = Symbols::load(o.symbols);
    if (!loaded) return fail(loaded.error());
    symbols = loaded.take();
  } else if (o.code) {
    if (auto found = find_kernel(**trace)) symbols = symbols_of(found->kernel);
  }
  std::unique_ptr<Timeline> timeline;
  if (o.code || !o.symbols.empty()) {
    auto opened = Timeline::open(**trace, nullptr);
    if (!opened) return fail(opened.error());
    timeline = opened.take();
  }
  RequestLines requests;
  if (o.requests) {
    auto found = RequestLines::of(**trace, o.to);
    if (!found) return fail(found.error());
    requests = found.take();
  }
  Printer printer(o, std::move(symbols));
  EventCursor cursor(**trace, (*trace)->keyframes()[keyframe_before(**trace, {o.from})]);
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    if (e->at.retired.value > o.to) break;
    if (!printer.wanted(*e)) continue;
    if (timeline)
      if (auto done = timeline->seek(e->at.retired); !done) return fail(done.error());
    if (!printer.show(*e, cursor.index(), timeline.get())) break;
    requests.show(cursor.index(), o.json);
  }
  if (cursor.error()) return fail(*cursor.error());
  return kDone;
}

int tail_trace(const TraceOptions& o) {
  if (const int status = bad_filter(o)) return status;
  stop_on_signals();
  Printer printer(o, {});
  uint64_t next = 0, whole = 0;
  for (;;) {
    const bool live = !not_being_written(o.file);  // the recorder still has the file open
    auto trace = TraceReader::open(o.file, TraceReader::Check::kHeads);
    if (!trace) {
      // A recording that has just begun has no snapshot yet.
      if (!live || stop_requested()) return fail(trace.error());
    } else if ((*trace)->whole_bytes() != whole) {
      whole = (*trace)->whole_bytes();
      size_t k = 0;
      while (k + 1 < (*trace)->keyframes().size() && (*trace)->keyframes()[k + 1].first_event <= next) ++k;
      EventCursor cursor(**trace, (*trace)->keyframes()[k]);
      for (; const Event* e = cursor.peek(); cursor.pop()) {
        if (cursor.index() < next) continue;
        next = cursor.index() + 1;
        if (printer.wanted(*e) && !printer.show(*e, cursor.index(), nullptr)) return kDone;
      }
      if (cursor.error()) return fail(*cursor.error());
      std::fflush(stdout);
      if ((*trace)->end()) return kDone;
    }
    if (!live || stop_requested()) {
      if (trace && (*trace)->truncated())
        std::fputs(((*trace)->name() + ": " + (*trace)->truncation() + "\n").c_str(), stderr);
      return kDone;
    }
    ::usleep(100'000);
  }
}

}  // namespace dejavm::cli
