// Generated code by instruction: what kernels do most of the rest: the clock, the interrupt flag, segments, the control
// word, double shifts.
#include <cstddef>

#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg;

void Emitter::require_cpl0() {
  cmp(cpu(offsetof(Cpu, cpl), 1), 0);
  jne(slow_stub().from, T_NEAR);
  block_->host_flags = false;
}

// RDTSC, RDTSCP: Cpu::tsc() in EDX:EAX.
Emitter::Done Emitter::read_clock(const Decoded& d) {
  test(cpu(offsetof(Cpu, s.cr4), 4), static_cast<uint32_t>(kCr4TSD));
  jnz(slow_stub().from, T_NEAR);
  block_->host_flags = false;
  mov(rax, cpu(offsetof(Cpu, left_end), 8));
  sub(rax, cpu(offsetof(Cpu, left), 8));
  mov(rcx, cpu(offsetof(Cpu, control), 8));
  add(rax, ptr[rcx + static_cast<int>(offsetof(RunControl, time_base_ns))]);
  add(rax, cpu(offsetof(Cpu, s.tsc_adjust), 8));
  sub(rax, static_cast<uint32_t>(block_->work.decoded.size() - block_->insn.number));  // which `left` counts as done
  add(cpu(offsetof(Cpu, unlogged_reads), 8), 1);
  mov(host(kRax, 4), eax);
  shr(rax, 32);
  mov(host(kRdx, 4), eax);
  if (d.op == Op::k_rdtscp) {
    mov(eax, cpu(offsetof(Cpu, s.tsc_aux), 4));
    write_guest(kRcx, 4, eax);
  }
  return Done::kYes;
}

// CLAC and STAC: SMAP's exception for supervisors, and with it another class of rights.
Emitter::Done Emitter::set_access_flag(bool set) {
  require_cpl0();
  if (set) or_(cpu(offsetof(Cpu, other_flags), 4), static_cast<uint32_t>(kAC_));
  else and_(cpu(offsetof(Cpu, other_flags), 4), static_cast<uint32_t>(~kAC_));
  mov(rax, cpu(offsetof(Cpu, supervisor_fast), 8));
  if (set) add(rax, static_cast<uint32_t>(sizeof(Mmu::fast[0])));
  mov(cpu(offsetof(Cpu, fast), 8), rax);
  return Done::kYes;
}

Emitter::Done Emitter::swap_gs() {
  if (block_->work.mode32) return Done::kNo;
  require_cpl0();
  const size_t base = offsetof(Cpu, s.segment) + kGs * sizeof(SegmentState) + offsetof(SegmentState, base);
  mov(rax, cpu(base, 8));
  mov(rcx, cpu(offsetof(Cpu, s.kernel_gs_base), 8));
  mov(cpu(base, 8), rcx);
  mov(slot(kSlotGsBase, 8), rcx);
  mov(cpu(offsetof(Cpu, s.kernel_gs_base), 8), rax);
  return Done::kYes;
}

Emitter::Done Emitter::move_from_segment(const Decoded& d) {
  const Operand& a = d.operands[0];
  const size_t segment = offsetof(Cpu, s.segment) + d.operands[1].reg * sizeof(SegmentState);
  const Xbyak::Address selector = cpu(segment + offsetof(SegmentState, selector), 2);
  if (is_gpr(a)) {
    movzx(edx, selector);
    const unsigned size = d.op_size == 2 ? 2 : 4;
    write_guest(a.reg, size, scratch(2, size));
    return Done::kYes;
  }
  if (!is_mem(a) || !has_address(d)) return Done::kNo;
  effective_address(d, true);
  probe(true, 2);
  movzx(edx, selector);
  mov(word[rax], dx);
  return Done::kYes;
}

Emitter::Done Emitter::store_x87_control(const Decoded& d) {
  if (!has_address(d)) return Done::kNo;
  test(cpu(offsetof(Cpu, s.cr0), 4), static_cast<uint32_t>(kCr0EM | kCr0TS));
  jnz(slow_stub().from, T_NEAR);
  effective_address(d, true);
  probe(true, 2);
  movzx(edx, cpu(offsetof(Cpu, s.fpu.fcw), 2));
  mov(word[rax], dx);
  return Done::kYes;
}

Emitter::Done Emitter::push_flags(const Decoded& d) {
  if (block_->work.mode32 || d.op_size != 8) return Done::kNo;
  stack_address(8);
  probe(true, 8);
  movzx(ecx, arith_byte(0));
  shl(ecx, 11);
  movzx(edx, arith_byte(1));
  and_(edx, 0xd5);
  or_(edx, ecx);
  or_(edx, cpu(offsetof(Cpu, other_flags), 4));
  and_(edx, static_cast<uint32_t>(~(kVM | kRF)));
  mov(qword[rax], rdx);
  add_rsp(-8);
  return Done::kYes;
}

Emitter::Done Emitter::system(const Decoded& d) {
  switch (d.op) {
    case Op::k_prefetch: return Done::kYes;
    case Op::k_rdtsc:
    case Op::k_rdtscp: return read_clock(d);
    case Op::k_cli:
      require_cpl0();
      and_(cpu(offsetof(Cpu, other_flags), 4), static_cast<uint32_t>(~kIF));
      return Done::kYes;
    case Op::k_clac: return set_access_flag(false);
    case Op::k_stac: return set_access_flag(true);
    case Op::k_swapgs: return swap_gs();
    case Op::k_mov_from_seg: return move_from_segment(d);
    case Op::k_fnstcw: return store_x87_control(d);
    case Op::k_pushf: return push_flags(d);
    default: return Done::kNo;
  }
}

// SHLD, SHRD of registers. AF is cleared; OF: the sign has changed, whatever the count.
Emitter::Done Emitter::double_shift(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1], &n = d.operands[2];
  const unsigned size = a.size;
  const bool by_imm = is_imm(n);
  const auto count = static_cast<uint8_t>(d.imm & (size == 8 ? 63 : 31));
  if (size < 4 || !is_gpr(a) || !is_gpr(b) || (by_imm && count == 0)) return Done::kNo;
  const Reg to = in_register(a.reg, size, 2), from = in_register(b.reg, size, 0);
  Xbyak::Label none;
  if (!by_imm) {
    mov(ecx, in_register(kRcx, 4, 1));
    if (size == 4) mov(to, to);  // its upper half is cleared by a count of 0, too
    if (wanted()) {
      test(cl, size == 8 ? 63 : 31);
      jz(none, T_NEAR);
    }
  }
  mov(slot(kSlotTemp, size), to);
  if (d.op == Op::k_shld) {
    if (by_imm) shld(to, from, count);
    else shld(to, from, cl);
  } else {
    if (by_imm) shrd(to, from, count);
    else shrd(to, from, cl);
  }
  block_->host_flags = false;
  if (wanted()) {
    lahf();
    and_(ah, 0xef);
    mov(arith_byte(1), ah);
    mov(scratch(1, size), slot(kSlotTemp, size));
    xor_(scratch(1, size), to);
    shr(scratch(1, size), static_cast<int>(8 * size - 1));
    mov(arith_byte(0), cl);
  }
  L(none);
  write_guest(a.reg, size, to);
  return Done::kYes;
}

}  // namespace dejavm::soft
