// RCPPS, RCPSS, RSQRTPS, RSQRTSS. Vendors' tables differ, so the values are ours and computed in integers: the
// true value rounded to 13 significant bits, halves upwards; relative error at most 2^-13 (SDM allows 1.5 *
// 2^-12). No flags, MXCSR has no influence. Special values by SDM vol. 2: a denormal counts as a zero of its
// sign; 1/±0 = ±inf; 1/±inf = ±0; reciprocals below the normal range are zeros; the root of a negative number is
// the indefinite NaN; NaNs are quieted.
#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

constexpr uint32_t kSign = 0x80000000, kInfinity = 0x7f800000, kIndefinite = 0xffc00000, kQuiet = 0x00400000;
constexpr unsigned kBits = 13;  // significant bits of a result

// significand / 2^kBits * 2^exponent, the significand having one bit to round away; it may be 2^(kBits+1) itself.
uint32_t rounded(uint32_t sign, int exponent, uint64_t significand) {
  uint64_t s = (significand + 1) >> 1;
  if (s >> kBits) {
    s >>= 1;
    ++exponent;
  }
  if (exponent < -126) return sign;
  return sign | static_cast<uint32_t>(exponent + 127) << 23 | (static_cast<uint32_t>(s) << (24 - kBits) & 0x007fffff);
}

uint32_t reciprocal(uint32_t x) {
  const uint32_t sign = x & kSign, magnitude = x & ~kSign;
  if (magnitude > kInfinity) return x | kQuiet;
  if (magnitude == kInfinity) return sign;
  if (magnitude < 0x00800000) return sign | kInfinity;
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  const uint64_t m = (magnitude & 0x007fffff) | 0x00800000;  // 2^23 times a value in [1, 2)
  // 1/m is in (1/2, 1]: scaled so that the quotient has kBits + 1 bits, or is 2^(kBits+1) for m = 1.
  return rounded(sign, -exponent - 1, (uint64_t{1} << (23 + kBits + 1)) / m);
}

uint64_t integer_root(uint64_t v) {
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << (kBits + 1); bit; bit >>= 1)
    if ((root | bit) * (root | bit) <= v) root |= bit;
  return root;
}

uint32_t reciprocal_root(uint32_t x) {
  const uint32_t sign = x & kSign, magnitude = x & ~kSign;
  if (magnitude > kInfinity) return x | kQuiet;
  if (magnitude < 0x00800000) return sign | kInfinity;
  if (sign) return kIndefinite;
  if (magnitude == kInfinity) return 0;
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  const int half = exponent >> 1;  // floor
  // x = m * 2^(2 * half), m in [1, 4): 1/sqrt(m) is in (1/2, 1].
  const uint64_t m = uint64_t{(magnitude & 0x007fffff) | 0x00800000} << (exponent & 1);
  return rounded(0, -half - 1, integer_root((uint64_t{1} << (23 + 2 * (kBits + 1))) / m));
}

template <class F>
void each_lane(Cpu& c, const Decoded& d, F f) {
  xmm_op(c, d, [&](Vec, Vec b) {
    Lanes<uint32_t> r(b);
    for (uint32_t& v : r.v) v = f(v);
    return static_cast<Vec>(r);
  });
}
template <class F>
void lowest_lane(Cpu& c, const Decoded& d, F f) {
  xmm_op<4>(c, d, [&](Vec a, Vec b) {
    Lanes<uint32_t> r(a);
    r[0] = f(Lanes<uint32_t>(b)[0]);
    return static_cast<Vec>(r);
  });
}

}  // namespace

void exec_rcpps(Cpu& c, const Decoded& d) { each_lane(c, d, reciprocal); }
void exec_rcpss(Cpu& c, const Decoded& d) { lowest_lane(c, d, reciprocal); }
void exec_rsqrtps(Cpu& c, const Decoded& d) { each_lane(c, d, reciprocal_root); }
void exec_rsqrtss(Cpu& c, const Decoded& d) { lowest_lane(c, d, reciprocal_root); }

}  // namespace dejavm::soft
