#include "tools/dejavm/perfetto.h"

#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/replay/devices_only.h"
#include "replay/replay/position.h"
#include "replay/replay/replayer.h"
#include "replay/store/atomic_file.h"
#include "replay/trace/cursor.h"

namespace dejavm::cli {
namespace {

using json = nlohmann::ordered_json;

class Writer {
 public:
  explicit Writer(AtomicFile& file) : file_(file) { text_ = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"; }
  void event(const json& j) {
    if (any_) text_ += ",\n";
    any_ = true;
    text_ += j.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text_.size() > 1 << 20) flush();
  }
  Result<void> finish() {
    text_ += "\n]}\n";
    flush();
    return result_;
  }
  const Result<void>& result() const { return result_; }

 private:
  void flush() {
    if (result_) result_ = file_.write_at(at_, {reinterpret_cast<const uint8_t*>(text_.data()), text_.size()});
    at_ += text_.size();
    text_.clear();
  }
  AtomicFile& file_;
  std::string text_;
  uint64_t at_ = 0;
  bool any_ = false;
  Result<void> result_;
};

// Microseconds, to the nanosecond: as a double, exact up to some 100 days.
double us(uint64_t ns) { return static_cast<double>(ns) / 1000; }

}  // namespace

Result<void> export_perfetto(const TraceReader& trace, const std::string& path, bool force) {
  auto file = AtomicFile::create(path, force);
  if (!file) return file.error();
  auto begin = time_base_of(trace);
  if (!begin) return begin.error();
  uint64_t base = *begin;

  Writer out(**file);
  std::map<std::string, int> tracks;
  auto track = [&](const std::string& name) {
    const auto [found, made] = tracks.try_emplace(name, static_cast<int>(tracks.size()) + 1);
    if (made)
      out.event({{"ph", "M"}, {"name", "thread_name"}, {"pid", 1}, {"tid", found->second}, {"args", {{"name", name}}}});
    return found->second;
  };
  out.event({{"ph", "M"}, {"name", "process_name"}, {"pid", 1}, {"args", {{"name", "guest: " + trace.name()}}}});
  track("vCPU 0");
  track("interrupts");
  track("console");
  std::string line;
  uint64_t line_at = 0;
  auto end_line = [&] {
    if (!line.empty())
      out.event({{"ph", "i"},
                 {"s", "t"},
                 {"name", line},
                 {"cat", "console"},
                 {"pid", 1},
                 {"tid", track("console")},
                 {"ts", us(line_at)}});
    line.clear();
  };
  EventCursor cursor(trace, trace.keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    const uint64_t now = e->at.retired.value + base;
    const json where{{"event", cursor.index()}, {"instruction", e->at.retired.value}, {"what", describe(*e)}};
    if (e->kind == EventKind::kIdle) {
      if (e->value > now)
        out.event({{"ph", "X"},
                   {"name", "asleep"},
                   {"cat", "idle"},
                   {"pid", 1},
                   {"tid", track("vCPU 0")},
                   {"ts", us(now)},
                   {"dur", us(e->value - now)},
                   {"args", where}});
      base = e->value - e->at.retired.value;
      continue;
    }
    if (e->kind == EventKind::kInterrupt) {
      if (e->value != kNoVector)
        out.event({{"ph", "i"},
                   {"s", "p"},
                   {"name", fmt::format("vector {:#x}", e->value)},
                   {"cat", "interrupt"},
                   {"pid", 1},
                   {"tid", track("interrupts")},
                   {"ts", us(now)},
                   {"args", where}});
      continue;
    }
    if (descriptor_of(e->kind).role == EventRole::kPlace) continue;
    const std::string device(device_of(*e));
    // What the guest prints, by the line.
    if (e->kind == EventKind::kIoWrite && e->address == 0x3f8 && device == "uart16550") {
      const char c = static_cast<char>(e->value);
      if (line.empty()) line_at = now;
      if (c == '\n') end_line();
      else if (c != '\r') line += c;
      if (line.size() > 4096) end_line();
    }
    const EventTarget target = descriptor_of(e->kind).target;
    const bool at_address = target == EventTarget::kPort || target == EventTarget::kGpa;
    const std::string name =
        at_address ? fmt::format("{} {:#x}", name_of(e->kind), e->address) : std::string(name_of(e->kind));
    out.event({{"ph", "i"},
               {"s", "t"},
               {"name", name},
               {"cat", device == "-" ? "machine" : device},
               {"pid", 1},
               {"tid", track(device == "-" ? "machine" : device)},
               {"ts", us(now)},
               {"args", where}});
    if (!out.result()) return out.result();
  }
  end_line();
  if (cursor.error()) return *cursor.error();
  if (auto done = out.finish(); !done) return done;
  return (*file)->commit();
}

}  // namespace dejavm::cli
