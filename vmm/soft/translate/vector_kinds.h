// How the emitter makes each operation on vectors.
#pragma once

#include "vmm/soft/decode.h"

namespace dejavm::soft {

enum class VectorKind : uint8_t {
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

inline VectorKind vector_kind(Op op) {
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
    case Op::k_unpckhpd: return VectorKind::kBinary;
    case Op::k_pshufd:
    case Op::k_pshuflw:
    case Op::k_pshufhw: return VectorKind::kShuffle;
    case Op::k_palignr:
    case Op::k_shufps:
    case Op::k_shufpd:
    case Op::k_pblendw: return VectorKind::kImmediate;
    case Op::k_psrlw:
    case Op::k_psrld:
    case Op::k_psrlq:
    case Op::k_psraw:
    case Op::k_psrad:
    case Op::k_psllw:
    case Op::k_pslld:
    case Op::k_psllq:
    case Op::k_psrldq:
    case Op::k_pslldq: return VectorKind::kShift;
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
    case Op::k_cvtsd2ss: return VectorKind::kFloat;
    case Op::k_cvtsi2ss:
    case Op::k_cvtsi2sd: return VectorKind::kToFloat;
    case Op::k_cvttss2si:
    case Op::k_cvttsd2si:
    case Op::k_cvtss2si:
    case Op::k_cvtsd2si: return VectorKind::kFromFloat;
    case Op::k_ucomiss:
    case Op::k_ucomisd:
    case Op::k_comiss:
    case Op::k_comisd: return VectorKind::kCompare;
    case Op::k_movaps:
    case Op::k_movapd:
    case Op::k_movdqa:
    case Op::k_movntps:
    case Op::k_movntpd:
    case Op::k_movntdq: return VectorKind::kMove16;
    case Op::k_movups:
    case Op::k_movupd:
    case Op::k_movdqu:
    case Op::k_lddqu: return VectorKind::kMove16Unaligned;
    case Op::k_movq: return VectorKind::kMoveQ;
    case Op::k_movd: return VectorKind::kMoveD;
    case Op::k_movss: return VectorKind::kMoveSs;
    case Op::k_movsd_x: return VectorKind::kMoveSd;
    case Op::k_pmovmskb: return VectorKind::kMask;
    case Op::k_movlps:
    case Op::k_movlpd: return VectorKind::kLow;
    case Op::k_movhps:
    case Op::k_movhpd: return VectorKind::kHigh;
    default: return VectorKind::kNo;
  }
}

}  // namespace dejavm::soft
