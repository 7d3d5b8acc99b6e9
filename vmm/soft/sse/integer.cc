// Integer arithmetic lane by lane. The host's instructions are fully defined, so the intrinsics are the definition;
// their names are the instructions' own.
#include <cstdlib>

#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using Vec = __m128i;

// Operations across neighbours: for MMX both operands together make one vector, whose low half is the result.
#define DEJAVM_HORIZONTAL(op, intrinsic)                    \
  void exec_##op(Cpu& c, const Decoded& d) {                \
    sse::packed(                                            \
        c, d, [](Vec a, Vec b) { return intrinsic(a, b); }, \
        [](Vec a, Vec b) {                                  \
          const Vec both = _mm_unpacklo_epi64(a, b);        \
          return intrinsic(both, both);                     \
        });                                                 \
  }
#define DEJAVM_UNARY(op, intrinsic)                             \
  void exec_##op(Cpu& c, const Decoded& d) {                    \
    sse::packed(c, d, [](Vec, Vec b) { return intrinsic(b); }); \
  }

}  // namespace

DEJAVM_PACKED(paddb, _mm_add_epi8)
DEJAVM_PACKED(paddw, _mm_add_epi16)
DEJAVM_PACKED(paddd, _mm_add_epi32)
DEJAVM_PACKED(paddq, _mm_add_epi64)
DEJAVM_PACKED(paddsb, _mm_adds_epi8)
DEJAVM_PACKED(paddsw, _mm_adds_epi16)
DEJAVM_PACKED(paddusb, _mm_adds_epu8)
DEJAVM_PACKED(paddusw, _mm_adds_epu16)
DEJAVM_PACKED(psubb, _mm_sub_epi8)
DEJAVM_PACKED(psubw, _mm_sub_epi16)
DEJAVM_PACKED(psubd, _mm_sub_epi32)
DEJAVM_PACKED(psubq, _mm_sub_epi64)
DEJAVM_PACKED(psubsb, _mm_subs_epi8)
DEJAVM_PACKED(psubsw, _mm_subs_epi16)
DEJAVM_PACKED(psubusb, _mm_subs_epu8)
DEJAVM_PACKED(psubusw, _mm_subs_epu16)

DEJAVM_PACKED(pmullw, _mm_mullo_epi16)
DEJAVM_PACKED(pmulhw, _mm_mulhi_epi16)
DEJAVM_PACKED(pmulhuw, _mm_mulhi_epu16)
DEJAVM_PACKED(pmulhrsw, _mm_mulhrs_epi16)
DEJAVM_PACKED(pmuludq, _mm_mul_epu32)
DEJAVM_XMM(pmuldq, _mm_mul_epi32)
DEJAVM_XMM(pmulld, _mm_mullo_epi32)
DEJAVM_PACKED(pmaddwd, _mm_madd_epi16)
DEJAVM_PACKED(pmaddubsw, _mm_maddubs_epi16)
DEJAVM_PACKED(psadbw, _mm_sad_epu8)

DEJAVM_PACKED(pavgb, _mm_avg_epu8)
DEJAVM_PACKED(pavgw, _mm_avg_epu16)
DEJAVM_PACKED(pminub, _mm_min_epu8)
DEJAVM_PACKED(pminsw, _mm_min_epi16)
DEJAVM_XMM(pminsb, _mm_min_epi8)
DEJAVM_XMM(pminuw, _mm_min_epu16)
DEJAVM_XMM(pminud, _mm_min_epu32)
DEJAVM_XMM(pminsd, _mm_min_epi32)
DEJAVM_PACKED(pmaxub, _mm_max_epu8)
DEJAVM_PACKED(pmaxsw, _mm_max_epi16)
DEJAVM_XMM(pmaxsb, _mm_max_epi8)
DEJAVM_XMM(pmaxuw, _mm_max_epu16)
DEJAVM_XMM(pmaxud, _mm_max_epu32)
DEJAVM_XMM(pmaxsd, _mm_max_epi32)

DEJAVM_PACKED(psignb, _mm_sign_epi8)
DEJAVM_PACKED(psignw, _mm_sign_epi16)
DEJAVM_PACKED(psignd, _mm_sign_epi32)
DEJAVM_UNARY(pabsb, _mm_abs_epi8)
DEJAVM_UNARY(pabsw, _mm_abs_epi16)
DEJAVM_UNARY(pabsd, _mm_abs_epi32)

DEJAVM_HORIZONTAL(phaddw, _mm_hadd_epi16)
DEJAVM_HORIZONTAL(phaddd, _mm_hadd_epi32)
DEJAVM_HORIZONTAL(phaddsw, _mm_hadds_epi16)
DEJAVM_HORIZONTAL(phsubw, _mm_hsub_epi16)
DEJAVM_HORIZONTAL(phsubd, _mm_hsub_epi32)
DEJAVM_HORIZONTAL(phsubsw, _mm_hsubs_epi16)

// Sums of absolute differences: imm bits 1:0 choose the source's four bytes, bit 2 where the destination's begin.
void exec_mpsadbw(Cpu& c, const Decoded& d) {
  sse::xmm_op(c, d, [&](Vec a, Vec b) {
    const sse::Lanes<uint8_t> x(a), y(b);
    const unsigned source = (d.imm & 3) * 4, start = (d.imm & 4) ? 4 : 0;
    sse::Lanes<uint16_t> r;
    for (unsigned i = 0; i < 8; ++i) {
      int sum = 0;
      for (unsigned k = 0; k < 4; ++k) sum += std::abs(x[start + i + k] - y[source + k]);
      r[i] = static_cast<uint16_t>(sum);
    }
    return static_cast<Vec>(r);
  });
}

DEJAVM_UNARY(phminposuw, _mm_minpos_epu16)

}  // namespace dejavm::soft
