// Single lanes in and out, and lanes made wider (PMOVSX, PMOVZX).
#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

template <class T>
unsigned lanes(bool mmx) {
  return static_cast<unsigned>((mmx ? 8 : 16) / sizeof(T));
}

// The lane's index is imm modulo the number of lanes; memory has exactly the lane's bytes.
template <class T>
void insert(Cpu& c, const Decoded& d) {
  check(c, d, 0);
  const unsigned n = d.operands[0].reg;
  const T v = is_mem(d, 1) ? c.load<T>(d.seg, c.effective_address(d)) : static_cast<T>(c.r[d.operands[1].reg]);
  const bool mmx = is_mmx(d, 0);
  Lanes<T> r(mmx ? low_half(mmx_read(c, n)) : get_xmm(c, n));
  r[imm8(d) & (lanes<T>(mmx) - 1)] = v;
  if (mmx) mmx_write(c, n, low_half(static_cast<Vec>(r)));
  else set_xmm(c, n, static_cast<Vec>(r));
}

template <class T>
void extract(Cpu& c, const Decoded& d) {
  check(c, d, 1);
  const unsigned n = d.operands[1].reg;
  const bool mmx = is_mmx(d, 1);
  const Lanes<T> from(mmx ? low_half(mmx_read(c, n)) : get_xmm(c, n));
  const T v = from[imm8(d) & (lanes<T>(mmx) - 1)];
  if (is_mem(d, 0)) store_mem(c, d, v);
  else c.set_reg(d.operands[0].reg, 8, v);
  if (mmx) enter_mmx(c);
}

}  // namespace

void exec_pinsrb(Cpu& c, const Decoded& d) { insert<uint8_t>(c, d); }
void exec_pinsrw(Cpu& c, const Decoded& d) { insert<uint16_t>(c, d); }
void exec_pinsrd(Cpu& c, const Decoded& d) { rex_w(d) ? insert<uint64_t>(c, d) : insert<uint32_t>(c, d); }
void exec_pextrb(Cpu& c, const Decoded& d) { extract<uint8_t>(c, d); }
void exec_pextrw(Cpu& c, const Decoded& d) { extract<uint16_t>(c, d); }
void exec_pextrd(Cpu& c, const Decoded& d) { rex_w(d) ? extract<uint64_t>(c, d) : extract<uint32_t>(c, d); }
void exec_extractps(Cpu& c, const Decoded& d) { extract<uint32_t>(c, d); }

// imm: source lane 7:6 (registers only), destination lane 5:4, lanes to clear 3:0.
void exec_insertps(Cpu& c, const Decoded& d) {
  xmm_op<4>(c, d, [&](Vec a, Vec b) {
    const Lanes<uint32_t> from(b);
    Lanes<uint32_t> r(a);
    r[imm8(d) >> 4 & 3] = from[is_mem(d, 1) ? 0 : imm8(d) >> 6];
    for (unsigned i = 0; i < 4; ++i)
      if (imm8(d) >> i & 1) r[i] = 0;
    return static_cast<Vec>(r);
  });
}

#define DEJAVM_EXTEND(op, bytes, intrinsic)                       \
  void exec_##op(Cpu& c, const Decoded& d) {                      \
    xmm_op<bytes>(c, d, [](Vec, Vec b) { return intrinsic(b); }); \
  }
DEJAVM_EXTEND(pmovsxbw, 8, _mm_cvtepi8_epi16)
DEJAVM_EXTEND(pmovsxbd, 4, _mm_cvtepi8_epi32)
DEJAVM_EXTEND(pmovsxbq, 2, _mm_cvtepi8_epi64)
DEJAVM_EXTEND(pmovsxwd, 8, _mm_cvtepi16_epi32)
DEJAVM_EXTEND(pmovsxwq, 4, _mm_cvtepi16_epi64)
DEJAVM_EXTEND(pmovsxdq, 8, _mm_cvtepi32_epi64)
DEJAVM_EXTEND(pmovzxbw, 8, _mm_cvtepu8_epi16)
DEJAVM_EXTEND(pmovzxbd, 4, _mm_cvtepu8_epi32)
DEJAVM_EXTEND(pmovzxbq, 2, _mm_cvtepu8_epi64)
DEJAVM_EXTEND(pmovzxwd, 8, _mm_cvtepu16_epi32)
DEJAVM_EXTEND(pmovzxwq, 4, _mm_cvtepu16_epi64)
DEJAVM_EXTEND(pmovzxdq, 8, _mm_cvtepu32_epi64)

}  // namespace dejavm::soft
