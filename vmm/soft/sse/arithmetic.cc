// Floating-point arithmetic: add, subtract, multiply, divide, square root, minimum, maximum, horizontal and dot
// products. Scalar forms read 4 or 8 bytes of memory and keep the destination's other lanes.
#include "vmm/soft/sse/fp_env.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

DEJAVM_ARITHMETIC(AddPs, "addps", kAdd, kAdd, 4, false);
DEJAVM_ARITHMETIC(AddPd, "addpd", kAdd, kAdd, 2, true);
DEJAVM_ARITHMETIC(AddSs, "addss", kAdd, kAdd, 1, false);
DEJAVM_ARITHMETIC(AddSd, "addsd", kAdd, kAdd, 1, true);
DEJAVM_ARITHMETIC(SubPs, "subps", kSub, kSub, 4, false);
DEJAVM_ARITHMETIC(SubPd, "subpd", kSub, kSub, 2, true);
DEJAVM_ARITHMETIC(SubSs, "subss", kSub, kSub, 1, false);
DEJAVM_ARITHMETIC(SubSd, "subsd", kSub, kSub, 1, true);
DEJAVM_ARITHMETIC(MulPs, "mulps", kMul, kMul, 4, false);
DEJAVM_ARITHMETIC(MulPd, "mulpd", kMul, kMul, 2, true);
DEJAVM_ARITHMETIC(MulSs, "mulss", kMul, kMul, 1, false);
DEJAVM_ARITHMETIC(MulSd, "mulsd", kMul, kMul, 1, true);
DEJAVM_ARITHMETIC(DivPs, "divps", kDiv, kDiv, 4, false);
DEJAVM_ARITHMETIC(DivPd, "divpd", kDiv, kDiv, 2, true);
DEJAVM_ARITHMETIC(DivSs, "divss", kDiv, kDiv, 1, false);
DEJAVM_ARITHMETIC(DivSd, "divsd", kDiv, kDiv, 1, true);
DEJAVM_ARITHMETIC(AddSubPs, "addsubps", kSub, kAdd, 4, false);
DEJAVM_ARITHMETIC(AddSubPd, "addsubpd", kSub, kAdd, 2, true);

// Even lanes of a:b, and odd ones: the first and second operands of the horizontal operations.
template <class T>
Vec even_lanes(Vec a, Vec b) {
  if constexpr (sizeof(T) == 8) return _mm_unpacklo_epi64(a, b);
  else return _mm_unpacklo_epi64(_mm_shuffle_epi32(a, 0x88), _mm_shuffle_epi32(b, 0x88));
}
template <class T>
Vec odd_lanes(Vec a, Vec b) {
  if constexpr (sizeof(T) == 8) return _mm_unpackhi_epi64(a, b);
  else return _mm_unpacklo_epi64(_mm_shuffle_epi32(a, 0xdd), _mm_shuffle_epi32(b, 0xdd));
}
template <class Op, class T>
void horizontal(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) { return arithmetic<Op>(c, even_lanes<T>(a, b), odd_lanes<T>(a, b)); });
}

// All-ones lanes where the bit of mask is set.
template <class T>
Vec lane_mask(unsigned mask) {
  Lanes<T> r;
  for (unsigned i = 0; i < 16 / sizeof(T); ++i) r[i] = mask >> i & 1 ? static_cast<T>(~T{0}) : T{0};
  return static_cast<Vec>(r);
}

}  // namespace

#define DEJAVM_FP(op, Op, bytes)                                                \
  void exec_##op(Cpu& c, const Decoded& d) {                                    \
    xmm_op<bytes>(c, d, [&](Vec a, Vec b) { return arithmetic<Op>(c, a, b); }); \
  }
