#include "tools/dejavm/perfetto.h"

#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/replay/devices_only.h"
#include "replay/replay/position.h"
#include "replay/replay/replayer.h"
#include "replay/store/atomic_file.h"
#include "replay/trace/cursor.h"
#include "vmm/board/address_map.h"

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

// One trace on its way into the file: tracks, virtual time, and the line that the guest is printing.
class Exporter {
 public:
  Exporter(const TraceReader& trace, AtomicFile& file, uint64_t time_base)
      : trace_(trace), out_(file), base_(time_base) {
    out_.event({{"ph", "M"}, {"name", "process_name"}, {"pid", 1}, {"args", {{"name", "guest: " + trace_.name()}}}});
    for (uint32_t n = 0; n < trace.header().config.vcpus; ++n) track(name_of_vcpu(n));
    for (const char* name : {"interrupts", "console"}) track(name);
  }

  Result<void> run() {
    EventCursor cursor(trace_, trace_.keyframes().front());
    for (; const Event* e = cursor.peek(); cursor.pop()) {
      show(*e, cursor.index());
      if (!out_.result()) return out_.result();
    }
    end_line();
    end_turn();
    if (cursor.error()) return *cursor.error();
    return out_.finish();
  }

 private:
  int track(const std::string& name) {
    const auto [found, made] = tracks_.try_emplace(name, static_cast<int>(tracks_.size()) + 1);
    const int number = found->second;
    if (made)
      out_.event({{"ph", "M"}, {"name", "thread_name"}, {"pid", 1}, {"tid", number}, {"args", {{"name", name}}}});
    return number;
  }

  // Something at a moment. `scope`: how far its line reaches, "t" for the track, "p" for all.
  void instant(const char* scope, const std::string& name, const char* category, const std::string& on, uint64_t at_ns,
               const json& arguments) {
    json event{{"ph", "i"}, {"s", scope},       {"name", name},   {"cat", category},
               {"pid", 1},  {"tid", track(on)}, {"ts", us(at_ns)}};
    if (!arguments.is_null()) event["args"] = arguments;
    out_.event(event);
  }

  bool several() const { return trace_.header().config.vcpus > 1; }
  static std::string name_of_vcpu(uint32_t n) { return fmt::format("vCPU {}", n); }

  // From `from` to `to`, on its track.
  void span(const std::string& name, const char* category, const std::string& on, uint64_t from, uint64_t to,
            const json& arguments) {
    out_.event({{"ph", "X"},
                {"name", name},
                {"cat", category},
                {"pid", 1},
                {"tid", track(on)},
                {"ts", us(from)},
                {"dur", us(to - from)},
                {"args", arguments}});
  }

  // Of several vCPUs: as far as the log tells, the one whose exits follow each other without another's between them.
  void take_turn(const Event& e, uint64_t now) {
    if (e.at.vcpu != acting_) {
      end_turn();
      acting_ = e.at.vcpu;
      turn_begin_ = now;
    }
    turn_end_ = now;
  }
  void end_turn() {
    if (several() && turn_end_ > turn_begin_)
      span("acts", "turn", name_of_vcpu(acting_), turn_begin_, turn_end_, json::object());
  }

  void show(const Event& e, uint64_t number) {
    const uint64_t now = e.at.retired.value + base_;
    if (several() && descriptor_of(e.kind).role == EventRole::kExit) take_turn(e, now);
    const json where{{"event", number}, {"instruction", e.at.retired.value}, {"what", describe(e)}};
    switch (descriptor_of(e.kind).role) {
      case EventRole::kPlace: return;
      case EventRole::kTime: return sleep(e, now, where);
      case EventRole::kExit:
      case EventRole::kInput:
      case EventRole::kDma: break;
    }
    if (e.kind == EventKind::kInterrupt) {
      if (e.value != kNoVector)
        instant("p", fmt::format("vector {:#x}", e.value), "interrupt",
                several() ? name_of_vcpu(e.at.vcpu) : "interrupts", now, where);
      return;
    }
    const std::string device = device_of(e) == "-" ? "machine" : std::string(device_of(e));
    if (e.kind == EventKind::kIoWrite && e.address == address_map::kCom1) print(static_cast<char>(e.value), now);
    const EventTarget target = descriptor_of(e.kind).target;
    const bool at_address = target == EventTarget::kPort || target == EventTarget::kGpa;
    const std::string kind(name_of(e.kind));
    instant("t", at_address ? fmt::format("{} {:#x}", kind, e.address) : kind, device.c_str(), device, now, where);
  }

  void sleep(const Event& e, uint64_t now, const json& where) {
    end_turn();
    turn_begin_ = turn_end_ = std::max(now, e.value);
    for (uint32_t n = 0; n < trace_.header().config.vcpus && e.value > now; ++n)
      span("asleep", "idle", name_of_vcpu(n), now, e.value, where);
    base_ = e.value - e.at.retired.value;
  }

  // What the guest prints, by the line.
  void print(char c, uint64_t now) {
    constexpr size_t kLongestLine = 4096;
    if (line_.empty()) line_at_ = now;
    if (c == '\n') end_line();
    else if (c != '\r') line_ += c;
    if (line_.size() > kLongestLine) end_line();
  }
  void end_line() {
    if (!line_.empty()) instant("t", line_, "console", "console", line_at_, nullptr);
    line_.clear();
  }

  const TraceReader& trace_;
  Writer out_;
  std::map<std::string, int> tracks_;
  uint64_t base_;  // now - retired
  uint32_t acting_ = 0;
  uint64_t turn_begin_ = 0, turn_end_ = 0;
  std::string line_;
  uint64_t line_at_ = 0;
};

}  // namespace

Result<void> export_perfetto(const TraceReader& trace, const std::string& path, bool force) {
  auto file = AtomicFile::create(path, force);
  if (!file) return file.error();
  auto base = time_base_of(trace);
  if (!base) return base.error();
  Exporter exporter(trace, **file, *base);
  if (auto done = exporter.run(); !done) return done;
  return (*file)->commit();
}

}  // namespace dejavm::cli
