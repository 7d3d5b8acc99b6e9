// Rearranging: interleave, pack, shuffle, blend. UNPCK* and SHUF* of floats are moves of bits.
#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

Vec high_half(Vec v) { return _mm_unpackhi_epi64(v, v); }

// The memory operand of PUNPCKL* has 4 bytes in the MMX form.
template <class F>
void unpack_low(Cpu& c, const Decoded& d, F f) {
  if (!is_mmx(d, 0)) return xmm_op(c, d, f);
  check_mmx(c);
  const Vec b = mmx_source<4>(c, d, 1);
  mmx_write(c, d.operands[0].reg, low_half(f(low_half(mmx_read(c, d.operands[0].reg)), b)));
}

// Lane i of the result is lane (imm >> 2i) & 3 of v, within lanes [first, first + 4); others are kept.
template <class T>
Vec shuffle4(Vec v, unsigned imm, unsigned first = 0) {
  const Lanes<T> from(v);
  Lanes<T> to(v);
  for (unsigned i = 0; i < 4; ++i) to[first + i] = from[first + (imm >> (2 * i) & 3)];
  return static_cast<Vec>(to);
}

// Lane i from b where bit i of imm is set.
template <class T>
Vec blend(Vec a, Vec b, unsigned imm) {
  Lanes<T> r(a);
  const Lanes<T> from(b);
  for (unsigned i = 0; i < 16 / sizeof(T); ++i)
    if (imm >> i & 1) r[i] = from[i];
  return static_cast<Vec>(r);
}

}  // namespace

#define DEJAVM_UNPACK_LOW(op, intrinsic)                            \
  void exec_##op(Cpu& c, const Decoded& d) {                        \
    unpack_low(c, d, [](Vec a, Vec b) { return intrinsic(a, b); }); \
  }
#define DEJAVM_UNPACK_HIGH(op, high, low)                                                                  \
  void exec_##op(Cpu& c, const Decoded& d) {                                                               \
    packed(                                                                                                \
        c, d, [](Vec a, Vec b) { return high(a, b); }, [](Vec a, Vec b) { return high_half(low(a, b)); }); \
  }
DEJAVM_UNPACK_LOW(punpcklbw, _mm_unpacklo_epi8)
DEJAVM_UNPACK_LOW(punpcklwd, _mm_unpacklo_epi16)
DEJAVM_UNPACK_LOW(punpckldq, _mm_unpacklo_epi32)
DEJAVM_XMM(punpcklqdq, _mm_unpacklo_epi64)
DEJAVM_UNPACK_HIGH(punpckhbw, _mm_unpackhi_epi8, _mm_unpacklo_epi8)
DEJAVM_UNPACK_HIGH(punpckhwd, _mm_unpackhi_epi16, _mm_unpacklo_epi16)
DEJAVM_UNPACK_HIGH(punpckhdq, _mm_unpackhi_epi32, _mm_unpacklo_epi32)
DEJAVM_XMM(punpckhqdq, _mm_unpackhi_epi64)
DEJAVM_XMM(unpcklps, _mm_unpacklo_epi32)
DEJAVM_XMM(unpcklpd, _mm_unpacklo_epi64)
DEJAVM_XMM(unpckhps, _mm_unpackhi_epi32)
DEJAVM_XMM(unpckhpd, _mm_unpackhi_epi64)

#define DEJAVM_PACK(op, intrinsic)                                            \
  void exec_##op(Cpu& c, const Decoded& d) {                                  \
    packed(                                                                   \
        c, d, [](Vec a, Vec b) { return intrinsic(a, b); },                   \
        [](Vec a, Vec b) { return intrinsic(_mm_unpacklo_epi64(a, b), a); }); \
  }
DEJAVM_PACK(packsswb, _mm_packs_epi16)
DEJAVM_PACK(packssdw, _mm_packs_epi32)
DEJAVM_PACK(packuswb, _mm_packus_epi16)
DEJAVM_XMM(packusdw, _mm_packus_epi32)

void exec_pshufw(Cpu& c, const Decoded& d) {
  check_mmx(c);
  mmx_write(c, d.operands[0].reg, low_half(shuffle4<uint16_t>(mmx_source(c, d, 1), imm8(d))));
}
void exec_pshufd(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec, Vec b) { return shuffle4<uint32_t>(b, imm8(d)); });
}
void exec_pshuflw(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec, Vec b) { return shuffle4<uint16_t>(b, imm8(d)); });
}
void exec_pshufhw(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec, Vec b) { return shuffle4<uint16_t>(b, imm8(d), 4); });
}
void exec_pshufb(Cpu& c, const Decoded& d) {
  packed(
      c, d, [](Vec a, Vec b) { return _mm_shuffle_epi8(a, b); },
      [](Vec a, Vec b) { return _mm_shuffle_epi8(a, _mm_and_si128(b, _mm_set1_epi8(static_cast<char>(0x87)))); });
}

void exec_shufps(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) {
    const Lanes<uint32_t> x(a), y(b);
    const unsigned i = imm8(d);
    Lanes<uint32_t> r;
    r[0] = x[i & 3];
    r[1] = x[i >> 2 & 3];
    r[2] = y[i >> 4 & 3];
    r[3] = y[i >> 6];
    return static_cast<Vec>(r);
  });
}
void exec_shufpd(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) {
    const Lanes<uint64_t> x(a), y(b);
    Lanes<uint64_t> r;
    r[0] = x[imm8(d) & 1];
    r[1] = y[imm8(d) >> 1 & 1];
    return static_cast<Vec>(r);
  });
}

void exec_blendps(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) { return blend<uint32_t>(a, b, imm8(d)); });
}
void exec_blendpd(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) { return blend<uint64_t>(a, b, imm8(d)); });
}
void exec_pblendw(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) { return blend<uint16_t>(a, b, imm8(d)); });
}

// By the top bit of XMM0's lanes.
void exec_blendvps(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) { return _mm_blendv_epi8(a, b, _mm_srai_epi32(get_xmm(c, 0), 31)); });
}
void exec_blendvpd(Cpu& c, const Decoded& d) {
  xmm_op(c, d,
         [&](Vec a, Vec b) { return _mm_blendv_epi8(a, b, _mm_cmpgt_epi64(_mm_setzero_si128(), get_xmm(c, 0))); });
}
void exec_pblendvb(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) { return _mm_blendv_epi8(a, b, get_xmm(c, 0)); });
}

}  // namespace dejavm::soft
