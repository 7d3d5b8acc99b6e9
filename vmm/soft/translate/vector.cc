// Generated code for MMX-less SSE. The guest's own opcode runs on XMM0 and XMM1 between loads from and a store to
// Cpu::s. Of floating point what the guest does most: under the default controls, which are the host's too, and where
// no flag is raised that the guest's MXCSR has not already; else the plain function does it all, again (sse/fp_env.h
// has the same fast way).
#include <cstddef>

#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"
#include "vmm/soft/translate/vector_kinds.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg;

namespace {

bool is_xmm(const Operand& o) { return o.kind == OperandKind::kXmm; }

// 0x66, 0xf2 or 0xf3 where the opcode needs it; 0: none.
uint8_t mandatory_prefix(const Decoded& d) {
  bool size = false;
  uint8_t repeat = 0;
  for (const uint8_t b : d.bytes) {
    if (b == 0x66) size = true;
    else if (b == 0xf2 || b == 0xf3) repeat = b;
    else if (b != 0x2e && b != 0x36 && b != 0x3e && b != 0x26 && b != 0x64 && b != 0x65 && b != 0x67) break;
  }
  return repeat != 0 ? repeat : size ? 0x66 : 0;
}

}  // namespace

Xbyak::RegExp Emitter::xmm_at(unsigned n, unsigned offset) const {
  return rbp + (static_cast<int>(offsetof(Cpu, s.fpu.xmm) + 16 * n + offset) - kBias);
}

// The guest's opcode with XMM0 as its destination and XMM1 as its source, or with the modrm byte given.
void Emitter::same_opcode(const Decoded& d, uint8_t modrm, bool imm) {
  if (const uint8_t p = mandatory_prefix(d)) db(p);
  db(0x0f);
  if (d.opcode >> 8 == 2) db(0x38);
  if (d.opcode >> 8 == 3) db(0x3a);
  db(d.opcode & 0xff);
  db(modrm);
  if (imm) db(static_cast<uint8_t>(d.imm));
}

// Once in a block: nothing in it changes CR0 or CR4.
void Emitter::check_sse_is_on() {
  if (block_->sse_checked) return;
  block_->sse_checked = true;
  block_->host_flags = false;
  test(dword[rbp + (static_cast<int>(offsetof(Cpu, s.cr0)) - kBias)], static_cast<uint32_t>(kCr0TS | kCr0EM));
  jnz(slow_stub().from, T_NEAR);
  test(dword[rbp + (static_cast<int>(offsetof(Cpu, s.cr4)) - kBias)], static_cast<uint32_t>(kCr4OSFXSR));
  jz(slow_stub().from, T_NEAR);
}

// RAX: the host address of the operand in memory.
void Emitter::vector_memory(const Decoded& d, unsigned size, bool aligned) {
  effective_address(d, true);
  if (aligned) {
    test(al, 15);
    jnz(slow_stub().from, T_NEAR);
  }
  probe(is_mem(d.operands[0]), size);
}

constexpr uint32_t kMxcsrFlags = 0x3f, kMxcsrDefault = 0x1f80;

Xbyak::Address Emitter::guest_mxcsr() { return dword[rbp + (static_cast<int>(offsetof(Cpu, s.fpu.mxcsr)) - kBias)]; }

void Emitter::check_float_controls() {
  block_->host_flags = false;
  mov(ecx, guest_mxcsr());
  and_(ecx, ~kMxcsrFlags);
  cmp(ecx, kMxcsrDefault);
  jne(slow_stub().from, T_NEAR);
}

// After the operation, before anything is written.
void Emitter::check_float_raised() {
  const auto now = slot(kSlotTemp, 4);
  stmxcsr(now);
  mov(ecx, now);
  xor_(ecx, kMxcsrDefault);
  mov(eax, guest_mxcsr());
  and_(eax, kMxcsrFlags);
  not_(eax);
  test(ecx, eax);
  jnz(slow_stub().from, T_NEAR);
}

// XMM1: the second operand.
void Emitter::load_second_vector(const Decoded& d, unsigned size) {
  const Operand& b = d.operands[1];
  if (!is_mem(b)) {
    movups(xmm1, ptr[xmm_at(b.reg)]);
    return;
  }
  vector_memory(d, size, size == 16);
  if (size == 16) movups(xmm1, ptr[rax]);
  else if (size == 8) movsd(xmm1, ptr[rax]);
  else movss(xmm1, ptr[rax]);
}

