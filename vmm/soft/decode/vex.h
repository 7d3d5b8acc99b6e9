// The VEX-encoded form that an SSE operation has (SDM vol. 2, 2.3 and each entry): the same opcode, prefix and ModRM,
// and where a register of its own joins the operands.
#pragma once

#include <array>

#include "vmm/soft/decode.h"

namespace dejavm::soft {

// What VEX.L does: nothing; 1 is #UD; or the operation is done in both halves (for integers: from AVX2 on).
enum class VexLength : uint8_t { kIgnored, k128, kBoth };
enum class VexShape : uint8_t {
  kNone,    // there is no such form
  kSame,    // operands as in SSE; VEX.vvvv must be 1111b
  kSource,  // VEX.vvvv is the first source, after the destination
  kTarget,  // VEX.vvvv is the destination, before the source: shifts by an immediate
};
struct VexForm {
  VexShape shape = VexShape::kNone;
  VexLength length = VexLength::kBoth;
  bool avx2 = false;  // 256 bits, from AVX2 on
};

inline constexpr auto kVexForms = [] {
  std::array<VexForm, static_cast<size_t>(Op::kCount)> all{};
  auto put = [&](std::initializer_list<Op> ops, VexForm form) {
    for (Op op : ops) all[static_cast<size_t>(op)] = form;
  };
  using enum Op;
  using enum VexShape;
  using enum VexLength;
  // Floating point and moves, both halves.
  put({k_movups,   k_movupd,    k_movaps,   k_movapd,   k_movdqa,   k_movdqu,   k_lddqu,    k_movntps,
       k_movntpd,  k_movntdq,   k_movsldup, k_movshdup, k_movddup,  k_movmskps, k_movmskpd, k_sqrtps,
       k_sqrtpd,   k_rsqrtps,   k_rcpps,    k_cvtps2pd, k_cvtpd2ps, k_cvtdq2ps, k_cvtps2dq, k_cvttps2dq,
       k_cvtdq2pd, k_cvttpd2dq, k_cvtpd2dq, k_roundps,  k_roundpd,  k_ptest},
      {kSame, kBoth});
  put({k_unpcklps, k_unpcklpd, k_unpckhps, k_unpckhpd, k_andps,   k_andpd,   k_andnps, k_andnpd, k_orps,     k_orpd,
       k_xorps,    k_xorpd,    k_addps,    k_addpd,    k_mulps,   k_mulpd,   k_subps,  k_subpd,  k_minps,    k_minpd,
       k_divps,    k_divpd,    k_maxps,    k_maxpd,    k_cmpps,   k_cmppd,   k_shufps, k_shufpd, k_addsubps, k_addsubpd,
       k_haddps,   k_haddpd,   k_hsubps,   k_hsubpd,   k_blendps, k_blendpd, k_dpps},
      {kSource, kBoth});
  // Integers.
  put({k_movntdqa, k_pmovmskb, k_pshufd,   k_pshufhw,  k_pshuflw,  k_pabsb,    k_pabsw,
       k_pabsd,    k_pmovsxbw, k_pmovsxbd, k_pmovsxbq, k_pmovsxwd, k_pmovsxwq, k_pmovsxdq,
       k_pmovzxbw, k_pmovzxbd, k_pmovzxbq, k_pmovzxwd, k_pmovzxwq, k_pmovzxdq},
      {kSame, kBoth, true});
  put({k_punpcklbw, k_punpcklwd, k_punpckldq, k_punpcklqdq, k_punpckhbw, k_punpckhwd, k_punpckhdq, k_punpckhqdq,
       k_packsswb,  k_packssdw,  k_packuswb,  k_packusdw,   k_pcmpgtb,   k_pcmpgtw,   k_pcmpgtd,   k_pcmpgtq,
       k_pcmpeqb,   k_pcmpeqw,   k_pcmpeqd,   k_pcmpeqq,    k_pshufb,    k_psrlw,     k_psrld,     k_psrlq,
       k_psraw,     k_psrad,     k_psllw,     k_pslld,      k_psllq,     k_paddb,     k_paddw,     k_paddd,
       k_paddq,     k_paddsb,    k_paddsw,    k_paddusb,    k_paddusw,   k_psubb,     k_psubw,     k_psubd,
       k_psubq,     k_psubsb,    k_psubsw,    k_psubusb,    k_psubusw,   k_pmullw,    k_pmulhw,    k_pmulhuw,
       k_pmuludq,   k_pmuldq,    k_pmulld,    k_pmulhrsw,   k_pmaddwd,   k_pmaddubsw, k_psadbw,    k_pavgb,
       k_pavgw,     k_pminub,    k_pminsw,    k_pminsb,     k_pminuw,    k_pminud,    k_pminsd,    k_pmaxub,
       k_pmaxsw,    k_pmaxsb,    k_pmaxuw,    k_pmaxud,     k_pmaxsd,    k_pand,      k_pandn,     k_por,
       k_pxor,      k_phaddw,    k_phaddd,    k_phaddsw,    k_phsubw,    k_phsubd,    k_phsubsw,   k_psignb,
       k_psignw,    k_psignd,    k_palignr,   k_pblendw,    k_mpsadbw},
      {kSource, kBoth, true});
  put({k_pslldq, k_psrldq}, {kTarget, kBoth, true});
  // One element.
  put({k_sqrtss,   k_sqrtsd,   k_rsqrtss,  k_rcpss,    k_addss,   k_addsd,   k_mulss, k_mulsd,  k_subss,
       k_subsd,    k_minss,    k_minsd,    k_divss,    k_divsd,   k_maxss,   k_maxsd, k_cmpss,  k_cmpsd_x,
       k_cvtss2sd, k_cvtsd2ss, k_cvtsi2ss, k_cvtsi2sd, k_roundss, k_roundsd, k_movss, k_movsd_x},
      {kSource, kIgnored});
  put({k_ucomiss, k_ucomisd, k_comiss, k_comisd, k_cvttss2si, k_cvttsd2si, k_cvtss2si, k_cvtsd2si}, {kSame, kIgnored});
  // 128 bits only.
  put({k_movd, k_movq, k_maskmovdqu, k_pextrb, k_pextrw, k_pextrd, k_extractps, k_phminposuw, k_pcmpestrm, k_pcmpestri,
       k_pcmpistrm, k_pcmpistri, k_ldmxcsr, k_stmxcsr, k_aesimc, k_aeskeygenassist},
      {kSame, k128});
  put({k_movlps, k_movhps, k_movlpd, k_movhpd, k_movhlps, k_movlhps, k_pinsrb, k_pinsrw, k_pinsrd, k_insertps, k_dppd,
       k_aesenc, k_aesenclast, k_aesdec, k_aesdeclast, k_pclmulqdq},
      {kSource, k128});
  return all;
}();
constexpr const VexForm& vex_form(Op op) { return kVexForms[static_cast<size_t>(op)]; }

}  // namespace dejavm::soft
