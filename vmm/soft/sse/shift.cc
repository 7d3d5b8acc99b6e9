// Shifts: by an immediate or by the low 64 bits of a vector; counts beyond the lane give zero or the sign.
#include <algorithm>

#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using namespace sse;

template <class F>
void shift(Cpu& c, const Decoded& d, F f) {
  check(c, d, 0);
  const unsigned n = d.operands[0].reg;
  if (is_mmx(d, 0)) {
    const __m128i count = is_imm(d, 1) ? low_half(uint64_t{imm8(d)}) : mmx_source(c, d, 1);
    mmx_write(c, n, low_half(f(low_half(mmx_read(c, n)), count)));
  } else {
    const __m128i count = is_imm(d, 1) ? low_half(uint64_t{imm8(d)}) : source(c, d, 1);
    set_xmm(c, n, f(get_xmm(c, n), count));
  }
}

// Bytes [from, from + 16) of low:high.
__m128i window(__m128i low, __m128i high, unsigned from) {
  uint8_t bytes[48] = {};
  std::memcpy(bytes, &low, 16);
  std::memcpy(bytes + 16, &high, 16);
  __m128i v;
  std::memcpy(&v, bytes + std::min(from, 32u), 16);
  return v;
}

}  // namespace

#define DEJAVM_SHIFT(op, intrinsic)                                            \
  void exec_##op(Cpu& c, const Decoded& d) {                                   \
    shift(c, d, [](__m128i v, __m128i count) { return intrinsic(v, count); }); \
  }
DEJAVM_SHIFT(psrlw, _mm_srl_epi16)
DEJAVM_SHIFT(psrld, _mm_srl_epi32)
DEJAVM_SHIFT(psrlq, _mm_srl_epi64)
DEJAVM_SHIFT(psraw, _mm_sra_epi16)
DEJAVM_SHIFT(psrad, _mm_sra_epi32)
DEJAVM_SHIFT(psllw, _mm_sll_epi16)
DEJAVM_SHIFT(pslld, _mm_sll_epi32)
DEJAVM_SHIFT(psllq, _mm_sll_epi64)

void exec_psrldq(Cpu& c, const Decoded& d) {
  check_sse(c);
  const unsigned n = d.operands[0].reg;
  set_xmm(c, n, window(get_xmm(c, n), _mm_setzero_si128(), imm8(d)));
}
void exec_pslldq(Cpu& c, const Decoded& d) {
  check_sse(c);
  const unsigned n = d.operands[0].reg;
  set_xmm(c, n, window(_mm_setzero_si128(), get_xmm(c, n), 16u - std::min<unsigned>(imm8(d), 16)));
}

// The destination is the high part of the pair.
void exec_palignr(Cpu& c, const Decoded& d) {
  packed(
      c, d, [&](__m128i a, __m128i b) { return window(b, a, imm8(d)); },
      [&](__m128i a, __m128i b) { return window(_mm_unpacklo_epi64(b, a), _mm_setzero_si128(), imm8(d)); });
}

}  // namespace dejavm::soft
