// Bitwise operations: no lanes, no floating-point meaning.
#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {

DEJAVM_PACKED(pand, _mm_and_si128)
DEJAVM_PACKED(pandn, _mm_andnot_si128)
DEJAVM_PACKED(por, _mm_or_si128)
DEJAVM_PACKED(pxor, _mm_xor_si128)
DEJAVM_XMM(andps, _mm_and_si128)
DEJAVM_XMM(andpd, _mm_and_si128)
DEJAVM_XMM(andnps, _mm_andnot_si128)
DEJAVM_XMM(andnpd, _mm_andnot_si128)
DEJAVM_XMM(orps, _mm_or_si128)
DEJAVM_XMM(orpd, _mm_or_si128)
DEJAVM_XMM(xorps, _mm_xor_si128)
DEJAVM_XMM(xorpd, _mm_xor_si128)

void exec_ptest(Cpu& c, const Decoded& d) {
  check_sse(c);
  const __m128i a = sse::get_xmm(c, d.operands[0].reg), b = sse::source(c, d, 1);
  sse::set_flags(c, _mm_testc_si128(a, b), false, _mm_testz_si128(a, b), false, false);
}

}  // namespace dejavm::soft
