// RCPxx and RSQRTxx: our values, so judged by the bound that SDM vol. 2 gives, by its special values, and by a
// digest.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tests/vmm/soft/fixture.h"

namespace dejavm::soft {
namespace {

constexpr double kBound = 1.5 / 4096;

struct Approximate : testing::Test {
  TestCpu t;
  Decoded d;
  Approximate() {
    d.operands[0] = {OperandKind::kXmm, 1, 16};
    d.operands[1] = {OperandKind::kXmm, 2, 16};
    d.operand_count = 2;
  }
  uint32_t scalar(ExecFn f, uint32_t x) {
    t.c.s.fpu.xmm[2].q[0] = x;
    f(t.c, d);
    return static_cast<uint32_t>(t.c.s.fpu.xmm[1].q[0]);
  }
  uint32_t rcp(uint32_t x) { return scalar(exec_rcpss, x); }
  uint32_t rsqrt(uint32_t x) { return scalar(exec_rsqrtss, x); }
};

double value(uint32_t x) { return std::bit_cast<float>(x); }

TEST_F(Approximate, ReciprocalIsWithinTheBoundForEveryExponent) {
  double worst = 0;
  for (uint32_t exponent = 1; exponent <= 252; ++exponent)  // above, results reach the denormals
    for (uint32_t fraction = 0; fraction < 1u << 23; fraction += 1009) {
      const uint32_t x = exponent << 23 | fraction;
      worst = std::max(worst, std::abs(value(rcp(x)) * value(x) - 1));
    }
  EXPECT_LT(worst, kBound);
  EXPECT_LE(worst, 1.0 / 8192);
}

TEST_F(Approximate, ReciprocalRootIsWithinTheBoundForEveryExponent) {
  double worst = 0;
  for (uint32_t exponent = 1; exponent <= 254; ++exponent)
    for (uint32_t fraction = 0; fraction < 1u << 23; fraction += 4001) {
      const uint32_t x = exponent << 23 | fraction;
      worst = std::max(worst, std::abs(value(rsqrt(x)) * std::sqrt(value(x)) - 1));
    }
  EXPECT_LT(worst, kBound);
  EXPECT_LE(worst, 1.0 / 8192);
}

TEST_F(Approximate, ResultsNeverGrowWithTheOperand) {
  uint32_t r = 0x7f800000, s = 0x7f800000;
  for (uint32_t x = 0x3f800000; x < 0x40800000; x += 1) {
    const uint32_t r2 = rcp(x);
    ASSERT_LE(r2, r) << std::hex << x;
    r = r2;
    if (x % 16) continue;
    const uint32_t s2 = rsqrt(x);
    ASSERT_LE(s2, s) << std::hex << x;
    s = s2;
  }
}

TEST_F(Approximate, SpecialValuesOfTheReciprocal) {
  for (const uint32_t sign : {0u, 0x80000000u}) {
    EXPECT_EQ(rcp(sign), sign | 0x7f800000);
    EXPECT_EQ(rcp(sign | 1), sign | 0x7f800000);
    EXPECT_EQ(rcp(sign | 0x007fffff), sign | 0x7f800000);
    EXPECT_EQ(rcp(sign | 0x00800000), sign | 0x7e800000);
    EXPECT_EQ(rcp(sign | 0x3f800000), sign | 0x3f800000);
    EXPECT_EQ(rcp(sign | 0x40000000), sign | 0x3f000000);
    EXPECT_GE(rcp(sign | 0x7e7fe800), sign | 0x00800000);  // 1.11111111110100...b * 2^125 and below: not tiny
    EXPECT_EQ(rcp(sign | 0x7e800000), sign | 0x00800000);
    EXPECT_EQ(rcp(sign | 0x7e800c01), sign);  // 1.00000000000110000000001b * 2^126 and above: zero
    EXPECT_EQ(rcp(sign | 0x7f7fffff), sign);
    EXPECT_EQ(rcp(sign | 0x7f800000), sign);
    EXPECT_EQ(rcp(sign | 0x7f800001), sign | 0x7fc00001);
    EXPECT_EQ(rcp(sign | 0x7fc12345), sign | 0x7fc12345);
  }
}

TEST_F(Approximate, SpecialValuesOfTheReciprocalRoot) {
  EXPECT_EQ(rsqrt(0x00000000), 0x7f800000u);
  EXPECT_EQ(rsqrt(0x80000000), 0xff800000u);
  EXPECT_EQ(rsqrt(0x007fffff), 0x7f800000u);
  EXPECT_EQ(rsqrt(0x807fffff), 0xff800000u);
  EXPECT_EQ(rsqrt(0x80800000), 0xffc00000u);
  EXPECT_EQ(rsqrt(0xbf800000), 0xffc00000u);
  EXPECT_EQ(rsqrt(0xff800000), 0xffc00000u);
  EXPECT_EQ(rsqrt(0x7f800000), 0x00000000u);
  EXPECT_EQ(rsqrt(0x3f800000), 0x3f800000u);
  EXPECT_EQ(rsqrt(0x40800000), 0x3f000000u);
  EXPECT_EQ(rsqrt(0x7f800001), 0x7fc00001u);
  EXPECT_EQ(rsqrt(0xffc12345), 0xffc12345u);
}

TEST_F(Approximate, NoFlagIsRaisedAndMxcsrHasNoInfluence) {
  for (const uint32_t x : {0u, 1u, 0x00800000u, 0x3fc00000u, 0x7f7fffffu, 0x7f800001u, 0xbf800000u}) {
    const uint32_t r = rcp(x), s = rsqrt(x);
    EXPECT_EQ(t.c.s.fpu.mxcsr, 0x1f80u);
    for (const uint32_t mxcsr : {0u, 0x6000u, 0xffc0u}) {
      t.c.s.fpu.mxcsr = mxcsr;
      EXPECT_EQ(rcp(x), r);
      EXPECT_EQ(rsqrt(x), s);
      EXPECT_EQ(t.c.s.fpu.mxcsr, mxcsr);
      t.c.s.fpu.mxcsr = 0x1f80;
    }
  }
}

TEST_F(Approximate, PackedFormsAreFourScalarsAndScalarsKeepTheOtherLanes) {
  const std::array<uint32_t, 4> x = {0x40490fdb, 0xc0000001, 0x00000001, 0x7e800c01};
  for (const bool root : {false, true}) {
    std::array<uint32_t, 4> packed;
    std::memcpy(t.c.s.fpu.xmm[2].q.data(), x.data(), 16);
    (root ? exec_rsqrtps : exec_rcpps)(t.c, d);
    std::memcpy(packed.data(), t.c.s.fpu.xmm[1].q.data(), 16);
    for (unsigned i = 0; i < 4; ++i) {
      t.c.s.fpu.xmm[1].q = {0x1111111122222222, 0x3333333344444444};
      EXPECT_EQ(packed[i], root ? rsqrt(x[i]) : rcp(x[i]));
      EXPECT_EQ(t.c.s.fpu.xmm[1].q[0] >> 32, 0x11111111u);
      EXPECT_EQ(t.c.s.fpu.xmm[1].q[1], 0x3333333344444444u);
    }
  }
}

// Recordings depend on these bits: they never change.
TEST_F(Approximate, TheValuesAreFrozen) {
  uint64_t digest = 0xcbf29ce484222325;  // FNV-1a over 32-bit words
  for (uint64_t x = 0; x < uint64_t{1} << 32; x += 4093) {
    digest = (digest ^ rcp(static_cast<uint32_t>(x))) * 0x100000001b3;
    digest = (digest ^ rsqrt(static_cast<uint32_t>(x))) * 0x100000001b3;
  }
  EXPECT_EQ(digest, 0xb9cd8373671e0fd3u);
}

}  // namespace
}  // namespace dejavm::soft
