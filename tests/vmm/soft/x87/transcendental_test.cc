// The transcendental instructions against MPFR, which computes them to 300 bits: the error is at most half a unit in
// the last place and a thousandth of one (to the nearest), or one and a thousandth (the other roundings). And against
// the host's own processor, which Intel and AMD promise to be within one unit. Angles are reduced by the 66-bit pi of
// SDM vol. 1, 8.3.8.
#include <mpfr.h>

#include <cmath>
#include <random>

#include "tests/vmm/soft/fixture.h"

namespace dejavm::soft {
namespace {

struct Ten {
  uint64_t mantissa = 0;
  uint16_t exponent = 0;
};

class Big {
 public:
  Big() { mpfr_init2(v_, 300); }
  explicit Big(double d) : Big() { mpfr_set_d(v_, d, MPFR_RNDN); }
  explicit Big(Ten t) : Big() {
    mpfr_set_ui(v_, t.mantissa, MPFR_RNDN);
    mpfr_mul_2si(v_, v_, (t.exponent & 0x7fff) - 16383 - 63, MPFR_RNDN);
    if (t.exponent & 0x8000) mpfr_neg(v_, v_, MPFR_RNDN);
  }
  Big(const Big& o) : Big() { mpfr_set(v_, o.v_, MPFR_RNDN); }
  ~Big() { mpfr_clear(v_); }
  Big& operator=(const Big& o) {
    mpfr_set(v_, o.v_, MPFR_RNDN);
    return *this;
  }
  mpfr_t& get() { return v_; }

