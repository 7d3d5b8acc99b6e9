// FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1. Processors differ in the last bits of these, so they are
// ours: series in IEEE binary128 with add, subtract, multiply and divide only (exact operations, so the same bits from
// every compiler and host), rounded once to 64 bits. Special operands (empty, NaN, infinity, zero, unsupported, out of
// range) have one defined answer and go to the host. Arguments of the trigonometric ones are reduced by Intel's 66-bit
// pi (SDM vol. 1, 8.3.8), exactly. The error is at most 0.501 units in the last place to the nearest and 1.001
// otherwise, shown against MPFR (tests/vmm/soft/x87). C1 tells whether the result was rounded up in magnitude.
//
// Unmasked overflow and underflow give the masked response, with ES set.
#include "vmm/soft/x87/state.h"

namespace dejavm::soft {
namespace {

using namespace x87;
using Quad = __float128;
using U128 = unsigned __int128;

constexpr unsigned kBias = 16383, kExtra = 49;  // fraction bits of Quad beyond those of 80-bit reals

Quad from_bits(U128 bits) {
  Quad q;
  std::memcpy(&q, &bits, 16);
  return q;
}
U128 bits_of(Quad q) {
  U128 bits;
  std::memcpy(&bits, &q, 16);
  return bits;
}
constexpr U128 wide(uint64_t high, uint64_t low) { return U128{high} << 64 | low; }

const Quad kPi = from_bits(wide(0x4000921fb54442d1, 0x8469898cc51701b8));
const Quad kLn2 = from_bits(wide(0x3ffe62e42fefa39e, 0xf35793c7673007e6));

Quad quad(Ten t) {
  const unsigned exponent = t.exponent & 0x7fff;
  const U128 significand = U128{t.mantissa} << kExtra;
  const U128 sign = U128{static_cast<unsigned>(t.exponent >> 15)} << 127;
  // Without an exponent the integer bit, where it is set, counts as exponent 1: as it should.
  if (exponent == 0) return from_bits(sign | significand);
  return from_bits(sign | U128{exponent} << 112 | (significand & ((U128{1} << 112) - 1)));
}

struct Rounded {
  Ten value;
  uint16_t flags;
};

Rounded round(Quad q, unsigned rounding) {
  const U128 bits = bits_of(q);
  const bool negative = bits >> 127 & 1;
  unsigned exponent = static_cast<unsigned>(bits >> 112) & 0x7fff;
  const uint16_t sign = negative ? 0x8000 : 0;
  const bool away = rounding == 1 ? negative : rounding == 2 ? !negative : false;
  if (exponent == 0x7fff) {
    if (rounding == 0 || away) return {{uint64_t{1} << 63, static_cast<uint16_t>(sign | 0x7fff)}, kOE | kPE | kC1};
    return {{~uint64_t{0}, static_cast<uint16_t>(sign | 0x7ffe)}, kOE | kPE};
  }
  U128 significand = bits & ((U128{1} << 112) - 1);
  if (exponent != 0) significand |= U128{1} << 112;
  const uint64_t rest = static_cast<uint64_t>(significand) & ((uint64_t{1} << kExtra) - 1),
                 half = uint64_t{1} << (kExtra - 1);
  uint64_t mantissa = static_cast<uint64_t>(significand >> kExtra);
  const bool up = rounding == 0 ? rest > half || (rest == half && (mantissa & 1)) : away && rest != 0;
  uint16_t flags = rest ? kPE : 0;
  if (rest && !(mantissa >> 63)) flags |= kUE;
  if (up) {
    flags |= kC1;
    if (++mantissa == 0) {
      mantissa = uint64_t{1} << 63;
      ++exponent;
    }
  }
  if (exponent == 0 && mantissa >> 63) exponent = 1;
  if (exponent == 0x7fff) return {{uint64_t{1} << 63, static_cast<uint16_t>(sign | 0x7fff)}, kOE | kPE | kC1};
  return {{mantissa, static_cast<uint16_t>(sign | exponent)}, flags};
}

Quad magnitude(Quad q) { return from_bits(bits_of(q) << 1 >> 1); }

// sum of t^(2k+1) / (2k+1), signs alternating or not: atan and atanh. |t| <= 0.42.
Quad odd_series(Quad t, bool alternating) {
  const Quad square = alternating ? -t * t : t * t;
  Quad sum = 0;
  for (int k = 47; k > 0; --k) sum = square * (sum + Quad(1) / Quad(2 * k + 1));
  return t + t * sum;
}

// sum of t^k / k! from k = 1. |t| <= 0.7.
Quad exponential_less_one(Quad t) {
  Quad sum = 0;
  for (int k = 34; k > 1; --k) sum = (sum + 1) * t / Quad(k);
  return t + t * sum;
}

// |t| <= pi/4 and a little.
Quad sine(Quad t) {
  const Quad square = t * t;
  Quad sum = 0;
  for (int k = 17; k > 0; --k) sum = -(sum + 1) * square / Quad(2 * k * (2 * k + 1));
  return t + t * sum;
}
Quad cosine(Quad t) {
  const Quad square = t * t;
  Quad sum = 0;
  for (int k = 18; k > 0; --k) sum = -(sum + 1) * square / Quad(2 * k * (2 * k - 1));
  return 1 + sum;
}

Quad log2_of(Ten x) {
  int exponent = (x.exponent & 0x7fff) - static_cast<int>(kBias);
  uint64_t mantissa = x.mantissa;
  if ((x.exponent & 0x7fff) == 0) exponent = 1 - static_cast<int>(kBias);
  while (!(mantissa >> 63)) {
    mantissa <<= 1;
    --exponent;
  }
  Quad m = quad({mantissa, kBias});
  if (mantissa > 0xb504f333f9de6484) {
    m = m / 2;
    ++exponent;
  }
  return Quad(exponent) + 2 * odd_series((m - 1) / (m + 1), false) / kLn2;
}

Quad log2_of_one_plus(Quad x) {
  if (magnitude(x) < Quad(0.29)) return 2 * odd_series(x / (2 + x), false) / kLn2;
  const Rounded r = round(1 + x, 0);
  // What rounding to 64 bits lost: log2(1 + d) of the quotient.
  const Quad kept = quad(r.value), rest = (1 + x - kept) / kept;
  return log2_of(r.value) + rest / kLn2;
}

// Angle modulo pi/2 (66-bit pi), to the nearest; the quotient's low two bits.
struct Reduced {
  Quad angle;
  unsigned quadrant;
};
Reduced reduce(Ten x) {
  constexpr U128 kHalfPi = (U128{0xC} << 64) | 0x90FDAA22168C234C;  // pi/2 * 2^67
  const int shift = static_cast<int>(x.exponent & 0x7fff) - static_cast<int>(kBias) - 63 + 67;
  if (shift < 0) return {quad({x.mantissa, static_cast<uint16_t>(x.exponent & 0x7fff)}), 0};  // below 2^-3
  U128 rest = x.mantissa;
  unsigned quotient = 0;
  for (int n = 0; n < shift; ++n) {
    rest <<= 1;
    quotient <<= 1;
    if (rest >= kHalfPi) {
      rest -= kHalfPi;
      ++quotient;
    }
  }
  const bool beyond = rest > kHalfPi / 2;
  const U128 distance = beyond ? kHalfPi - rest : rest;
  Quad angle = Quad(static_cast<uint64_t>(distance >> 64)) * Quad(18446744073709551616.0) +
               Quad(static_cast<uint64_t>(distance));
  angle = angle * from_bits(U128{kBias - 67} << 112);
  return {beyond ? -angle : angle, (quotient + (beyond ? 1 : 0)) & 3};
}

Quad sine_of(const Reduced& r, bool negative, unsigned quarter_turns) {
  const unsigned q = (r.quadrant + quarter_turns) & 3;
  Quad v = q & 1 ? cosine(r.angle) : sine(r.angle);
  if (q & 2) v = -v;
  return negative ? -v : v;
}

Quad arctangent(Quad y, Quad x) {
  const Quad ay = magnitude(y), ax = magnitude(x);
  const bool steep = ay > ax;
  const Quad t = steep ? ax / ay : ay / ax;
  Quad a = t > Quad(0.41) ? kPi / 4 + odd_series((t - 1) / (t + 1), true) : odd_series(t, true);
  if (steep) a = kPi / 2 - a;
  if (x < 0) a = kPi - a;
  return y < 0 ? -a : a;
}

// --- the instructions ---

Ten get(const FpuState& f, unsigned st) {
  const unsigned p = physical(f, st);
  return {f.st_mantissa[p], f.st_exponent[p]};
}
void put(FpuState& f, unsigned st, Ten t) {
  const unsigned p = physical(f, st);
  f.st_mantissa[p] = t.mantissa;
  f.st_exponent[p] = t.exponent;
  f.ftw |= static_cast<uint8_t>(1 << p);
}

// Finite, not zero, and a supported format.
bool ordinary(const FpuState& f, unsigned st) {
  if (is_empty(f, st)) return false;
  const Ten t = get(f, st);
  const unsigned exponent = t.exponent & 0x7fff;
  return t.mantissa != 0 && exponent != 0x7fff && (exponent == 0 || t.mantissa >> 63);
}
bool denormal(const FpuState& f, unsigned st) { return (get(f, st).exponent & 0x7fff) == 0; }

unsigned rounding(const FpuState& f) { return f.fcw >> 10 & 3; }

void by_host(Cpu& c, const Decoded& d) {
  uint8_t flags = 0;
  run_on_host(c.s.fpu, static_cast<uint8_t>(d.opcode), d.modrm, nullptr, flags);
}

// Clears C1 and records a denormal operand. False: that is unmasked, and the instruction ends.
bool begin(FpuState& f, bool has_denormal) {
  f.fsw &= static_cast<uint16_t>(~kC1);
  if (has_denormal) f.fsw |= x87::kDE;
  update_summary(f);
  return !has_denormal || (f.fcw & x87::kDE);
}

void record(FpuState& f, const Rounded& r) {
  f.fsw |= r.flags;
  update_summary(f);
}

void pop(FpuState& f) {
  f.ftw &= static_cast<uint8_t>(~(1u << physical(f, 0)));
  f.fsw = static_cast<uint16_t>((f.fsw & ~kTop) | (((top(f) + 1) & 7) << 11));
}
void push(FpuState& f, Ten t) {
  f.fsw = static_cast<uint16_t>((f.fsw & ~kTop) | (((top(f) + 7) & 7) << 11));
  put(f, 0, t);
}

// ST(0) = f(ST(0)), where `takes` tells which ordinary operands are ours.
template <class Takes, class F>
void unary(Cpu& c, const Decoded& d, Takes takes, F compute) {
  check_x87(c, true);
  note_instruction(c, d);
  FpuState& f = c.s.fpu;
  if (!ordinary(f, 0) || !takes(get(f, 0))) return by_host(c, d);
  f.fsw &= static_cast<uint16_t>(~kC2);
  if (!begin(f, denormal(f, 0))) return;
  const Rounded r = round(compute(get(f, 0)), rounding(f));
  put(f, 0, r.value);
  record(f, r);
}

// ST(1) = f(ST(1), ST(0)); pop.
template <class Takes, class F>
void binary(Cpu& c, const Decoded& d, Takes takes, F compute) {
  check_x87(c, true);
  note_instruction(c, d);
  FpuState& f = c.s.fpu;
  if (!ordinary(f, 0) || !ordinary(f, 1) || !takes(get(f, 0))) return by_host(c, d);
  if (!begin(f, denormal(f, 0) || denormal(f, 1))) return;
  const Rounded r = round(compute(get(f, 1), get(f, 0)), rounding(f));
  put(f, 1, r.value);
  pop(f);
  record(f, r);
}

constexpr auto kAny = [](Ten) { return true; };
constexpr auto kBelow63 = [](Ten t) { return (t.exponent & 0x7fff) < kBias + 63; };
bool negative(Ten t) { return t.exponent >> 15; }

// Two results: the first replaces ST(0), the second is pushed.
template <class F>
void two_results(Cpu& c, const Decoded& d, F compute) {
  check_x87(c, true);
  note_instruction(c, d);
  FpuState& f = c.s.fpu;
  if (!ordinary(f, 0) || !kBelow63(get(f, 0)) || !is_empty(f, 7)) return by_host(c, d);
  f.fsw &= static_cast<uint16_t>(~kC2);
  if (!begin(f, denormal(f, 0))) return;
  const Ten x = get(f, 0);
  const auto [first, second] = compute(reduce(x), negative(x));
  const Rounded a = round(first, rounding(f)), b = round(second, rounding(f));
  put(f, 0, a.value);
  push(f, b.value);
  record(f, a);
  record(f, b);
}

}  // namespace

void exec_fsin(Cpu& c, const Decoded& d) {
  unary(c, d, kBelow63, [](Ten x) { return sine_of(reduce(x), negative(x), 0); });
}
void exec_fcos(Cpu& c, const Decoded& d) {
  unary(c, d, kBelow63, [](Ten x) { return sine_of(reduce(x), false, 1); });
}
void exec_fsincos(Cpu& c, const Decoded& d) {
  two_results(c, d, [](const Reduced& r, bool negative) {
    return std::pair{sine_of(r, negative, 0), sine_of(r, false, 1)};
  });
}
void exec_fptan(Cpu& c, const Decoded& d) {
  two_results(c, d, [](const Reduced& r, bool negative) {
    return std::pair{sine_of(r, negative, 0) / sine_of(r, false, 1), Quad(1)};
  });
}

// Beyond -1 to 1, where the manuals leave the result undefined, ST(0) stays as it is.
void exec_f2xm1(Cpu& c, const Decoded& d) {
  unary(c, d, kAny, [](Ten x) {
    const Quad q = quad(x);
    return magnitude(q) <= 1 ? exponential_less_one(q * kLn2) : q;
  });
}

void exec_fyl2x(Cpu& c, const Decoded& d) {
  binary(
      c, d, [](Ten x) { return !negative(x); }, [](Ten y, Ten x) { return quad(y) * log2_of(x); });
}

// At -1 and below, where the manuals leave the result undefined, x stands for log2(1 + x).
void exec_fyl2xp1(Cpu& c, const Decoded& d) {
  binary(c, d, kAny, [](Ten y, Ten x) {
    const Quad q = quad(x);
    return quad(y) * (q > -1 ? log2_of_one_plus(q) : q);
  });
}

void exec_fpatan(Cpu& c, const Decoded& d) {
  binary(c, d, kAny, [](Ten y, Ten x) { return arctangent(quad(y), quad(x)); });
}

}  // namespace dejavm::soft