DEJAVM_FP(addps, AddPs, 16)
DEJAVM_FP(addpd, AddPd, 16)
DEJAVM_FP(addss, AddSs, 4)
DEJAVM_FP(addsd, AddSd, 8)
DEJAVM_FP(subps, SubPs, 16)
DEJAVM_FP(subpd, SubPd, 16)
DEJAVM_FP(subss, SubSs, 4)
DEJAVM_FP(subsd, SubSd, 8)
DEJAVM_FP(mulps, MulPs, 16)
DEJAVM_FP(mulpd, MulPd, 16)
DEJAVM_FP(mulss, MulSs, 4)
DEJAVM_FP(mulsd, MulSd, 8)
DEJAVM_FP(divps, DivPs, 16)
DEJAVM_FP(divpd, DivPd, 16)
DEJAVM_FP(divss, DivSs, 4)
DEJAVM_FP(divsd, DivSd, 8)
DEJAVM_FP(addsubps, AddSubPs, 16)
DEJAVM_FP(addsubpd, AddSubPd, 16)

// Operations whose results lie within the range of their operands.
#define DEJAVM_FP_BOUNDED(op, bytes)                    \
  void exec_##op(Cpu& c, const Decoded& d) {            \
    xmm_op<bytes>(c, d, [&](Vec a, Vec b) {             \
      Vec r;                                            \
      fp_run(c, [&] {                                   \
        r = a;                                          \
        asm volatile(#op " %1, %0" : "+x"(r) : "x"(b)); \
      });                                               \
      return r;                                         \
    });                                                 \
  }
DEJAVM_FP_BOUNDED(sqrtps, 16)
DEJAVM_FP_BOUNDED(sqrtpd, 16)
DEJAVM_FP_BOUNDED(sqrtss, 4)
DEJAVM_FP_BOUNDED(sqrtsd, 8)
DEJAVM_FP_BOUNDED(minps, 16)
DEJAVM_FP_BOUNDED(minpd, 16)
DEJAVM_FP_BOUNDED(minss, 4)
DEJAVM_FP_BOUNDED(minsd, 8)
DEJAVM_FP_BOUNDED(maxps, 16)
DEJAVM_FP_BOUNDED(maxpd, 16)
DEJAVM_FP_BOUNDED(maxss, 4)
DEJAVM_FP_BOUNDED(maxsd, 8)

void exec_haddps(Cpu& c, const Decoded& d) { horizontal<AddPs, uint32_t>(c, d); }
void exec_haddpd(Cpu& c, const Decoded& d) { horizontal<AddPd, uint64_t>(c, d); }
void exec_hsubps(Cpu& c, const Decoded& d) { horizontal<SubPs, uint32_t>(c, d); }
void exec_hsubpd(Cpu& c, const Decoded& d) { horizontal<SubPd, uint64_t>(c, d); }

// Dot products, rounding as DPPS's pseudo-code does: products, sums of neighbours, then their sum. Each stage reports
// its exceptions before the next begins. Lanes not selected are +0.0, which raises nothing.
void exec_dpps(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) {
    const Vec selected = lane_mask<uint32_t>(imm8(d) >> 4);
    const Vec products = arithmetic<MulPs>(c, _mm_and_si128(a, selected), _mm_and_si128(b, selected));
    const Vec zero = _mm_setzero_si128();
    const Vec pairs = arithmetic<AddPs>(c, even_lanes<uint32_t>(products, zero), odd_lanes<uint32_t>(products, zero));
    const Vec sum = arithmetic<AddSs>(c, pairs, _mm_srli_epi64(pairs, 32));
    return _mm_and_si128(_mm_shuffle_epi32(sum, 0), lane_mask<uint32_t>(imm8(d) & 15));
  });
}
void exec_dppd(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [&](Vec a, Vec b) {
    const Vec selected = lane_mask<uint64_t>(imm8(d) >> 4 & 3);
    const Vec products = arithmetic<MulPd>(c, _mm_and_si128(a, selected), _mm_and_si128(b, selected));
    const Vec sum = arithmetic<AddSd>(c, products, _mm_unpackhi_epi64(products, products));
    return _mm_and_si128(_mm_unpacklo_epi64(sum, sum), lane_mask<uint64_t>(imm8(d) & 3));
  });
}

}  // namespace dejavm::soft
