// Generated code by instruction: data movement, arithmetic, logic. Flags that the manuals leave undefined are the
// interpreter's (hot_alu.cc, hot_shift.cc; docs/cpu.md), never the host's.
#include <cstddef>

#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg;
using Xbyak::Reg32;
using Xbyak::Reg64;

namespace {

uint32_t imm32(const Decoded& d, unsigned size) {
  const auto v = static_cast<uint32_t>(d.imm);
  return size == 1 ? v & 0xff : size == 2 ? v & 0xffff : v;
}
// As Xbyak wants immediates of arithmetic: of 16 bits sign-extended.
uint32_t alu_imm(const Decoded& d, unsigned size) {
  return size == 2 ? static_cast<uint32_t>(int32_t{static_cast<int16_t>(d.imm)}) : imm32(d, size);
}
bool imm_fits(const Decoded& d, unsigned size) {
  return size < 8 || static_cast<int64_t>(d.imm) == static_cast<int32_t>(d.imm);
}

}  // namespace

Emitter::Done Emitter::move(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  const unsigned size = a.size;
  if (is_gpr(a)) {
    if (is_gpr(b)) {
      if (size == 4 && a.reg == b.reg && pinned(a.reg)) mov(host(a.reg, 4), host(a.reg, 4));  // clears the upper half
      else write_guest(a.reg, size, in_register(b.reg, size, 2));
    } else if (is_imm(b)) {
      const Reg to = size >= 4 && pinned(a.reg) ? host(a.reg, size) : scratch(2, size < 4 ? 4 : size);
      if (size == 8) mov(to, d.imm);
      else mov(to, imm32(d, size));
      write_guest(a.reg, size, to);
    } else if (is_mem(b) && has_address(d)) {
      effective_address(d, true);
      probe(false, size);
      const Reg to = pinned(a.reg) ? host(a.reg, size) : scratch(2, size);
      mov(to, at(rax, size));
      write_guest(a.reg, size, to);
    } else {
      return Done::kNo;
    }
    return Done::kYes;
  }
  if (!is_mem(a) || !has_address(d)) return Done::kNo;
  if (is_gpr(b)) {
    effective_address(d, true);
    probe(true, size);
    mov(at(rax, size), in_register(b.reg, size, 2));
  } else if (is_imm(b) && imm_fits(d, size)) {
    effective_address(d, true);
    probe(true, size);
    mov(at(rax, size), size == 8 ? d.imm : imm32(d, size));
  } else {
    return Done::kNo;
  }
  return Done::kYes;
}

Emitter::Done Emitter::extend(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (a.size < 4) return Done::kNo;
  const bool sign = d.op != Op::k_movzx;
  const unsigned size = sign ? a.size : 4;  // zero extension to 32 bits serves 64
  const Reg to = pinned(a.reg) ? host(a.reg, size) : scratch(2, size);
  if (is_gpr(b)) {
    const Reg from = in_register(b.reg, b.size, 2);
    if (b.size == 4) {
      if (size == 8) movsxd(Reg64(to.getIdx()), Reg32(from.getIdx()));
      else mov(to, from);
    } else if (sign) {
      movsx(to, from);
    } else {
      movzx(to, from);
    }
  } else if (is_mem(b) && has_address(d)) {
    effective_address(d, true);
    probe(false, b.size);
    if (b.size == 4) {
      if (size == 8) movsxd(Reg64(to.getIdx()), dword[rax]);
      else mov(to, dword[rax]);
    } else if (sign) {
      movsx(to, at(rax, b.size));
    } else {
      movzx(to, at(rax, b.size));
    }
  } else {
    return Done::kNo;
  }
  write_guest(a.reg, size, to);
  return Done::kYes;
}

Emitter::Done Emitter::load_address(const Decoded& d) {
  const Operand& a = d.operands[0];
  if (a.size < 4 || !has_address(d)) return Done::kNo;
  const Reg to = pinned(a.reg) ? host(a.reg, a.size) : scratch(2, a.size);
  effective_address_to(to, d);
  write_guest(a.reg, a.size, to);
  return Done::kYes;
}

