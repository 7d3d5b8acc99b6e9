// Near control transfer, checks, hints. Source: Intel SDM vol. 2; AMD APM vol. 3 for near branches with an
// operand-size prefix in 64-bit mode, which are 16 bits wide.
#include "vmm/soft/integer/flags.h"
#include "vmm/soft/mmu.h"

namespace dejavm::soft {
namespace {

uint64_t target_of(Cpu& c, const Decoded& d) {
  const uint64_t t = d.operands[0].kind == OperandKind::kRel ? c.next_rip + d.imm : c.read_operand(d, 0);
  return t & mask_of(d.op_size);
}

// LOOP and its kin: RCX by address size; flags untouched.
void loop_if(Cpu& c, const Decoded& d, bool condition) {
  const uint64_t count = (c.r[kRcx] - 1) & mask_of(d.addr_size);
  if (count != 0 && condition) c.branch(target_of(c, d));
  c.set_reg(kRcx, d.addr_size, count);
}

}  // namespace

void exec_jcc(Cpu& c, const Decoded& d) {
  if (c.condition(d.cc)) c.branch(target_of(c, d));
}
void exec_jmp(Cpu& c, const Decoded& d) { c.branch(target_of(c, d)); }

void exec_call(Cpu& c, const Decoded& d) {
  const uint64_t return_to = c.next_rip, target = target_of(c, d);
  c.branch(target);
  c.push(d.op_size, return_to);
}

void exec_ret(Cpu& c, const Decoded& d) {
  const unsigned size = d.op_size, width = c.stack_size();
  const uint64_t sp = c.reg(kRsp, width);
  c.branch(c.load_sized(kSs, sp, size));
  c.set_reg(kRsp, width, sp + size + (d.operand_count > 0 ? d.imm & 0xffff : 0));
}

void exec_jrcxz(Cpu& c, const Decoded& d) {
  if (c.reg(kRcx, d.addr_size) == 0) c.branch(target_of(c, d));
}
void exec_loop(Cpu& c, const Decoded& d) { loop_if(c, d, true); }
void exec_loope(Cpu& c, const Decoded& d) { loop_if(c, d, c.flag(kZF)); }
void exec_loopne(Cpu& c, const Decoded& d) { loop_if(c, d, !c.flag(kZF)); }

void exec_nop(Cpu&, const Decoded&) {}
void exec_pause(Cpu&, const Decoded&) {}

void exec_pause_turn(Cpu& c, const Decoded&) {
  if (c.control->turns == nullptr || !c.control->turns->another_can_run(c.index)) return;
  c.control->paused = true;
  c.control->stop = true;
}
void exec_prefetch(Cpu&, const Decoded&) {}
void exec_mfence(Cpu&, const Decoded&) {}
void exec_lfence(Cpu&, const Decoded&) {}
void exec_sfence(Cpu&, const Decoded&) {}
// Checked as a load of one byte (SDM), without the access.
void exec_clflush(Cpu& c, const Decoded& d) {
  translate(c, c.linear(d.seg, c.effective_address(d), 1, Access::kRead), Access::kRead, Rights::kCurrent);
}
void exec_ud0(Cpu&, const Decoded&) { Cpu::fault(kUD); }
void exec_ud1(Cpu&, const Decoded&) { Cpu::fault(kUD); }
void exec_ud2(Cpu&, const Decoded&) { Cpu::fault(kUD); }

void exec_bound(Cpu& c, const Decoded& d) {
  const unsigned size = d.op_size;
  const uint64_t offset = c.effective_address(d);
  const int64_t index = sign_extend(c.read_operand(d, 0), size);
  const int64_t lower = sign_extend(c.load_sized(d.seg, offset, size), size);
  const int64_t upper = sign_extend(c.load_sized(d.seg, (offset + size) & mask_of(d.addr_size), size), size);
  if (index < lower || index > upper) Cpu::fault(kBR);
}

void exec_arpl(Cpu& c, const Decoded& d) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  const uint64_t source = c.read_operand(d, 1),
                 dest = c.since(2) ? c.read_operand(d, 0) : c.read_operand_for_update(d, 0);
  const bool raise = (dest & 3) < (source & 3);
  if (raise) c.write_operand(d, 0, (dest & ~uint64_t{3}) | (source & 3));
  c.set_arith(kZF, when(raise, kZF));
}

}  // namespace dejavm::soft
