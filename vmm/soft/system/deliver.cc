// Event delivery. Source: Intel SDM vol. 3, 6.10-6.15 and vol. 2, INT n; 20.1.4 and 20.3 for real-address and
// virtual-8086 mode (VME does not exist). RF in the image: 1 for faults, else as it was (17.3.1.1); an event between
// two iterations of a string instruction pushes RF as it was, as AMD's do.
#include "vmm/soft/system/deliver.h"

#include "vmm/soft/system/stack.h"
#include "vmm/soft/system/task.h"

namespace dejavm::soft {
namespace sys {
namespace {

constexpr uint64_t kDr7GD = 1 << 13;
constexpr uint64_t kClearedFlags = kTF | kNT | kRF | kVM;

// #DB is a trap, except for a MOV to or from a debug register under DR7.GD, or an instruction breakpoint: that one
// pushes RF as it was (0), so that the handler decides.
bool sets_rf(const Cpu& c, const Event& e) {
  if (e.type != EventType::kException || e.vector == kBP || e.vector == kOF) return false;
  return e.vector != kDB || ((c.s.dr7 & kDr7GD) && (c.s.dr6 & kDr6BD));
}

bool is_software(const Event& e) { return e.type == EventType::kSoftware || e.type == EventType::kSoftwareException; }

struct Frame {
  const Event& event;
  uint64_t return_rip;
  uint64_t flags;  // as pushed
  uint32_t ext;
};

void real_mode(Cpu& c, const Frame& f) {
  const uint64_t offset = uint64_t{f.event.vector} * 4;
  if (offset + 3 > c.s.idtr.limit) Cpu::fault(kGP, 0);
  const uint32_t entry = c.load_system<uint32_t>(system_linear(c, c.s.idtr.base, offset));
  const SegmentState& ss = c.s.segment[kSs];
  PushFrame stack(ss, c.r[kRsp], stack_width(ss), 0, false);
  stack.push(2, f.flags);
  stack.push(2, c.s.segment[kCs].selector);
  stack.push(2, f.return_rip);
  stack.write(c);
  c.r[kRsp] = stack.sp();
  c.set_rflags(c.rflags() & ~(kIF | kTF | kAC_ | kRF));
  load_real_segment(c, kCs, static_cast<uint16_t>(entry >> 16));
  c.update_mode();
  c.rip = entry & 0xffff;
}

void push_frame(PushFrame& stack, const Frame& f, const Cpu& c, unsigned size) {
  stack.push(size, f.flags);
  stack.push(size, c.s.segment[kCs].selector);
  stack.push(size, f.return_rip);
  if (f.event.has_error) stack.push(size, f.event.error);
}

void enter_handler(Cpu& c, const Descriptor& gate, const Descriptor& code, unsigned cpl) {
  const bool interrupt = (gate.type() & 1) == 0;
  c.set_rflags(c.rflags() & ~(kClearedFlags | (interrupt ? uint64_t{kIF} : 0)));
  const uint16_t selector = static_cast<uint16_t>((gate.gate_selector() & ~3u) | cpl);
  enter_code(c, cache_of(code, selector), cpl, gate.gate_offset());
  c.rip = c.next_rip;
}

// The handler's code segment, with all checks, and the privilege level it runs at.
Descriptor handler_code(Cpu& c, const Descriptor& gate, uint32_t ext) {
  const uint16_t selector = gate.gate_selector();
  if (is_null(selector)) Cpu::fault(kGP, ext);
  const Descriptor code = fetch_descriptor(c, selector, kGP, ext);
  if (!code.code() || code.dpl() > c.cpl) selector_fault(kGP, selector, ext);
  if (c.long_mode() && (!code.long_bit() || code.big_bit())) selector_fault(kGP, selector, ext);
  if (c.v86() && (code.conforming() || code.dpl() != 0)) selector_fault(kGP, selector, ext);
  if (!code.present()) selector_fault(kNP, selector, ext);
  return code;
}

void through_gate_64(Cpu& c, const Frame& f, const Descriptor& gate) {
  const Descriptor code = handler_code(c, gate, f.ext);
  const unsigned cpl = code.conforming() ? c.cpl : code.dpl();
  uint64_t sp = c.r[kRsp];
  if (gate.gate_ist() != 0) sp = inner_rsp(c, cpl, gate.gate_ist(), f.ext);
  else if (cpl != c.cpl) sp = inner_rsp(c, cpl, 0, f.ext);
  check_target(c, code, gate.gate_offset(), f.ext);
  mark_accessed(c, code);
  PushFrame stack({}, sp & ~uint64_t{15}, 8, f.ext);
  stack.push(8, c.s.segment[kSs].selector);
  stack.push(8, c.r[kRsp]);
  push_frame(stack, f, c, 8);
  const bool new_level = cpl != c.cpl;
  {
    LevelScope level(c, cpl);
    stack.write(c);
  }
  c.r[kRsp] = stack.sp();
  if (new_level) c.set_segment(kSs, null_segment(static_cast<uint16_t>(cpl), cpl));
  enter_handler(c, gate, code, cpl);
}

void same_level(Cpu& c, const Frame& f, const Descriptor& gate, const Descriptor& code) {
  const SegmentState& ss = c.s.segment[kSs];
  PushFrame stack(ss, c.r[kRsp], stack_width(ss), f.ext);
  push_frame(stack, f, c, gate.gate_32() ? 4 : 2);
  check_target(c, code, gate.gate_offset(), f.ext);
  mark_accessed(c, code);
  stack.write(c);
  c.r[kRsp] = stack.sp();
  enter_handler(c, gate, code, c.cpl);
}

void inner_level(Cpu& c, const Frame& f, const Descriptor& gate, const Descriptor& code) {
  const unsigned size = gate.gate_32() ? 4 : 2;
  const InnerStack inner = inner_stack(c, code.dpl(), f.ext);
  PushFrame stack(inner.ss, inner.sp, inner.width, (inner.ss.selector & 0xfffcu) | f.ext);
  if (c.v86())
    for (unsigned seg : {kGs, kFs, kDs, kEs}) stack.push(size, c.s.segment[seg].selector);
  stack.push(size, c.s.segment[kSs].selector);
  stack.push(size, c.r[kRsp]);
  push_frame(stack, f, c, size);
  check_target(c, code, gate.gate_offset(), f.ext);
  mark_accessed(c, code);
  mark_accessed(c, inner.descriptor);
  {
    LevelScope level(c, code.dpl());
    stack.write(c);
  }
  if (c.v86())
    for (unsigned seg : {kGs, kFs, kDs, kEs}) c.set_segment(seg, null_segment(0));
  c.r[kRsp] = stack.sp();
  c.set_segment(kSs, inner.ss);
  enter_handler(c, gate, code, code.dpl());
}

void through_task_gate(Cpu& c, const Frame& f, const Descriptor& gate, uint64_t& return_rip) {
  const Descriptor tss = fetch_task_gate_tss(c, gate.gate_selector(), f.ext);
  TaskSwitch task{TaskCause::kEvent, gate.gate_selector(), tss, f.return_rip, f.flags, f.ext};
  try {
    switch_task(c, task);
  } catch (const GuestFault&) {
    if (task.entered) return_rip = c.rip;
    throw;
  }
  return_rip = c.rip;
  if (f.event.has_error) {
    const SegmentState& ss = c.s.segment[kSs];
    PushFrame stack(ss, c.r[kRsp], stack_width(ss), f.ext, !c.v86());
    stack.push(c.s.segment[kTr].attributes & 8 ? 4 : 2, f.event.error);
    stack.write(c);
    c.r[kRsp] = stack.sp();
  }
  check_task_target(c, f.ext);
}

// The gate of `vector`; its type, the privilege of software interrupts and presence are checked.
Descriptor fetch_gate(Cpu& c, const Event& e, uint32_t ext) {
  const bool long_mode = c.long_mode();
  const uint64_t offset = uint64_t{e.vector} * (long_mode ? 16 : 8);
  const uint32_t error = e.vector * 8u | kIdt | ext;
  if (offset + (long_mode ? 15 : 7) > c.s.idtr.limit) Cpu::fault(kGP, error);
  Descriptor d;
  d.at = system_linear(c, c.s.idtr.base, offset);
  d.low = c.load_system<uint64_t>(d.at);
  if (long_mode) d.high = c.load_system<uint64_t>(d.at + 8) & 0xffffffff;
  bool valid = d.system(kInterruptGate32) || d.system(kTrapGate32);
  if (!long_mode) valid = valid || d.system(kInterruptGate16) || d.system(kTrapGate16) || d.system(kTaskGate);
  if (!valid) Cpu::fault(kGP, error);
  if (is_software(e) && d.dpl() < c.cpl) Cpu::fault(kGP, error);
  if (!d.present()) Cpu::fault(kNP, error);
  return d;
}

// SDM vol. 3, tables 6-4 and 6-5.
enum class FaultClass : uint8_t { kBenign, kContributory, kPageFault, kDoubleFault };

FaultClass class_of(const Event& e) {
  if (e.type != EventType::kException) return FaultClass::kBenign;
  switch (e.vector) {
    case kDE:
    case kTS:
    case kNP:
    case kSS_:
    case kGP: return FaultClass::kContributory;
    case kPF: return FaultClass::kPageFault;
    case kDF: return FaultClass::kDoubleFault;
    default: return FaultClass::kBenign;
  }
}

// What to deliver when `second` arises while `first` is delivered. False: shutdown.
bool combine(const Event& first, const Event& second, Event& out) {
  const FaultClass a = class_of(first), b = class_of(second);
  if (a == FaultClass::kDoubleFault && b != FaultClass::kBenign) return false;
  const bool both = (a == FaultClass::kContributory && b == FaultClass::kContributory) ||
                    (a == FaultClass::kPageFault && b != FaultClass::kBenign);
  out = both ? Event{EventType::kException, kDF, true, 0} : second;
  return true;
}

}  // namespace

void deliver_once(Cpu& c, const Event& e, uint64_t& return_rip) {
  const uint32_t ext = is_software(e) ? 0 : kExt;
  const Frame f{e, return_rip, c.rflags() | (sets_rf(c, e) ? uint64_t{kRF} : 0), ext};
  if (!c.protected_mode()) {
    real_mode(c, f);
  } else {
    const Descriptor gate = fetch_gate(c, e, ext);
    if (c.long_mode()) {
      through_gate_64(c, f, gate);
    } else if (gate.type() == kTaskGate) {
      through_task_gate(c, f, gate, return_rip);
    } else {
      const Descriptor code = handler_code(c, gate, ext);
      if (code.conforming() || code.dpl() == c.cpl) same_level(c, f, gate, code);
      else inner_level(c, f, gate, code);
    }
  }
  if (e.vector == kDB && (e.type == EventType::kException || e.type == EventType::kIcebp)) c.s.dr7 &= ~kDr7GD;
}

}  // namespace sys

bool deliver_event(Cpu& c, const Event& first, uint64_t return_rip) {
  if (first.type == EventType::kNmi) c.s.nmi_blocked = true;
  c.s.sti_shadow = c.s.movss_shadow = false;
  Event e = first;
  for (;;) {
    try {
      sys::deliver_once(c, e, return_rip);
      return true;
    } catch (const GuestFault& f) {
      if (!sys::combine(e, {EventType::kException, f.vector, f.has_error, f.error}, e)) {
        c.s.activity = Activity::kShutdown;
        return false;
      }
    }
  }
}

}  // namespace dejavm::soft