void Emitter::alu_emit(Op op, const Xbyak::Operand& to, const Xbyak::Operand& from) {
  switch (op) {
    case Op::k_add: add(to, from); break;
    case Op::k_or: or_(to, from); break;
    case Op::k_adc: adc(to, from); break;
    case Op::k_sbb: sbb(to, from); break;
    case Op::k_and: and_(to, from); break;
    case Op::k_sub: sub(to, from); break;
    case Op::k_xor: xor_(to, from); break;
    case Op::k_cmp: cmp(to, from); break;
    default: test(to, static_cast<const Reg&>(from)); break;
  }
}
void Emitter::alu_emit(Op op, const Xbyak::Operand& to, uint32_t v) {
  switch (op) {
    case Op::k_add: add(to, v); break;
    case Op::k_or: or_(to, v); break;
    case Op::k_adc: adc(to, v); break;
    case Op::k_sbb: sbb(to, v); break;
    case Op::k_and: and_(to, v); break;
    case Op::k_sub: sub(to, v); break;
    case Op::k_xor: xor_(to, v); break;
    case Op::k_cmp: cmp(to, v); break;
    default: test(to, to.getBit() == 16 ? v & 0xffff : v); break;
  }
}
HostFlags Emitter::alu_flags(Op op) {
  return op == Op::k_and || op == Op::k_or || op == Op::k_xor || op == Op::k_test ? HostFlags::kLogic : HostFlags::kAll;
}

void Emitter::copy_guest(const Reg64& to, unsigned guest) {
  if (pinned(guest)) mov(to, host(guest, 8));
  else mov(to, slot(guest, 8));
}

// In RAX and RCX, whose second bytes have names of their own.
Emitter::Done Emitter::high_byte(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  auto is_high = [](const Operand& o) { return o.kind == OperandKind::kGprHigh; };
  if (d.operand_count != 2 || d.has_mem || !(is_gpr(a) || is_high(a)) || !(is_gpr(b) || is_high(b) || is_imm(b)))
    return Done::kNo;
  if (!is_imm(b)) copy_guest(rcx, b.reg);
  const Xbyak::Reg8 from = is_high(b) ? Xbyak::Reg8(ch) : Xbyak::Reg8(cl);
  switch (d.op) {
    case Op::k_movzx:
    case Op::k_movsx:
      if (a.size < 4) return Done::kNo;
      if (d.op == Op::k_movzx) movzx(ecx, from);
      else movsx(ecx, from);
      if (d.op == Op::k_movsx && a.size == 8) movsxd(rcx, ecx);
      write_guest(a.reg, d.op == Op::k_movzx ? 4 : a.size, scratch(1, d.op == Op::k_movzx ? 4 : a.size));
      return Done::kYes;
    case Op::k_mov:
    case Op::k_add:
    case Op::k_or:
    case Op::k_and:
    case Op::k_sub:
    case Op::k_xor:
    case Op::k_cmp:
    case Op::k_test: break;
    default: return Done::kNo;
  }
  copy_guest(rax, a.reg);
  const Xbyak::Reg8 to = is_high(a) ? Xbyak::Reg8(ah) : Xbyak::Reg8(al);
  if (d.op == Op::k_mov) {
    if (is_imm(b)) mov(to, imm32(d, 1));
    else mov(to, from);
  } else if (is_imm(b)) {
    alu_emit(d.op, to, alu_imm(d, 1));
  } else {
    alu_emit(d.op, to, from);
  }
  if (d.op != Op::k_cmp && d.op != Op::k_test) write_guest(a.reg, 8, rax);
  if (d.op != Op::k_mov) save_flags(alu_flags(d.op));
  return Done::kYes;
}

Emitter::Done Emitter::alu(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  const unsigned size = a.size;
  const bool carry = d.op == Op::k_adc || d.op == Op::k_sbb;
  const bool writes = d.op != Op::k_cmp && d.op != Op::k_test;
  auto emit = [&](const Xbyak::Operand& to, const Xbyak::Operand& from) { alu_emit(d.op, to, from); };
  auto emit_imm = [&](const Xbyak::Operand& to, uint32_t v) { alu_emit(d.op, to, v); };
  if (is_imm(b) && !imm_fits(d, size)) return Done::kNo;
  if (is_gpr(a) && (is_gpr(b) || is_imm(b))) {
    const bool in_slot = !pinned(a.reg);
    if (is_imm(b)) {
      if (carry) load_carry();
      if (in_slot) emit_imm(slot(a.reg, size), alu_imm(d, size));
      else emit_imm(host(a.reg, size), alu_imm(d, size));
    } else {
      const Reg from = in_register(b.reg, size, 2);
      if (carry) load_carry();
      if (in_slot) emit(slot(a.reg, size), from);
      else emit(host(a.reg, size), from);
    }
    if (in_slot && writes && size == 4)
      mov(dword[rbp + (static_cast<int>(offsetof(Cpu, r) + 8 * a.reg) + 4 - kBias)], 0);
  } else if (is_gpr(a) && is_mem(b) && has_address(d)) {
    effective_address(d, true);
    probe(false, size);
    if (carry) load_carry();
    if (d.op == Op::k_test) {
      const Reg with = in_register(a.reg, size, 2);
      test(at(rax, size), with);
    } else {
      const Reg to = in_register(a.reg, size, 2);
      emit(to, at(rax, size));
      if (writes) write_guest(a.reg, size, to);
    }
  } else if (is_mem(a) && has_address(d) && (is_gpr(b) || is_imm(b))) {
    effective_address(d, true);
    probe(writes, size);
    if (is_imm(b)) {
      if (carry) load_carry();
      emit_imm(at(rax, size), alu_imm(d, size));
    } else {
      const Reg from = in_register(b.reg, size, 2);
      if (carry) load_carry();
      emit(at(rax, size), from);
    }
  } else {
    return Done::kNo;
  }
  save_flags(alu_flags(d.op));
  return Done::kYes;
}