Emitter::Done Emitter::vector_float(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!is_xmm(a) || !(is_xmm(b) || is_mem(b))) return Done::kNo;
  check_sse_is_on();
  check_float_controls();
  load_second_vector(d, b.size);
  movups(xmm0, ptr[xmm_at(a.reg)]);
  same_opcode(d, 0xc1, false);
  check_float_raised();
  movups(ptr[xmm_at(a.reg)], xmm0);
  return Done::kYes;
}

Emitter::Done Emitter::vector_to_float(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!is_xmm(a) || !(is_gpr(b) || is_mem(b))) return Done::kNo;
  check_sse_is_on();
  check_float_controls();
  if (is_mem(b)) {
    vector_memory(d, b.size, false);
    mov(scratch(2, b.size), at(rax, b.size));
  } else {
    mov(scratch(2, b.size), in_register(b.reg, b.size, 2));
  }
  movups(xmm0, ptr[xmm_at(a.reg)]);
  if (d.op == Op::k_cvtsi2sd) cvtsi2sd(xmm0, scratch(2, b.size));
  else cvtsi2ss(xmm0, scratch(2, b.size));
  check_float_raised();
  movups(ptr[xmm_at(a.reg)], xmm0);
  return Done::kYes;
}

Emitter::Done Emitter::vector_from_float(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!is_gpr(a) || !(is_xmm(b) || is_mem(b))) return Done::kNo;
  const bool single = d.op == Op::k_cvttss2si || d.op == Op::k_cvtss2si;
  check_sse_is_on();
  check_float_controls();
  load_second_vector(d, single ? 4 : 8);
  const Xbyak::Reg32e to(scratch(2, a.size).getIdx(), static_cast<int>(8 * a.size));
  switch (d.op) {
    case Op::k_cvttss2si: cvttss2si(to, xmm1); break;
    case Op::k_cvtss2si: cvtss2si(to, xmm1); break;
    case Op::k_cvttsd2si: cvttsd2si(to, xmm1); break;
    default: cvtsd2si(to, xmm1); break;
  }
  check_float_raised();
  write_guest(a.reg, a.size, scratch(2, a.size));
  return Done::kYes;
}

Emitter::Done Emitter::vector_compare(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!is_xmm(a) || !(is_xmm(b) || is_mem(b))) return Done::kNo;
  check_sse_is_on();
  check_float_controls();
  load_second_vector(d, d.op == Op::k_ucomiss || d.op == Op::k_comiss ? 4 : 8);
  movups(xmm0, ptr[xmm_at(a.reg)]);
  same_opcode(d, 0xc1, false);
  check_float_raised();
  same_opcode(d, 0xc1, false);  // again, for the flags
  save_flags(HostFlags::kAll);
  return Done::kYes;
}

// `reads_first`: the operation is of both operands, not of the second alone.
Emitter::Done Emitter::vector_binary(const Decoded& d, bool reads_first, bool immediate) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!is_xmm(a) || !(is_xmm(b) || is_mem(b))) return Done::kNo;
  check_sse_is_on();
  load_second_vector(d, 16);
  if (reads_first) movups(xmm0, ptr[xmm_at(a.reg)]);
  same_opcode(d, 0xc1, immediate);
  movups(ptr[xmm_at(a.reg)], xmm0);
  return Done::kYes;
}

Emitter::Done Emitter::vector_shift(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!is_xmm(a) || is_mem(b)) return Done::kNo;
  check_sse_is_on();
  movups(xmm0, ptr[xmm_at(a.reg)]);
  if (is_xmm(b)) {
    movups(xmm1, ptr[xmm_at(b.reg)]);
    same_opcode(d, 0xc1, false);
  } else {
    same_opcode(d, static_cast<uint8_t>(0xc0 | (d.modrm & 0x38)), true);
  }
  movups(ptr[xmm_at(a.reg)], xmm0);
  return Done::kYes;
}

Emitter::Done Emitter::vector_move16(const Decoded& d, bool aligned) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  check_sse_is_on();
  if (is_mem(a)) {
    vector_memory(d, 16, aligned);
    movups(xmm0, ptr[xmm_at(b.reg)]);
    movups(ptr[rax], xmm0);
  } else if (is_mem(b)) {
    vector_memory(d, 16, aligned);
    movups(xmm0, ptr[rax]);
    movups(ptr[xmm_at(a.reg)], xmm0);
  } else {
    movups(xmm0, ptr[xmm_at(b.reg)]);
    movups(ptr[xmm_at(a.reg)], xmm0);
  }
  return Done::kYes;
}

