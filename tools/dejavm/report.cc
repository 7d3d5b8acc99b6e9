#include "tools/dejavm/report.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/trace/cursor.h"

namespace dejavm::cli {
namespace {

std::string why(const RunSummary& s) {
  switch (s.end) {
    case RunEnd::kUntil: return "the limit of instructions or of time was reached";
    case RunEnd::kPowerOff: return "the guest powered off";
    case RunEnd::kDebugExit: return fmt::format("the guest ended with debug-exit status {}", s.debug_exit);
    case RunEnd::kUserStop: return "stopped by the user";
    case RunEnd::kHaltedForever: return "the guest has stopped: " + s.detail;
    case RunEnd::kTripleFault: return "the guest has crashed: " + s.detail;
    case RunEnd::kUnimplemented: return "--strict: " + s.detail;
    case RunEnd::kEngineError: return "the engine cannot go on: " + s.detail;
    case RunEnd::kReset: return "the guest asked for a reset";
  }
  return {};
}

// Exits by kind, and the bytes that all events take in the file.
void add_counts(nlohmann::json& j, const TraceReader& trace) {
  uint64_t counts[kEventKinds] = {};
  EventCursor cursor(trace, trace.keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop()) ++counts[static_cast<size_t>(e->kind)];
  for (size_t k = 0; k < kEventKinds; ++k)
    if (is_exit(static_cast<EventKind>(k)))
      j["exits_by_kind"][std::string(name_of(static_cast<EventKind>(k)))] = counts[k];
  uint64_t bytes = 0;
  for (const FrameInfo& f : trace.frames())
    if (f.head.kind == FrameKind::kEvents) bytes += f.head.stored_bytes;
  j["events_bytes"] = bytes;
}

int status(const RunSummary& s) {
  switch (s.end) {
    case RunEnd::kPowerOff:
    case RunEnd::kUserStop:
    case RunEnd::kReset: return kDone;
    case RunEnd::kDebugExit: return s.debug_exit;
    case RunEnd::kEngineError: return kUsage;
    default: return kAbnormal;
  }
}

nlohmann::json as_json(const RunSummary& s) {
  nlohmann::json j{{"end", std::string(name_of(s.end))}, {"instructions", s.instructions}, {"exits", s.exits}};
  if (!s.detail.empty()) j["detail"] = s.detail;
  if (s.end == RunEnd::kDebugExit) j["debug_exit"] = s.debug_exit;
  return j;
}

}  // namespace

std::string line_of(const nlohmann::json& j) {
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

int with_output_written(int status) {
  errno = 0;
  std::cout.flush();
  const bool lost = !std::cout || std::fflush(stdout) != 0 || std::ferror(stdout);
  if (!lost) return status;
  std::fputs(fmt::format("dejavm: standard output: not all of it could be written{}{}\n", errno ? ": " : "",
                         errno ? std::strerror(errno) : "")
                 .c_str(),
             stderr);
  return status == kDone ? static_cast<int>(kUsage) : status;
}

int fail(const Error& e, Status status) {
  std::fputs(("dejavm: " + e.message + "\n").c_str(), stderr);
  return status;
}

int fail(const Error& e) { return fail(e, static_cast<Status>(e.kind)); }

ProgressLine::ProgressLine(const std::string& console)
    : on_(isatty(STDERR_FILENO) && console != "stdio"), begin_(std::chrono::steady_clock::now()), last_(begin_) {}

ProgressLine::~ProgressLine() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

std::function<void(const Progress&)> ProgressLine::function() {
  if (!on_) return {};
  return [this](const Progress& p) { show(p); };
}

void ProgressLine::show(const Progress& p) {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < std::chrono::milliseconds(200)) return;
  last_ = now;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  std::fputs(fmt::format("\r{:.0f} M instructions, {:.1f} s of guest time, {} exits, {:.0f} M/s\033[K",
                         static_cast<double>(p.at.value) / 1e6, static_cast<double>(p.now.value) / 1e9, p.exits,
                         static_cast<double>(p.at.value) / seconds / 1e6)
                 .c_str(),
             stderr);
}

int report_run(const Options& o, const Outcome& out, const std::string& verb) {
  const RunSummary& s = out.summary;
  if (o.json) {
    nlohmann::json j = as_json(s);
    j["seconds"] = out.seconds;
    j["ready_seconds"] = out.ready_seconds;
    if (o.digest || out.recorded) j["digest"] = to_hex(s.digest);
    if (out.recorded) {
      j["trace"] = out.trace;
      j["trace_bytes"] = out.trace_bytes;
    }
    j["engine"] = out.engine;
    for (const auto& [name, n] : out.counters) j["engine_counters"][name] = n;
    if (!out.suspended.empty()) j["suspended"] = out.suspended;
    std::fputs((line_of(j) + "\n").c_str(), stderr);
  } else {
    const std::string how = out.suspended.empty() ? why(s) : "suspended to " + out.suspended;
    std::string line = fmt::format("{}: {}; {} {}", verb, how, s.instructions,
                                   out.engine == "kvm" ? "ticks of the TSC, on KVM" : "instructions");
    for (const auto& [name, n] : out.counters)
      if (name == "by_deterministic_engine" && n != 0)
        line += fmt::format(", {} instructions executed for it by the deterministic engine", n);
    if (out.recorded) line += fmt::format(", {} exits", s.exits);
    if (o.digest || out.recorded) line += fmt::format(", digest {}", to_hex(s.digest));
    if (out.recorded) line += fmt::format(", {} bytes in {}", out.trace_bytes, out.trace);
    std::fputs((line + "\n").c_str(), stderr);
  }
  return status(s);
}

int report_replay(const Options& o, const ReplaySummary& s, const TraceReader& trace) {
  if (o.json) {
    nlohmann::json j = as_json(s);
    j["identical"] = true;
    j["digest"] = to_hex(s.digest);
    j["truncated"] = s.truncated;
    add_counts(j, trace);
    std::puts(line_of(j).c_str());
  } else {
    std::puts(fmt::format("replay: identical{}, {} exits, {} instructions, digest {}",
                          s.truncated ? " as far as the trace goes" : "", s.exits, s.instructions, to_hex(s.digest))
                  .c_str());
  }
  if (!trace.truncated()) return kDone;
  return fail({ErrorKind::kBadInput, trace.name() + ": " + trace.truncation()});
}

std::string unusual(const MachineConfig& c) {
  std::string out;
  if (c.serial_baud) out += ", serial at its baud rate";
  if (c.pm_timer_32) out += ", 32-bit PM timer";
  if (c.debug_exit) out += ", debug exit";
  if (c.firmware_log) out += ", firmware's log";
  if (c.rng) out += ", virtio entropy device";
  if (c.vcpus > 1 && c.slice != kDefaultSlice) out += fmt::format(", slices of {}", c.slice);
  if (c.schedule.kind == ScheduleKind::kRandom) out += fmt::format(", random turns of seed {}", c.schedule.seed);
  if (c.schedule.kind == ScheduleKind::kPct)
    out +=
        fmt::format(", PCT turns of depth {}, seed {}, over {}", c.schedule.depth, c.schedule.seed, c.schedule.length);
  if (c.schedule.kind == ScheduleKind::kList)
    out += fmt::format(", turns by a list of {} switches", c.schedule.switches.size());
  if (c.test_device) out += ", test device";
  if (c.strict) out += ", strict";
  if (!c.cpu_without.empty()) out += fmt::format(", CPU without {}", fmt::join(c.cpu_without, " "));
  return out;
}

}  // namespace dejavm::cli
