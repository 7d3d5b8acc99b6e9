// Conversions. Integer results that do not fit are the integer indefinite (0x80000000...) with the invalid flag,
// as the host gives them. MMX forms are computed in a vector whose upper lanes are zero, which raises nothing;
// their transition of the x87 state stands even if #XM follows, as on hardware.
#include "vmm/soft/sse/fp_env.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

DEJAVM_ARITHMETIC(NarrowPd, "cvtpd2ps", kNarrow, kNarrow, 2, true);
DEJAVM_ARITHMETIC(NarrowSd, "cvtsd2ss", kNarrow, kNarrow, 1, true);

// b converted by one instruction, other lanes of the register from a.
#define DEJAVM_CONVERSION(insn)                             \
  [&](Vec a, Vec b) {                                       \
    Vec result;                                             \
    fp_run(c, [&] {                                         \
      result = a;                                           \
      asm volatile(insn " %1, %0" : "+x"(result) : "x"(b)); \
    });                                                     \
    return result;                                          \
  }

// An MMX destination; the source is an XMM register or N bytes of memory (16: aligned).
template <unsigned N, class F>
void to_mmx(Cpu& c, const Decoded& d, F convert) {
  check_sse(c);
  check_mmx(c);
  Vec b;
  if constexpr (N == 16) b = source(c, d, 1);
  else b = _mm_move_epi64(source_low<N>(c, d, 1));
  enter_mmx(c);
  mmx_write(c, d.operands[0].reg, low_half(convert(_mm_setzero_si128(), b)));
}

// From MMX. A memory operand makes it no MMX instruction: no #MF, no transition (SDM vol. 2, CVTPI2PD; hardware
// does the same for CVTPI2PS).
Vec mmx_integers(Cpu& c, const Decoded& d) {
  check_sse(c);
  if (is_mmx(d, 1)) check_mmx(c);
  const Vec v = mmx_source(c, d, 1);
  if (is_mmx(d, 1)) enter_mmx(c);
  return v;
}

uint64_t integer_source(Cpu& c, const Decoded& d) {
  const unsigned size = rex_w(d) ? 8 : 4;
  return is_mem(d, 1) ? c.load_sized(d.seg, c.effective_address(d), size) : c.reg(d.operands[1].reg, size);
}

}  // namespace

#define DEJAVM_CONVERT(op, bytes) \
  void exec_##op(Cpu& c, const Decoded& d) { xmm_op<bytes>(c, d, DEJAVM_CONVERSION(#op)); }
DEJAVM_CONVERT(cvtps2pd, 8)
DEJAVM_CONVERT(cvtss2sd, 4)
DEJAVM_CONVERT(cvtdq2ps, 16)
DEJAVM_CONVERT(cvtdq2pd, 8)
DEJAVM_CONVERT(cvtps2dq, 16)
DEJAVM_CONVERT(cvttps2dq, 16)
DEJAVM_CONVERT(cvtpd2dq, 16)
DEJAVM_CONVERT(cvttpd2dq, 16)

void exec_cvtpd2ps(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) { return arithmetic<NarrowPd>(c, a, b); });
}
void exec_cvtsd2ss(Cpu& c, const Decoded& d) {
  xmm_op<8>(c, d, [&](Vec a, Vec b) { return arithmetic<NarrowSd>(c, a, b); });
}

void exec_cvtps2pi(Cpu& c, const Decoded& d) { to_mmx<8>(c, d, DEJAVM_CONVERSION("cvtps2dq")); }
void exec_cvttps2pi(Cpu& c, const Decoded& d) { to_mmx<8>(c, d, DEJAVM_CONVERSION("cvttps2dq")); }
void exec_cvtpd2pi(Cpu& c, const Decoded& d) { to_mmx<16>(c, d, DEJAVM_CONVERSION("cvtpd2dq")); }
void exec_cvttpd2pi(Cpu& c, const Decoded& d) { to_mmx<16>(c, d, DEJAVM_CONVERSION("cvttpd2dq")); }

void exec_cvtpi2ps(Cpu& c, const Decoded& d) {
  const Vec r = DEJAVM_CONVERSION("cvtdq2ps")(_mm_setzero_si128(), mmx_integers(c, d));
  c.s.fpu.xmm[d.operands[0].reg].q[0] = low_half(r);
}
void exec_cvtpi2pd(Cpu& c, const Decoded& d) {
  set_xmm(c, d.operands[0].reg, DEJAVM_CONVERSION("cvtdq2pd")(_mm_setzero_si128(), mmx_integers(c, d)));
}

#define DEJAVM_FROM_INTEGER(op)                                      \
  void exec_##op(Cpu& c, const Decoded& d) {                         \
    check_sse(c);                                                    \
    const uint64_t v = integer_source(c, d);                         \
    const Vec a = get_xmm(c, d.operands[0].reg);                     \
    Vec r;                                                           \
    fp_run(c, [&] {                                                  \
      r = a;                                                         \
      if (rex_w(d)) asm volatile(#op "q %1, %0" : "+x"(r) : "r"(v)); \
      else asm volatile(#op "l %k1, %0" : "+x"(r) : "r"(v));         \
    });                                                              \
    set_xmm(c, d.operands[0].reg, r);                                \
  }
DEJAVM_FROM_INTEGER(cvtsi2ss)
DEJAVM_FROM_INTEGER(cvtsi2sd)

#define DEJAVM_TO_INTEGER(op, bytes)                                \
  void exec_##op(Cpu& c, const Decoded& d) {                        \
    check_sse(c);                                                   \
    const Vec b = source_low<bytes>(c, d, 1);                       \
    uint64_t v = 0;                                                 \
    fp_run(c, [&] {                                                 \
      if (rex_w(d)) asm volatile(#op " %1, %0" : "=r"(v) : "x"(b)); \
      else asm volatile(#op " %1, %k0" : "=r"(v) : "x"(b));         \
    });                                                             \
    c.set_reg(d.operands[0].reg, 8, v);                             \
  }
DEJAVM_TO_INTEGER(cvtss2si, 4)
DEJAVM_TO_INTEGER(cvtsd2si, 8)
DEJAVM_TO_INTEGER(cvttss2si, 4)
DEJAVM_TO_INTEGER(cvttsd2si, 8)

}  // namespace dejavm::soft