 private:
  mpfr_t v_;
};

// What it should be, in units of the last place of what it is.
double error_in_ulps(Ten is, Big should) {
  Big unit(Ten{uint64_t{1} << 63, static_cast<uint16_t>(is.exponent & 0x7fff)}), difference(is);
  mpfr_div_2si(unit.get(), unit.get(), 63, MPFR_RNDN);
  mpfr_sub(difference.get(), difference.get(), should.get(), MPFR_RNDN);
  mpfr_div(difference.get(), difference.get(), unit.get(), MPFR_RNDN);
  return std::fabs(mpfr_get_d(difference.get(), MPFR_RNDN));
}

// sin or cos of x, after quarter turns of Intel's pi have been taken away.
Big turned(Ten x, bool cosine) {
  Big quarter(Ten{0xc90fdaa22168c234, 16383}), low(Ten{uint64_t{0xc} << 60, static_cast<uint16_t>(16383 - 64)}),
      angle(x), n;
  mpfr_add(quarter.get(), quarter.get(), low.get(), MPFR_RNDN);
  mpfr_div(n.get(), angle.get(), quarter.get(), MPFR_RNDN);
  mpfr_round(n.get(), n.get());
  mpfr_mul(quarter.get(), quarter.get(), n.get(), MPFR_RNDN);
  mpfr_sub(angle.get(), angle.get(), quarter.get(), MPFR_RNDN);
  const auto quadrant = static_cast<unsigned>(mpfr_get_si(n.get(), MPFR_RNDN)) + (cosine ? 1 : 0);
  Big out;
  (quadrant & 1 ? mpfr_cos : mpfr_sin)(out.get(), angle.get(), MPFR_RNDN);
  if (quadrant & 2) mpfr_neg(out.get(), out.get(), MPFR_RNDN);
  return out;
}
Big logarithm(Ten y, Big x) {
  Big factor(y);
  mpfr_log2(x.get(), x.get(), MPFR_RNDN);
  mpfr_mul(x.get(), x.get(), factor.get(), MPFR_RNDN);
  return x;
}

using Native = void (*)(const void* y, const void* x, void* result);
#define DEJAVM_NATIVE(name, text)                                                                     \
  void name(const void* y, const void* x, void* result) {                                             \
    asm volatile("fldt %1\n\tfldt %2\n\t" text "\n\tfstpt %0\n\tfninit"                               \
                 : "=m"(*static_cast<long double*>(result))                                           \
                 : "m"(*static_cast<const long double*>(y)), "m"(*static_cast<const long double*>(x)) \
                 : "memory");                                                                         \
  }
DEJAVM_NATIVE(native_fsin, "fsin")
DEJAVM_NATIVE(native_fcos, "fcos")
DEJAVM_NATIVE(native_fptan, "fptan\n\tfstp %%st(0)")
DEJAVM_NATIVE(native_f2xm1, "f2xm1")
DEJAVM_NATIVE(native_fyl2x, "fyl2x")
DEJAVM_NATIVE(native_fyl2xp1, "fyl2xp1")
DEJAVM_NATIVE(native_fpatan, "fpatan")
#undef DEJAVM_NATIVE

struct Function {
  const char* name;
  std::string_view code;
  int least, most;        // of the argument's exponent
  bool negative, second;  // may be; takes ST(1) too
  bool pushes;            // FPTAN's 1.0
  Native native;
  Big (*exact)(Ten y, Ten x);
  double native_ulps;  // how far the host may be from us
};

// The host's trigonometric instructions agree only where little is lost in the reduction: small angles are compared.
const Function kFunctions[] = {
    {"fsin", "\xd9\xfe", -60, 62, true, false, false, native_fsin, [](Ten, Ten x) { return turned(x, false); }, 1.6},
    {"fcos", "\xd9\xff", -60, 62, true, false, false, native_fcos, [](Ten, Ten x) { return turned(x, true); }, 1.6},
    {"fptan", "\xd9\xf2", -60, 62, true, false, true, native_fptan,
     [](Ten, Ten x) {
       Big s = turned(x, false), c = turned(x, true);
       mpfr_div(s.get(), s.get(), c.get(), MPFR_RNDN);
       return s;
     },
     1.6},
    {"f2xm1", "\xd9\xf0", -70, -1, true, false, false, native_f2xm1,
     [](Ten, Ten x) {
       Big t(x), ln2;
       mpfr_const_log2(ln2.get(), MPFR_RNDN);
       mpfr_mul(t.get(), t.get(), ln2.get(), MPFR_RNDN);
       mpfr_expm1(t.get(), t.get(), MPFR_RNDN);
       return t;
     },
     1.6},
    {"fyl2x", "\xd9\xf1", -16000, 16000, false, true, false, native_fyl2x,
     [](Ten y, Ten x) { return logarithm(y, Big(x)); }, 1.6},
    {"fyl2x near 1", "\xd9\xf1", -1, 0, false, true, false, native_fyl2x,
     [](Ten y, Ten x) { return logarithm(y, Big(x)); }, 1.6},
    {"fyl2xp1", "\xd9\xf9", -70, -3, true, true, false, native_fyl2xp1,
     [](Ten y, Ten x) {
       Big t(x), one(1.0);
       mpfr_add(t.get(), t.get(), one.get(), MPFR_RNDN);
       return logarithm(y, t);
     },
     1.6},
    {"fpatan", "\xd9\xf3", -100, 100, true, true, false, native_fpatan,
     [](Ten y, Ten x) {
       Big a(y), b(x);
       mpfr_atan2(a.get(), a.get(), b.get(), MPFR_RNDN);
       return a;
     },
     1.6},
};

class Transcendental : public testing::TestWithParam<size_t> {
 protected:
  Ten run(const Function& f, Ten y, Ten x, unsigned rounding) {
    FpuState& s = t_.c.s.fpu;
    s = FpuState{};
    s.fcw = static_cast<uint16_t>(0x37f | rounding << 10);
    s.fsw = 6 << 11;
    s.ftw = 0xc0;
    s.st_mantissa[6] = x.mantissa;
    s.st_exponent[6] = x.exponent;
    s.st_mantissa[7] = y.mantissa;
    s.st_exponent[7] = y.exponent;
    t_.c.rip = TestCpu::kCode;
    EXPECT_FALSE(t_.run(f.code));
    const unsigned top = s.fsw >> 11 & 7, at = f.pushes ? (top + 1) & 7 : top;
    return {s.st_mantissa[at], s.st_exponent[at]};
  }
  Ten argument(int least, int most, bool negative) {
    std::uniform_int_distribution<int> exponent(least, most);
    // Full mantissas, and ones with few bits, near the ends of their binade.
    uint64_t m = random_() | uint64_t{1} << 63;
    if (random_() % 4 == 0)
      m = (random_() & 1 ? ~uint64_t{0} : uint64_t{1} << 63) ^ (random_() >> 1 >> (random_() % 63));
    return {m | uint64_t{1} << 63,
            static_cast<uint16_t>((16383 + exponent(random_)) | (negative && (random_() & 1) ? 0x8000 : 0))};
  }
  TestCpu t_;
  std::mt19937_64 random_{19};
};

TEST_P(Transcendental, IsWithinItsErrorOfMpfr) {
  const Function& f = kFunctions[GetParam()];
  double worst[4] = {}, from_host = 0;
  for (int n = 0; n < 6000; ++n) {
    const Ten x = argument(f.least, f.most, f.negative), y = argument(-50, 50, true);
    const unsigned rounding = static_cast<unsigned>(n) & 3;
    const Ten is = run(f, y, x, rounding);
    const Big should = f.exact(y, x);
    if ((is.exponent & 0x7fff) < 100) continue;  // no units to speak of
    const double error = error_in_ulps(is, should);
    worst[rounding] = std::max(worst[rounding], error);
    ASSERT_LE(error, rounding == 0 ? 0.501 : 1.001)
        << f.name << " of " << std::hex << x.exponent << ':' << x.mantissa << ", " << y.exponent << ':' << y.mantissa
        << ", rounding " << rounding;
    if (rounding != 0 || (f.least == -60 && (x.exponent & 0x7fff) >= 16383)) continue;
    alignas(16) unsigned char in[2][16] = {}, out[16] = {};
    std::memcpy(in[0], &y, 10);
    std::memcpy(in[1], &x, 10);
    f.native(in[0], in[1], out);
    Ten host;
    std::memcpy(&host.mantissa, out, 8);
    std::memcpy(&host.exponent, out + 8, 2);
    from_host = std::max(from_host, error_in_ulps(host, Big(is)));
  }
  EXPECT_LE(from_host, f.native_ulps) << f.name;
  RecordProperty("worst_ulps", std::to_string(worst[0]));
  std::printf("%s: %.4f units to the nearest, %.4f otherwise; the host's processor is within %.2f of it\n", f.name,
              worst[0], std::max({worst[1], worst[2], worst[3]}), from_host);
}

// Of neighbours the results do not fall where the function rises, nor rise where it falls.
TEST_P(Transcendental, IsMonotonic) {
  const Function& f = kFunctions[GetParam()];
  for (int n = 0; n < 2500; ++n) {
    Ten x = argument(f.least, std::min(f.most, 8), f.negative);
    const Ten y = argument(0, 0, false);
    if (x.mantissa > ~uint64_t{4}) x.mantissa -= 4;
    std::vector<Big> values, exact;
    for (uint64_t k = 0; k < 4; ++k) {
      const Ten at{x.mantissa + k, x.exponent};
      values.emplace_back(run(f, y, at, 0));
      exact.push_back(f.exact(y, at));
    }
    for (size_t k = 1; k < values.size(); ++k) {
      const int is = mpfr_cmp(values[k].get(), values[k - 1].get()),
                should = mpfr_cmp(exact[k].get(), exact[k - 1].get());
      ASSERT_FALSE((is > 0 && should < 0) || (is < 0 && should > 0))
          << f.name << " of " << std::hex << x.exponent << ':' << x.mantissa;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Transcendental, testing::Range(size_t{0}, std::size(kFunctions)));

}  // namespace
}  // namespace dejavm::soft
