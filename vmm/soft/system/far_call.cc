// Far JMP and CALL: to code, through call gates, task gates and TSSs. Source: Intel SDM vol. 2, CALL and JMP; vol. 3,
// 5.8.
#include "vmm/soft/system/stack.h"
#include "vmm/soft/system/task.h"

namespace dejavm::soft {
namespace sys {
namespace {

struct Transfer {
  uint16_t selector;
  uint64_t offset;
  unsigned size;  // of the operand, and so of what CALL pushes
  bool call;
};

Transfer operand(Cpu& c, const Decoded& d, bool call) {
  if (d.operands[0].kind == OperandKind::kFar)
    return {static_cast<uint16_t>(d.imm2), d.op_size == 2 ? d.imm & 0xffff : d.imm & 0xffffffff, d.op_size, call};
  const FarPointer p = load_far_pointer(c, d);
  return {p.selector, p.offset, d.op_size, call};
}

// CS and the return offset on the current stack.
PushFrame return_frame(const Cpu& c, unsigned size) {
  const SegmentState& ss = c.s.segment[kSs];
  PushFrame stack(ss, c.r[kRsp], c.stack_size(), 0, !c.real_or_v86());
  stack.push(size, c.s.segment[kCs].selector);
  stack.push(size, c.next_rip);
  return stack;
}

void real_transfer(Cpu& c, const Transfer& t) {
  if (t.offset > c.s.segment[kCs].limit) Cpu::fault(kGP, 0);
  if (t.call) {
    const PushFrame stack = return_frame(c, t.size);
    stack.write(c);
    c.r[kRsp] = stack.sp();
  }
  if (c.v86()) c.set_segment(kCs, v86_segment(t.selector));
  else load_real_segment(c, kCs, t.selector);
  c.update_mode();
  c.next_rip = t.offset;
}

uint16_t with_rpl(uint16_t selector, unsigned cpl) { return static_cast<uint16_t>((selector & ~3u) | cpl); }

void same_level(Cpu& c, const Transfer& t, const Descriptor& code, uint16_t selector, uint64_t target, unsigned size) {
  check_target(c, code, target);
  if (t.call) {
    const PushFrame stack = return_frame(c, size);
    mark_accessed(c, code);
    stack.write(c);
    c.r[kRsp] = stack.sp();
  } else {
    mark_accessed(c, code);
  }
  enter_code(c, cache_of(code, with_rpl(selector, c.cpl)), c.cpl, target);
}

void to_code(Cpu& c, const Transfer& t, const Descriptor& code) {
  const bool allowed = code.conforming() ? code.dpl() <= c.cpl : code.dpl() == c.cpl && rpl_of(t.selector) <= c.cpl;
  if (!allowed || !valid_code_size(c, code)) selector_fault(kGP, t.selector);
  if (!code.present()) selector_fault(kNP, t.selector);
  same_level(c, t, code, t.selector, t.offset, t.size);
}

// The words or doublewords that a call gate copies, from the caller's stack, last pushed first.
void copy_parameters(Cpu& c, PushFrame& stack, unsigned count, unsigned size) {
  std::array<uint64_t, 31> parameter;
  PopFrame old(c);
  for (unsigned n = 0; n < count; ++n) parameter[n] = old.pop(c, size);
  while (count > 0) stack.push(size, parameter[--count]);
}

void to_inner_level(Cpu& c, const Descriptor& gate, const Descriptor& code) {
  const bool long_mode = c.long_mode();
  const unsigned size = long_mode ? 8 : gate.gate_32() ? 4 : 2;
  const InnerStack inner = inner_stack(c, code.dpl(), 0);
  PushFrame stack(inner.ss, inner.sp, inner.width, inner.ss.selector & 0xfffcu);
  stack.push(size, c.s.segment[kSs].selector);
  stack.push(size, c.r[kRsp]);
  if (!long_mode) copy_parameters(c, stack, gate.gate_parameters(), size);
  stack.push(size, c.s.segment[kCs].selector);
  stack.push(size, c.next_rip);
  check_target(c, code, gate.gate_offset());
  mark_accessed(c, code);
  if (!long_mode) mark_accessed(c, inner.descriptor);
  {
    LevelScope level(c, code.dpl());
    stack.write(c);
  }
  c.r[kRsp] = stack.sp();
  c.set_segment(kSs, inner.ss);
  enter_code(c, cache_of(code, with_rpl(gate.gate_selector(), code.dpl())), code.dpl(), gate.gate_offset());
}

void check_gate(const Cpu& c, const Transfer& t, const Descriptor& gate) {
  if (gate.dpl() < c.cpl || gate.dpl() < rpl_of(t.selector)) selector_fault(kGP, t.selector);
}

void through_call_gate(Cpu& c, const Transfer& t, const Descriptor& gate) {
  check_gate(c, t, gate);
  if (c.long_mode() && !upper_type_clear(gate)) selector_fault(kGP, t.selector);
  if (!gate.present()) selector_fault(kNP, t.selector);
  const uint16_t selector = gate.gate_selector();
  if (is_null(selector)) Cpu::fault(kGP, 0);
  const Descriptor code = fetch_descriptor(c, selector);
  if (!code.code() || code.dpl() > c.cpl) selector_fault(kGP, selector);
  if (!t.call && !code.conforming() && code.dpl() != c.cpl) selector_fault(kGP, selector);
  if (c.long_mode() && (!code.long_bit() || code.big_bit())) selector_fault(kGP, selector);
  if (!code.present()) selector_fault(kNP, selector);
  if (t.call && !code.conforming() && code.dpl() < c.cpl) {
    to_inner_level(c, gate, code);
  } else {
    const unsigned size = c.long_mode() ? 8 : gate.gate_32() ? 4 : 2;
    same_level(c, t, code, selector, gate.gate_offset(), size);
  }
}

void to_task(Cpu& c, const Transfer& t, uint16_t tss_selector, const Descriptor& tss) {
  TaskSwitch task{t.call ? TaskCause::kCall : TaskCause::kJump, tss_selector, tss, c.next_rip, c.rflags()};
  switch_task(c, task);
  check_task_target(c, 0);
}

void to_system(Cpu& c, const Transfer& t, const Descriptor& d) {
  if (d.system(kCallGate32) || (!c.long_mode() && d.system(kCallGate16))) return through_call_gate(c, t, d);
  if (c.long_mode()) selector_fault(kGP, t.selector);
  if (d.system(kTaskGate)) {
    check_gate(c, t, d);
    if (!d.present()) selector_fault(kNP, t.selector);
    return to_task(c, t, d.gate_selector(), fetch_task_gate_tss(c, d.gate_selector(), 0));
  }
  if (!d.tss(false) || (t.selector & 4)) selector_fault(kGP, t.selector);
  check_gate(c, t, d);
  if (!d.present()) selector_fault(kNP, t.selector);
  to_task(c, t, t.selector, d);
}

void transfer(Cpu& c, const Transfer& t) {
  if (c.real_or_v86()) return real_transfer(c, t);
  if (is_null(t.selector)) Cpu::fault(kGP, 0);
  const Descriptor d = fetch_descriptor(c, t.selector);
  if (d.code()) return to_code(c, t, d);
  if (d.segment()) selector_fault(kGP, t.selector);
  to_system(c, t, d);
}

}  // namespace
}  // namespace sys

void exec_call_far(Cpu& c, const Decoded& d) { sys::transfer(c, sys::operand(c, d, true)); }
void exec_jmp_far(Cpu& c, const Decoded& d) { sys::transfer(c, sys::operand(c, d, false)); }

}  // namespace dejavm::soft
