#include <algorithm>
#include <functional>
#include <optional>

#include <fmt/format.h>

#include "replay/replay/devices_only.h"
#include "replay/replay/lone_board.h"
#include "vmm/state/cpu_model.h"

namespace dejavm {

std::string_view device_of(const Event& e) {
  switch (descriptor_of(e.kind).target) {
    case EventTarget::kPort: return device_at_port({static_cast<uint16_t>(e.address)});
    case EventTarget::kGpa: return device_at_gpa({e.address});
    case EventTarget::kMsr: return device_of_msr(static_cast<uint32_t>(e.address));
    case EventTarget::kLocalApic: return "vlapic";
    case EventTarget::kCpu: return "cpu";
    case EventTarget::kConsole: return "uart16550";
    case EventTarget::kNobody: break;
  }
  return "-";
}

Result<DevicesSummary> replay_devices_only(const TraceReader& trace, Console* console) {
  const Keyframe& start = trace.keyframes().front();
  auto snapshot = trace.snapshot(start);
  if (!snapshot) return snapshot.error();
  const MachineConfig config = trace.header().config;
  LoggedDma dma(trace, start);
  LoneBoard board(config, console, dma);
  if (auto done = board.load(*snapshot); !done) return trace.damaged(start.frame, done.error().message);
  DevicesSummary s;
  EventCursor cursor(trace, start);
  std::string differs;  // the first answer that was not the log's
  size_t keyframe = 1;
  for (;; cursor.pop()) {
    const Event* e = cursor.peek();
    const auto& keyframes = trace.keyframes();
    for (; keyframe < keyframes.size() && keyframes[keyframe].first_event <= cursor.index(); ++keyframe) {
      auto expected = trace.snapshot(keyframes[keyframe]);
      if (!expected) return expected.error();
      const auto lines = board.compare(*expected, keyframes[keyframe].at);
      if (lines.empty() && differs.empty()) {
        ++s.keyframes;
        continue;
      }
      if (differs.empty())
        differs = fmt::format("{}: the devices differ from keyframe {}, though every answer before it was the log's",
                              trace.name(), keyframe);
      for (const std::string& line : lines)
        differs += fmt::format("\n  at instruction {}: {}", keyframes[keyframe].at.value, line);
      return Error{ErrorKind::kDivergence, differs};
    }
    if (!e) break;
    if (e->at.vcpu >= config.vcpus)
      return Error{ErrorKind::kBadInput, fmt::format("{}: event {} is of vCPU {}; the machine has {}", trace.name(),
                                                     cursor.index(), e->at.vcpu, config.vcpus)};
    const Event answer = board.feed(*e);
    if (!differs.empty()) continue;  // on the way to the next keyframe
    if (!dma.difference().empty()) {
      differs = fmt::format("{}: a device reads other memory than in the log, at event {}\n{}", trace.name(),
                            cursor.index(), dma.difference());
      continue;
    }
    if (!(answer == *e)) {
      differs = fmt::format("{}: {} differs from the log at event {}\nexpected {}\nhappened {}", trace.name(),
                            device_of(*e), cursor.index(), describe(*e), describe(answer));
      continue;
    }
    ++s.events;
    s.exits += is_exit(e->kind) ? 1 : 0;
    const EventKind k = e->kind;
    s.answers += k == EventKind::kIoRead || k == EventKind::kMmioRead || k == EventKind::kMsrRead ||
                 k == EventKind::kMsrWrite || k == EventKind::kCr8Read || k == EventKind::kCpuid ||
                 k == EventKind::kInterrupt;
  }
  if (cursor.error()) return *cursor.error();
  if (!differs.empty()) return Error{ErrorKind::kDivergence, differs};
  return s;
}

Result<void> interrupts_taken(const TraceReader& trace, const std::function<void(const InterruptTaken&)>& taken) {
  const Keyframe& start = trace.keyframes().front();
  auto snapshot = trace.snapshot(start);
  if (!snapshot) return snapshot.error();
  LoggedDma dma(trace, start);
  LoneBoard board(trace.header().config, nullptr, dma);
  if (auto done = board.load(*snapshot); !done) return trace.damaged(start.frame, done.error().message);
  std::vector<std::optional<Nanos>> raised(trace.header().config.vcpus);  // of each vCPU's INTR
  auto look = [&](Nanos now) {
    for (uint32_t n = 0; n < raised.size(); ++n) {
      if (!board.intr(n)) raised[n].reset();
      else if (!raised[n]) raised[n] = now;
    }
  };
  EventCursor cursor(trace, start);
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    if (e->at.vcpu >= raised.size()) continue;
    board.pass(*e, look);
    const Nanos now = board.now(*e);
    board.feed(*e);
    if (e->kind == EventKind::kInterrupt && e->value != kNoVector) {
      taken({static_cast<uint8_t>(e->value), e->at, raised[e->at.vcpu].value_or(now), now});
      raised[e->at.vcpu].reset();
    }
    look(board.now(*e));
  }
  if (cursor.error()) return *cursor.error();
  return {};
}

}  // namespace dejavm
