// Generated code for MMX-less SSE. The guest's own opcode runs on XMM0 and XMM1 between loads from and a store to
// Cpu::s. Of floating point what the guest does most: under the default controls, which are the host's too, and where
// no flag is raised that the guest's MXCSR has not already; else the plain function does it all, again (sse/fp_env.h
// has the same fast way).
#include <cstddef>

#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg;

namespace {

enum class Kind : uint8_t {
  kNo,
  kBinary,     // dst = dst op src, where src is XMM or 16 aligned bytes
  kShuffle,    // dst = op(src, imm)
  kImmediate,  // dst = dst op src, imm
  kShift,      // dst = dst op imm, or by XMM
  kFloat,      // dst = dst op src, or op(src): packed, or one element
  kToFloat,
  kFromFloat,
  kCompare,
  kMove16,
  kMove16Unaligned,
  kMoveQ,
  kMoveD,
  kMoveSs,
  kMoveSd,
  kMask,
  kLow,
  kHigh
};

Kind kind_of(Op op) {
  switch (op) {
    case Op::k_pxor:
    case Op::k_por:
    case Op::k_pand:
    case Op::k_pandn:
    case Op::k_xorps:
    case Op::k_xorpd:
    case Op::k_andps:
    case Op::k_andpd:
    case Op::k_andnps:
    case Op::k_andnpd:
    case Op::k_orps:
    case Op::k_orpd:
    case Op::k_paddb:
    case Op::k_paddw:
    case Op::k_paddd:
    case Op::k_paddq:
    case Op::k_psubb:
    case Op::k_psubw:
    case Op::k_psubd:
    case Op::k_psubq:
    case Op::k_paddsb:
    case Op::k_paddsw:
    case Op::k_paddusb:
    case Op::k_paddusw:
    case Op::k_psubsb:
    case Op::k_psubsw:
    case Op::k_psubusb:
    case Op::k_psubusw:
    case Op::k_pcmpeqb:
    case Op::k_pcmpeqw:
    case Op::k_pcmpeqd:
    case Op::k_pcmpeqq:
    case Op::k_pcmpgtb:
    case Op::k_pcmpgtw:
    case Op::k_pcmpgtd:
    case Op::k_pcmpgtq:
    case Op::k_pmullw:
    case Op::k_pmulhw:
    case Op::k_pmulhuw:
    case Op::k_pmuludq:
    case Op::k_pmuldq:
    case Op::k_pmulld:
    case Op::k_pmaddwd:
    case Op::k_pmaddubsw:
    case Op::k_psadbw:
    case Op::k_pavgb:
    case Op::k_pavgw:
    case Op::k_pminub:
    case Op::k_pminsw:
    case Op::k_pminsb:
    case Op::k_pminuw:
    case Op::k_pminud:
    case Op::k_pminsd:
    case Op::k_pmaxub:
    case Op::k_pmaxsw:
    case Op::k_pmaxsb:
    case Op::k_pmaxuw:
    case Op::k_pmaxud:
    case Op::k_pmaxsd:
    case Op::k_punpcklbw:
    case Op::k_punpcklwd:
    case Op::k_punpckldq:
    case Op::k_punpcklqdq:
    case Op::k_punpckhbw:
    case Op::k_punpckhwd:
    case Op::k_punpckhdq:
    case Op::k_punpckhqdq:
    case Op::k_packsswb:
    case Op::k_packssdw:
    case Op::k_packuswb:
    case Op::k_packusdw:
    case Op::k_pshufb:
    case Op::k_unpcklps:
    case Op::k_unpcklpd:
    case Op::k_unpckhps:
    case Op::k_unpckhpd: return Kind::kBinary;
    case Op::k_pshufd:
    case Op::k_pshuflw:
    case Op::k_pshufhw: return Kind::kShuffle;
    case Op::k_palignr:
    case Op::k_shufps:
    case Op::k_shufpd:
    case Op::k_pblendw: return Kind::kImmediate;
    case Op::k_psrlw:
    case Op::k_psrld:
    case Op::k_psrlq:
    case Op::k_psraw:
    case Op::k_psrad:
    case Op::k_psllw:
    case Op::k_pslld:
    case Op::k_psllq:
    case Op::k_psrldq:
    case Op::k_pslldq: return Kind::kShift;
    case Op::k_addps:
    case Op::k_addpd:
    case Op::k_addss:
    case Op::k_addsd:
    case Op::k_subps:
    case Op::k_subpd:
    case Op::k_subss:
    case Op::k_subsd:
    case Op::k_mulps:
    case Op::k_mulpd:
    case Op::k_mulss:
    case Op::k_mulsd:
    case Op::k_divps:
    case Op::k_divpd:
    case Op::k_divss:
    case Op::k_divsd:
    case Op::k_minps:
    case Op::k_minpd:
    case Op::k_minss:
    case Op::k_minsd:
    case Op::k_maxps:
    case Op::k_maxpd:
    case Op::k_maxss:
    case Op::k_maxsd:
    case Op::k_sqrtps:
    case Op::k_sqrtpd:
    case Op::k_sqrtss:
    case Op::k_sqrtsd:
    case Op::k_cvtss2sd:
    case Op::k_cvtsd2ss: return Kind::kFloat;
    case Op::k_cvtsi2ss:
    case Op::k_cvtsi2sd: return Kind::kToFloat;
    case Op::k_cvttss2si:
    case Op::k_cvttsd2si:
    case Op::k_cvtss2si:
    case Op::k_cvtsd2si: return Kind::kFromFloat;
    case Op::k_ucomiss:
    case Op::k_ucomisd:
    case Op::k_comiss:
    case Op::k_comisd: return Kind::kCompare;
    case Op::k_movaps:
    case Op::k_movapd:
    case Op::k_movdqa:
    case Op::k_movntps:
    case Op::k_movntpd:
    case Op::k_movntdq: return Kind::kMove16;
    case Op::k_movups:
    case Op::k_movupd:
    case Op::k_movdqu:
    case Op::k_lddqu: return Kind::kMove16Unaligned;
    case Op::k_movq: return Kind::kMoveQ;
    case Op::k_movd: return Kind::kMoveD;
    case Op::k_movss: return Kind::kMoveSs;
    case Op::k_movsd_x: return Kind::kMoveSd;
    case Op::k_pmovmskb: return Kind::kMask;
    case Op::k_movlps:
    case Op::k_movlpd: return Kind::kLow;
    case Op::k_movhps:
    case Op::k_movhpd: return Kind::kHigh;
    default: return Kind::kNo;
  }
}

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
  if (sse_checked_) return;
  sse_checked_ = true;
  host_flags_ = false;
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
  host_flags_ = false;
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
  save_flags(Flags::kAll);
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
  const Kind kind = kind_of(d.op);
  if (kind == Kind::kNo) return Done::kNo;
  for (unsigned n = 0; n < d.operand_count; ++n)
    if (d.operands[n].kind == OperandKind::kMmx) return Done::kNo;
  if (d.has_mem && !has_address(d)) return Done::kNo;
  if (!is_xmm(d.operands[0]) && !is_xmm(d.operands[1])) return Done::kNo;
  switch (kind) {
    case Kind::kFloat: return vector_float(d);
    case Kind::kToFloat: return vector_to_float(d);
    case Kind::kFromFloat: return vector_from_float(d);
    case Kind::kCompare: return vector_compare(d);
    case Kind::kBinary: return vector_binary(d, true, false);
    case Kind::kShuffle: return vector_binary(d, false, true);
    case Kind::kImmediate: return vector_binary(d, true, true);
    case Kind::kShift: return vector_shift(d);
    case Kind::kMove16: return vector_move16(d, true);
    case Kind::kMove16Unaligned: return vector_move16(d, false);
    case Kind::kMoveQ: return vector_move_number(d, 8);
    case Kind::kMoveD: return vector_move_number(d, (d.rex & 8) ? 8 : 4);
    case Kind::kMoveSs: return vector_move_scalar(d, 4);
    case Kind::kMoveSd: return vector_move_scalar(d, 8);
    case Kind::kLow: return vector_move_half(d, 0);
    case Kind::kHigh: return vector_move_half(d, 8);
    case Kind::kMask: return vector_mask(d);
    case Kind::kNo: break;
  }
  return Done::kNo;
}

}  // namespace dejavm::soft
