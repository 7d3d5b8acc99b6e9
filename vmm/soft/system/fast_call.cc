// SYSCALL, SYSRET, SYSENTER, SYSEXIT and the base registers that go with them. Source: AMD APM vol. 3, for the vendor
// that the CPU model names; Intel SDM vol. 2 where it is stricter without contradiction.
//
// As on AMD: SYSCALL and SYSRET work in compatibility and legacy protected mode too; SYSENTER and SYSEXIT raise #UD
// in long mode; after SYSCALL and SYSRET, TF traps as they leave it (vol. 2, 6.1); SYSRET to a non-canonical RCX goes
// there at CPL 3, and the fetch faults (Intel's faults at CPL 0). As on Intel: SYSRET loads SS whole, RPL 3 included,
// where AMD's leave its hidden part (Linux's SYSRET_SS_ATTRS).
#include "vmm/soft/system/control.h"
#include "vmm/soft/system/descriptor.h"

namespace dejavm::soft {
namespace {

using namespace sys;

uint16_t selector_at(uint64_t star, unsigned bit, unsigned add) { return static_cast<uint16_t>((star >> bit) + add); }

uint16_t with_rpl(uint16_t selector, unsigned rpl) { return static_cast<uint16_t>((selector & 0xfffc) | rpl); }

void enter_kernel(Cpu& c, uint16_t selector, bool long64, uint64_t target) {
  c.set_segment(kSs, flat_stack(static_cast<uint16_t>(selector + 8), 0));
  enter_code(c, flat_code(selector, 0, long64), 0, target);
}

void trap_if_stepping(Cpu& c) {
  if (c.since(2) && (c.other_flags & kTF)) c.s.pending_debug |= kDr6BS;
}

void check_syscall(const Cpu& c) {
  if (!(c.s.efer & kEferSCE)) Cpu::fault(kUD);
}

}  // namespace

void exec_syscall(Cpu& c, const Decoded&) {
  check_syscall(c);
  if (c.real_or_v86()) Cpu::fault(kUD);
  const uint16_t selector = with_rpl(selector_at(c.s.star, 32, 0), 0);
  if (c.long_mode()) {
    const bool from64 = c.long64();
    const uint64_t flags = c.rflags();
    c.r[kRcx] = from64 ? c.next_rip : c.next_rip & 0xffffffff;
    c.r[kR11] = flags & ~uint64_t{kRF};
    c.set_rflags(flags & ~(c.s.sfmask | kRF));
    enter_kernel(c, selector, true, from64 ? c.s.lstar : c.s.cstar);
  } else {
    c.set_reg(kRcx, 4, c.next_rip);
    c.set_rflags(c.rflags() & ~(kVM | kIF | kRF));
    enter_kernel(c, selector, false, c.s.star & 0xffffffff);
  }
  trap_if_stepping(c);
}

void exec_sysret(Cpu& c, const Decoded& d) {
  check_syscall(c);
  if (!c.protected_mode() || c.cpl != 0) Cpu::fault(kGP, 0);
  const bool to64 = c.long64() && d.op_size == 8;
  const uint16_t code = with_rpl(selector_at(c.s.star, 48, to64 ? 16 : 0), 3);
  const uint16_t stack = with_rpl(selector_at(c.s.star, 48, 8), 3);
  if (c.long64()) c.set_rflags(c.r[kR11] & kLoadableFlags & ~uint64_t{kRF});
  else c.set_rflags(c.rflags() | kIF);
  c.set_segment(kSs, flat_stack(stack, 3));
  enter_code(c, flat_code(code, 3, to64), 3, to64 ? c.r[kRcx] : c.reg(kRcx, 4));
  trap_if_stepping(c);
}

void exec_sysenter(Cpu& c, const Decoded&) {
  if (c.long_mode()) Cpu::fault(kUD);
  const uint16_t selector = with_rpl(static_cast<uint16_t>(c.s.sysenter_cs), 0);
  if (!c.protected_mode() || selector == 0) Cpu::fault(kGP, 0);
  c.set_rflags(c.rflags() & ~(kVM | kIF | kRF));
  c.set_reg(kRsp, 4, c.s.sysenter_esp);
  enter_kernel(c, selector, false, c.s.sysenter_eip & 0xffffffff);
}

void exec_sysexit(Cpu& c, const Decoded&) {
  if (c.long_mode()) Cpu::fault(kUD);
  const uint16_t base = with_rpl(static_cast<uint16_t>(c.s.sysenter_cs), 0);
  if (!c.protected_mode() || c.cpl != 0 || base == 0) Cpu::fault(kGP, 0);
  c.set_segment(kSs, flat_stack(with_rpl(static_cast<uint16_t>(base + 24), 3), 3));
  c.set_reg(kRsp, 4, c.r[kRcx]);
  enter_code(c, flat_code(with_rpl(static_cast<uint16_t>(base + 16), 3), 3, false), 3, c.reg(kRdx, 4));
}

void exec_swapgs(Cpu& c, const Decoded&) {
  if (!c.long64()) Cpu::fault(kUD);
  require_cpl0(c);
  const uint64_t base = c.s.segment[kGs].base;
  c.set_segment_base(kGs, c.s.kernel_gs_base);
  c.s.kernel_gs_base = base;
}

namespace {

void check_base_access(const Cpu& c) {
  if (!c.long64() || !(c.s.cr4 & kCr4FSGSBASE)) Cpu::fault(kUD);
}

void read_base(Cpu& c, const Decoded& d, unsigned seg) {
  check_base_access(c);
  c.set_reg(d.operands[0].reg, d.op_size, c.s.segment[seg].base);
}

void write_base(Cpu& c, const Decoded& d, unsigned seg) {
  check_base_access(c);
  const uint64_t base = c.reg(d.operands[0].reg, d.op_size);
  if (!Cpu::canonical(base)) Cpu::fault(kGP, 0);
  c.set_segment_base(seg, base);
}

}  // namespace

void exec_rdfsbase(Cpu& c, const Decoded& d) { read_base(c, d, kFs); }
void exec_rdgsbase(Cpu& c, const Decoded& d) { read_base(c, d, kGs); }
void exec_wrfsbase(Cpu& c, const Decoded& d) { write_base(c, d, kFs); }
void exec_wrgsbase(Cpu& c, const Decoded& d) { write_base(c, d, kGs); }

}  // namespace dejavm::soft
