// Generated code of shifts and rotates. Flags that the manuals leave undefined are the interpreter's (hot_shift.cc).
#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

namespace dejavm::soft {

using Xbyak::Reg;

// 32 and 64 bits. AF is cleared; OF is of any count: of a left shift SF ^ CF, of a right one whether the two top bits
// of the result differ, of an arithmetic one 0.
void Emitter::shift_by_immediate(Op op, const Reg& to, unsigned count) {
  const auto n = static_cast<int>(count);
  switch (op) {
    case Op::k_shl: shl(to, n); break;
    case Op::k_shr: shr(to, n); break;
    case Op::k_sar: sar(to, n); break;
    case Op::k_rol: rol(to, n); break;
    default: ror(to, n); break;
  }
}

// By CL; to `none` with a count of 0, which leaves the flags alone.
void Emitter::shift_by_cl(Op op, const Reg& to, unsigned size, Xbyak::Label& none) {
  mov(ecx, in_register(kRcx, 4, 1));
  if (size == 4) mov(to, to);  // its upper half is cleared by a count of 0, too
  if (wanted()) {
    test(cl, size == 8 ? 63 : 31);
    jz(none, T_NEAR);
  }
  switch (op) {
    case Op::k_shl: shl(to, cl); break;
    case Op::k_shr: shr(to, cl); break;
    default: sar(to, cl); break;
  }
}

// Only CF and OF change: CF is the host's, OF is made of the result in the guest's register.
void Emitter::rotate_flags(Op op, unsigned reg, unsigned size) {
  setc(cl);
  const auto bit = static_cast<uint8_t>(8 * size - (op == Op::k_rol ? 1 : 2));
  if (pinned(reg)) bt(host(reg, size), bit);
  else bt(slot(reg, size), bit);
  setc(dl);
  xor_(dl, cl);
  mov(arith_byte(0), dl);
  movzx(eax, arith_byte(1));
  and_(eax, 0xfe);
  or_(al, cl);
  mov(arith_byte(1), al);
}

// AF is cleared; OF is that of a count of 1, whatever the count (docs/cpu.md).
void Emitter::shift_flags(Op op, const Reg& to, unsigned size, bool may_be_by_one) {
  lahf();
  if (op == Op::k_shl) {
    mov(ecx, eax);
    shr(ecx, 7);  // bit 8 is SF
    xor_(ecx, eax);
    shr(ecx, 8);
    and_(ecx, 1);  // SF ^ CF
    and_(eax, 0xef00);
    or_(eax, ecx);
  } else if (op == Op::k_shr && may_be_by_one) {
    bt(to, static_cast<uint8_t>(8 * size - 2));  // the top bit is 0
    setc(al);
    and_(eax, 0xefff);
  } else {
    and_(eax, 0xef00);
  }
  mov(arith(), ax);
}

Emitter::Done Emitter::shift(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  const unsigned size = a.size;
  if (size < 4 || !is_gpr(a)) return Done::kNo;
  const bool rotate = d.op == Op::k_rol || d.op == Op::k_ror;
  const bool by_imm = is_imm(b);
  const auto count = static_cast<unsigned>(d.imm & (size == 8 ? 63 : 31));
  if (by_imm && count == 0) return Done::kNo;
  if (rotate && !by_imm) return Done::kNo;
  if (!by_imm && !(is_gpr(b) && b.reg == kRcx)) return Done::kNo;
  const Reg to = in_register(a.reg, size, 2);
  Xbyak::Label none;
  if (by_imm) shift_by_immediate(d.op, to, count);
  else shift_by_cl(d.op, to, size, none);
  block_->host_flags = false;
  if (rotate) {
    write_guest(a.reg, size, to);
    if (wanted()) rotate_flags(d.op, a.reg, size);
    return Done::kYes;
  }
  if (wanted()) {
    shift_flags(d.op, to, size, !by_imm || count == 1);
    L(none);
  }
  write_guest(a.reg, size, to);
  return Done::kYes;
}

}  // namespace dejavm::soft
