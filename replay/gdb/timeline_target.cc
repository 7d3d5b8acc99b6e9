#include "replay/gdb/timeline_target.h"

#include <algorithm>

#include "replay/guest/where.h"

namespace dejavm::gdb {

size_t read_linear(Machine& machine, const VcpuState& s, uint64_t address, std::span<uint8_t> to) {
  size_t done = 0;
  while (done < to.size()) {
    const uint64_t at = address + done;
    const size_t n = std::min<size_t>(to.size() - done, kPageSize - (at & (kPageSize - 1)));
    const auto gpa = translate(machine.memory(), s, at);
    if (!gpa || !machine.memory().read(Gpa{*gpa}, to.data() + done, n)) break;
    done += n;
  }
  return done;
}

VcpuState TimelineTarget::state(uint32_t vcpu) {
  VcpuState s;
  timeline_.machine().sync_out();
  timeline_.machine().engine().get_state(vcpu, s);
  return s;
}

namespace {

Error unchangeable() {
  return {ErrorKind::kHost, "a recorded run cannot be changed; record another, or debug a live one (dejavm run --gdb)"};
}

}  // namespace

Result<void> TimelineTarget::set_state(uint32_t, const VcpuState&) { return unchangeable(); }
Result<void> TimelineTarget::write(uint32_t, uint64_t, std::span<const uint8_t> from) {
  if (from.empty()) return {};  // gdb asks so whether it may write
  return unchangeable();
}
size_t TimelineTarget::read(uint32_t vcpu, uint64_t address, std::span<uint8_t> to) {
  return read_linear(timeline_.machine(), state(vcpu), address, to);
}

Result<Target::Stop> TimelineTarget::resume(How how, Who who, const DebugPoints& points,
                                            const std::function<bool()>& wanted) {
  const std::optional<uint32_t> of = vcpus() > 1 ? std::optional(who.vcpu) : std::nullopt;
  auto gone = [&]() -> Result<Timeline::Stop> {
    switch (how) {
      case How::kStep: return timeline_.step(of);
      case How::kStepBack: return timeline_.step_back(of);
      case How::kContinue: return timeline_.forward(points, kForever, wanted);
      case How::kContinueBack: return timeline_.backward(points, wanted);
    }
    return Timeline::Stop{};
  }();
  if (!gone) return gone.error();
  switch (gone->why) {
    case Timeline::Why::kHit: return Stop{Why::kHit, gone->hit};
    case Timeline::Why::kBegin: return Stop{Why::kBegin, {}};
    case Timeline::Why::kEnd: return Stop{Why::kEnd, {}};
    case Timeline::Why::kLimit: break;
  }
  const bool step = how == How::kStep || how == How::kStepBack;
  return Stop{step ? Why::kStepped : Why::kInterrupted, {}};
}

}  // namespace dejavm::gdb