// MOVD and MOVQ: what is loaded clears the rest of the register.
Emitter::Done Emitter::vector_move_number(const Decoded& d, unsigned size) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  const bool store = is_mem(a);
  check_sse_is_on();
  if (store || is_gpr(a)) {
    if (store) vector_memory(d, size, false);
    mov(scratch(2, size), Xbyak::Address(8 * size, false, xmm_at(b.reg)));
    if (store) mov(at(rax, size), scratch(2, size));
    else write_guest(a.reg, size, scratch(2, size));
    return Done::kYes;
  }
  if (is_mem(b)) {
    vector_memory(d, size, false);
    mov(scratch(2, size), at(rax, size));
  } else if (is_gpr(b)) {
    mov(scratch(2, size), in_register(b.reg, size, 2));
  } else {
    mov(rdx, qword[xmm_at(b.reg)]);
  }
  mov(qword[xmm_at(a.reg)], rdx);
  mov(qword[xmm_at(a.reg, 8)], 0);
  return Done::kYes;
}

Emitter::Done Emitter::vector_move_scalar(const Decoded& d, unsigned size) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  check_sse_is_on();
  if (d.has_mem) vector_memory(d, size, false);
  mov(scratch(2, size), is_mem(b) ? at(rax, size) : Xbyak::Address(8 * size, false, xmm_at(b.reg)));
  if (is_mem(a)) {
    mov(at(rax, size), scratch(2, size));
  } else if (is_mem(b)) {  // a load clears the rest
    mov(qword[xmm_at(a.reg)], rdx);
    mov(qword[xmm_at(a.reg, 8)], 0);
  } else {
    mov(Xbyak::Address(8 * size, false, xmm_at(a.reg)), scratch(2, size));
  }
  return Done::kYes;
}

Emitter::Done Emitter::vector_move_half(const Decoded& d, unsigned first_byte) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!d.has_mem) return Done::kNo;
  check_sse_is_on();
  vector_memory(d, 8, false);
  if (is_mem(a)) {
    mov(rdx, qword[xmm_at(b.reg, first_byte)]);
    mov(qword[rax], rdx);
  } else {
    mov(rdx, qword[rax]);
    mov(qword[xmm_at(a.reg, first_byte)], rdx);
  }
  return Done::kYes;
}

Emitter::Done Emitter::vector_mask(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  if (!is_gpr(a) || !is_xmm(b)) return Done::kNo;
  check_sse_is_on();
  movups(xmm0, ptr[xmm_at(b.reg)]);
  pmovmskb(edx, xmm0);
  write_guest(a.reg, 4, edx);
  return Done::kYes;
}

Emitter::Done Emitter::vector(const Decoded& d) {
  const VectorKind kind = vector_kind(d.op);
  if (kind == VectorKind::kNo) return Done::kNo;
  for (unsigned n = 0; n < d.operand_count; ++n)
    if (d.operands[n].kind == OperandKind::kMmx) return Done::kNo;
  if (d.has_mem && !has_address(d)) return Done::kNo;
  if (!is_xmm(d.operands[0]) && !is_xmm(d.operands[1])) return Done::kNo;
  switch (kind) {
    case VectorKind::kFloat: return vector_float(d);
    case VectorKind::kToFloat: return vector_to_float(d);
    case VectorKind::kFromFloat: return vector_from_float(d);
    case VectorKind::kCompare: return vector_compare(d);
    case VectorKind::kBinary: return vector_binary(d, true, false);
    case VectorKind::kShuffle: return vector_binary(d, false, true);
    case VectorKind::kImmediate: return vector_binary(d, true, true);
    case VectorKind::kShift: return vector_shift(d);
    case VectorKind::kMove16: return vector_move16(d, true);
    case VectorKind::kMove16Unaligned: return vector_move16(d, false);
    case VectorKind::kMoveQ: return vector_move_number(d, 8);
    case VectorKind::kMoveD: return vector_move_number(d, (d.rex & 8) ? 8 : 4);
    case VectorKind::kMoveSs: return vector_move_scalar(d, 4);
    case VectorKind::kMoveSd: return vector_move_scalar(d, 8);
    case VectorKind::kLow: return vector_move_half(d, 0);
    case VectorKind::kHigh: return vector_move_half(d, 8);
    case VectorKind::kMask: return vector_mask(d);
    case VectorKind::kNo: break;
  }
  return Done::kNo;
}

}  // namespace dejavm::soft
