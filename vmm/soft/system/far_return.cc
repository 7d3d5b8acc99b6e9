// RETF and IRET in all modes. Source: Intel SDM vol. 2, RET and IRET; vol. 3, 5.8.6, 6.12-6.14, 20.2-20.3.
#include "vmm/soft/system/stack.h"
#include "vmm/soft/system/task.h"

namespace dejavm::soft {
namespace sys {
namespace {

struct Target {
  uint64_t rip;
  uint16_t selector;
  Descriptor code;
  unsigned cpl() const { return rpl_of(selector); }
};

// The code segment that a return goes to.
Descriptor return_code(Cpu& c, uint16_t selector) {
  if (is_null(selector)) Cpu::fault(kGP, 0);
  const Descriptor d = fetch_descriptor(c, selector);
  const unsigned rpl = rpl_of(selector);
  const bool dpl_fits = d.conforming() ? d.dpl() <= rpl : d.dpl() == rpl;
  if (!d.code() || rpl < c.cpl || !dpl_fits || !valid_code_size(c, d)) selector_fault(kGP, selector);
  if (!d.present()) selector_fault(kNP, selector);
  return d;
}

struct NewStack {
  SegmentState ss;
  uint64_t sp;
  Descriptor descriptor;  // not present for a null SS
};

// SS:SP popped by a return. A null SS is fine in 64-bit code below privilege level 3.
NewStack return_stack(Cpu& c, const Target& t, uint64_t sp, uint16_t selector) {
  const bool long64 = c.long_mode() && t.code.long_bit();
  if (is_null(selector) && long64 && t.cpl() != 3 && rpl_of(selector) == t.cpl())
    return {null_segment(selector, t.cpl()), sp, {}};
  const Descriptor d = fetch_stack_segment(c, selector, t.cpl(), kGP);
  return {cache_of(d, selector), sp, d};
}

// To an outer level, or with IRETQ's stack to the same one. `release`: bytes of parameters dropped there too.
void continue_on(Cpu& c, const Target& t, const NewStack& stack, uint64_t release) {
  const bool outer = t.cpl() > c.cpl;
  const bool long64 = c.long_mode() && t.code.long_bit();
  const unsigned width = long64 ? 8 : stack_width(stack.ss);
  if (stack.descriptor.present()) mark_accessed(c, stack.descriptor);
  c.set_segment(kSs, stack.ss);
  c.set_reg(kRsp, width, stack.sp + release);
  enter_code(c, cache_of(t.code, t.selector), t.cpl(), t.rip);
  if (outer) drop_inner_segments(c);
}

void continue_at(Cpu& c, const Target& t) { enter_code(c, cache_of(t.code, t.selector), c.cpl, t.rip); }

void real_target(Cpu& c, uint64_t rip, uint16_t selector) {
  if (rip > c.s.segment[kCs].limit) Cpu::fault(kGP, 0);
  if (c.v86()) c.set_segment(kCs, v86_segment(selector));
  else load_real_segment(c, kCs, selector);
  c.next_rip = rip;
}

void ret_far(Cpu& c, const Decoded& d) {
  const unsigned size = d.op_size;
  const uint64_t release = d.operand_count > 0 ? d.imm & 0xffff : 0;
  PopFrame frame(c);
  const uint64_t rip = frame.pop(c, size);
  const uint16_t selector = static_cast<uint16_t>(frame.pop(c, size));
  frame.skip(release);
  if (c.real_or_v86()) {
    real_target(c, rip, selector);
    c.update_mode();
    frame.commit(c);
    return;
  }
  const Target t{rip, selector, return_code(c, selector)};
  if (t.cpl() == c.cpl) {
    check_target(c, t.code, rip);
    mark_accessed(c, t.code);
    frame.commit(c);
    return continue_at(c, t);
  }
  const uint64_t sp = frame.pop(c, size);
  const uint16_t ss = static_cast<uint16_t>(frame.pop(c, size));
  const NewStack stack = return_stack(c, t, sp, ss);
  check_target(c, t.code, rip);
  mark_accessed(c, t.code);
  continue_on(c, t, stack, release);
}

// RFLAGS after IRET at the present privilege level from an image of `size` bytes.
uint64_t returned_flags(const Cpu& c, uint64_t image, unsigned size) {
  uint64_t mask = kArithFlags | kTF | kDF_ | kNT;
  if (size != 2) mask |= kRF | kAC_ | kID;
  if (c.cpl <= c.iopl()) mask |= kIF;
  if (c.cpl == 0) mask |= kIOPL;
  return (c.rflags() & ~mask) | (image & mask);
}

void real_iret(Cpu& c, unsigned size) {
  if (c.v86() && c.iopl() < 3) Cpu::fault(kGP, 0);
  PopFrame frame(c);
  const uint64_t rip = frame.pop(c, size);
  const uint16_t selector = static_cast<uint16_t>(frame.pop(c, size));
  const uint64_t image = frame.pop(c, size);
  real_target(c, rip, selector);
  c.set_rflags(returned_flags(c, image, size));
  c.update_mode();
  frame.commit(c);
}

void return_to_v86(Cpu& c, PopFrame& frame, uint64_t rip, uint16_t cs, uint64_t image) {
  const uint64_t sp = frame.pop(c, 4);
  std::array<uint16_t, 5> selector;  // SS, ES, DS, FS, GS
  for (uint16_t& s : selector) s = static_cast<uint16_t>(frame.pop(c, 4));
  if (rip > 0xffff) Cpu::fault(kGP, 0);
  c.set_rflags((image & kLoadableFlags) | kVM);
  static constexpr uint8_t kOrder[] = {kSs, kEs, kDs, kFs, kGs};
  for (unsigned n = 0; n < 5; ++n) c.set_segment(kOrder[n], v86_segment(selector[n]));
  c.r[kRsp] = sp;
  enter_code(c, v86_segment(cs), 3, rip);
}

// Back to the task that the current TSS links to.
void return_to_task(Cpu& c) {
  const SegmentState& tr = c.s.segment[kTr];
  if (tr.limit < 1) selector_fault(kTS, tr.selector);
  const uint16_t link = c.load_system<uint16_t>(system_linear(c, tr.base, 0));
  if (is_null(link) || (link & 4)) selector_fault(kTS, link);
  const Descriptor d = fetch_descriptor(c, link, kTS);
  if (!d.tss(true)) selector_fault(kTS, link);
  if (!d.present()) selector_fault(kNP, link);
  TaskSwitch task{TaskCause::kReturn, link, d, c.next_rip, c.rflags()};
  switch_task(c, task);
  check_task_target(c, 0);
}

void protected_iret(Cpu& c, unsigned size) {
  if (c.flag(kNT)) {
    if (c.long_mode()) Cpu::fault(kGP, 0);
    return return_to_task(c);
  }
  PopFrame frame(c);
  const uint64_t rip = frame.pop(c, size);
  const uint16_t selector = static_cast<uint16_t>(frame.pop(c, size));
  const uint64_t image = frame.pop(c, size);
  if (size == 4 && (image & kVM) && c.cpl == 0 && !c.long_mode()) return return_to_v86(c, frame, rip, selector, image);
  const Target t{rip, selector, return_code(c, selector)};
  const uint64_t flags = returned_flags(c, image, size);
  if (t.cpl() == c.cpl && !c.long64()) {
    check_target(c, t.code, rip);
    mark_accessed(c, t.code);
    frame.commit(c);
    c.set_rflags(flags);
    return continue_at(c, t);
  }
  const uint64_t sp = frame.pop(c, size);
  const uint16_t ss = static_cast<uint16_t>(frame.pop(c, size));
  const NewStack stack = return_stack(c, t, sp, ss);
  check_target(c, t.code, rip);
  mark_accessed(c, t.code);
  c.set_rflags(flags);
  continue_on(c, t, stack, 0);
}

}  // namespace
}  // namespace sys

void exec_ret_far(Cpu& c, const Decoded& d) { sys::ret_far(c, d); }

// NMIs are unblocked even by an IRET that faults (SDM vol. 3, 6.7.1).
void exec_iret(Cpu& c, const Decoded& d) {
  c.s.nmi_blocked = false;
  if (c.real_or_v86()) sys::real_iret(c, d.op_size);
  else sys::protected_iret(c, d.op_size);
}

}  // namespace dejavm::soft