Emitter::Done Emitter::unary(const Decoded& d) {
  const Operand& a = d.operands[0];
  const bool keeps_carry = d.op == Op::k_inc || d.op == Op::k_dec;
  auto emit = [&](const Xbyak::Operand& o) {
    switch (d.op) {
      case Op::k_inc: inc(o); break;
      case Op::k_dec: dec(o); break;
      case Op::k_neg: neg(o); break;
      default: not_(o); break;
    }
  };
  if (is_gpr(a)) {
    if (keeps_carry && wanted()) load_carry();
    if (pinned(a.reg)) {
      emit(host(a.reg, a.size));
    } else {
      emit(slot(a.reg, a.size));
      if (a.size == 4) mov(dword[rbp + (static_cast<int>(offsetof(Cpu, r) + 8 * a.reg) + 4 - kBias)], 0);
    }
  } else if (is_mem(a) && has_address(d)) {
    effective_address(d, true);
    probe(true, a.size);
    if (keeps_carry && wanted()) load_carry();
    emit(at(rax, a.size));
  } else {
    return Done::kNo;
  }
  if (d.op != Op::k_not) save_flags(HostFlags::kAll);
  return Done::kYes;
}

// IMUL with a destination, and MUL. CF and OF: the product does not fit; SF, ZF, PF of its low half; AF is cleared.
Emitter::Done Emitter::multiply(const Decoded& d) {
  const unsigned size = d.operands[0].size;
  if (size < 4) return Done::kNo;
  Reg result;
  if (d.op == Op::k_mul) {
    const Operand& a = d.operands[0];
    if (!is_gpr(a)) return Done::kNo;
    mov(scratch(0, size), in_register(kRax, size, 0));
    if (pinned(a.reg)) mul(host(a.reg, size));
    else mul(slot(a.reg, size));
    static_assert(kPinned[kRax] != kNotPinned && kPinned[kRdx] != kNotPinned);
    mov(host(kRax, size), scratch(0, size));
    mov(host(kRdx, size), scratch(2, size));
    result = host(kRax, size);
  } else {
    if (d.operand_count < 2) return Done::kNo;
    const Operand &a = d.operands[0], &b = d.operands[1];
    const bool three = d.operand_count == 3;
    if (three && !imm_fits(d, size)) return Done::kNo;
    result = pinned(a.reg) ? host(a.reg, size) : scratch(2, size);
    if (is_mem(b)) {
      if (!has_address(d)) return Done::kNo;
      effective_address(d, true);
      probe(false, size);
      if (three) imul(result, at(rax, size), static_cast<int>(imm32(d, size)));
      else imul(in_register(a.reg, size, 2), at(rax, size));
    } else if (is_gpr(b)) {
      if (three) imul(result, in_register(b.reg, size, 1), static_cast<int>(imm32(d, size)));
      else imul(in_register(a.reg, size, 2), in_register(b.reg, size, 1));
    } else {
      return Done::kNo;
    }
    write_guest(a.reg, size, result);
  }
  block_->host_flags = false;
  if (wanted()) {
    seto(cl);
    test(result, result);
    lahf();
    and_(eax, 0xc400);
    movzx(ecx, cl);
    or_(eax, ecx);
    shl(ecx, 8);
    or_(eax, ecx);
    mov(arith(), ax);
  }
  return Done::kYes;
}

}  // namespace dejavm::soft
