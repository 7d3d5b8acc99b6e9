// Generated code by instruction: single bits, exchanges with memory, division.
#include <cstddef>

#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg;

// One flag in Cpu::arith becomes bit 0 of al; the others stay.
void Emitter::put_flag(unsigned bit) {
  if (bit != 0) shl(al, static_cast<int>(bit));
  and_(arith_byte(1), static_cast<uint32_t>(~(1u << bit) & 0xff));
  or_(arith_byte(1), al);
  block_->host_flags = false;
}

Emitter::Done Emitter::bit_test(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  const unsigned size = a.size;
  const bool writes = d.op != Op::k_bt;
  if (size < 4 || !(is_gpr(b) || is_imm(b)) || (is_mem(a) && !(is_imm(b) && has_address(d)))) return Done::kNo;
  auto emit = [&](const Xbyak::Operand& to) {
    if (is_imm(b)) {
      const auto n = static_cast<uint8_t>(d.imm & (8 * size - 1));
      switch (d.op) {
        case Op::k_bt: bt(to, n); break;
        case Op::k_bts: bts(to, n); break;
        case Op::k_btr: btr(to, n); break;
        default: btc(to, n); break;
      }
      return;
    }
    const Reg n = in_register(b.reg, size, 1);
    switch (d.op) {
      case Op::k_bt: bt(to, n); break;
      case Op::k_bts: bts(to, n); break;
      case Op::k_btr: btr(to, n); break;
      default: btc(to, n); break;
    }
  };
  if (is_mem(a)) {
    effective_address(d, true);
    probe(writes, size);
    emit(at(rax, size));
    setc(al);
  } else if (is_gpr(a)) {
    const Reg to = in_register(a.reg, size, 2);
    emit(to);
    setc(al);
    if (writes) write_guest(a.reg, size, to);
  } else {
    return Done::kNo;
  }
  put_flag(0);
  return Done::kYes;
}

// A source of 0 leaves the destination alone, and the other flags always stay.
Emitter::Done Emitter::bit_scan(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  const unsigned size = a.size;
  if (size < 4) return Done::kNo;
  if (is_mem(b)) {
    if (!has_address(d)) return Done::kNo;
    effective_address(d, true);
    probe(false, size);
    mov(scratch(2, size), at(rax, size));
  } else {
    mov(scratch(2, size), in_register(b.reg, size, 2));
  }
  if (d.op == Op::k_popcnt) {
    popcnt(scratch(2, size), scratch(2, size));
    lahf();
    and_(eax, 0x4000);
    mov(arith(), ax);
    block_->host_flags = false;
    write_guest(a.reg, size, scratch(2, size));
    return Done::kYes;
  }
  Xbyak::Label zero;
  if (d.op == Op::k_bsf) bsf(scratch(1, size), scratch(2, size));
  else bsr(scratch(1, size), scratch(2, size));
  setz(al);
  jz(zero);
  write_guest(a.reg, size, scratch(1, size));
  L(zero);
  put_flag(6);
  return Done::kYes;
}

Emitter::Done Emitter::exchange_memory(const Decoded& d) {  // cmpxchg, xadd
  const Operand &a = d.operands[0], &b = d.operands[1];
  const unsigned size = a.size;
  if (!is_mem(a) || !is_gpr(b) || !has_address(d)) return Done::kNo;
  effective_address(d, true);
  probe(true, size);
  mov(rcx, rax);
  mov(scratch(2, size), at(rcx, size));
  if (d.op == Op::k_xadd) {
    mov(scratch(0, 8), in_register(b.reg, 8, 0));
    add(scratch(0, size), scratch(2, size));
    mov(at(rcx, size), scratch(0, size));
    write_guest(b.reg, size, scratch(2, size));
  } else {
    Xbyak::Label differs, done;
    const Reg from = in_register(b.reg, size, 0);
    cmp(host(kRax, size), scratch(2, size));
    jne(differs);
    mov(at(rcx, size), from);
    jmp(done);
    L(differs);
    write_guest(kRax, size, scratch(2, size));
    L(done);
  }
  save_flags(HostFlags::kAll);
  return Done::kYes;
}

// DIV of 32 and 64 bits where the dividend's upper half is 0, which leaves no way to overflow. The flags stay.
Emitter::Done Emitter::divide(const Decoded& d) {
  const Operand& a = d.operands[0];
  const unsigned size = a.size;
  if (size < 4) return Done::kNo;
  if (is_mem(a)) {
    if (!has_address(d)) return Done::kNo;
    effective_address(d, true);
    probe(false, size);
    mov(scratch(1, size), at(rax, size));
  } else {
    mov(scratch(1, size), in_register(a.reg, size, 1));
  }
  block_->host_flags = false;
  test(scratch(1, size), scratch(1, size));
  jz(slow_stub().from, T_NEAR);
  test(host(kRdx, size), host(kRdx, size));
  jnz(slow_stub().from, T_NEAR);
  mov(scratch(0, size), host(kRax, size));
  xor_(edx, edx);
  div(scratch(1, size));
  mov(host(kRax, size), scratch(0, size));
  mov(host(kRdx, size), scratch(2, size));
  return Done::kYes;
}

}  // namespace dejavm::soft
