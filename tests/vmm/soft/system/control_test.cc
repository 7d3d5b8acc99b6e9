// What enables long mode, what holds interrupts back for an instruction, and BMI2's bits. Sources: SDM vol. 3, 9.8.5;
// vol. 2, MOV, POP, PDEP, PEXT.
#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

// MOV CR0, RAX with paging on.
std::string enable_paging(Machine& t) {
  t.c.r[kRax] = t.c.s.cr0 | kCr0PG;
  return t.outcome("\x0f\x22\xc0"sv);
}

Machine before_long_mode() {
  Machine t(Mode::kProtected);
  t.c.s.efer |= kEferLME;
  t.c.s.cr4 |= kCr4PAE;
  t.c.s.cr3 = TestCpu::kPageTables;
  return t;
}

TEST(LongMode, IsEnteredWithPae) {
  Machine t = before_long_mode();
  EXPECT_EQ(enable_paging(t), "ok");
  EXPECT_TRUE(t.c.s.efer & kEferLMA);
  Machine without = before_long_mode();
  without.c.s.cr4 &= ~kCr4PAE;
  EXPECT_EQ(enable_paging(without), "#GP(0)");
  EXPECT_FALSE(without.c.s.efer & kEferLMA);
}

TEST(LongMode, IsNotEnteredFromA64BitSegmentOrWithA16BitTss) {
  Machine wide = before_long_mode();
  wide.c.s.segment[kCs].attributes |= kSegL;
  EXPECT_EQ(enable_paging(wide), "#GP(0)");
  for (const unsigned type : {1u, 3u}) {
    Machine old = before_long_mode();
    old.c.s.segment[kTr].attributes = static_cast<uint16_t>(0x80 | type);
    EXPECT_EQ(enable_paging(old), "#GP(0)") << type;
  }
}

TEST(Shadow, FollowsALoadOfSsAlone) {
  Machine t(Mode::kProtected);
  t.c.r[kRax] = Machine::kData0;
  EXPECT_EQ(t.outcome("\x8e\xd0"sv), "ok");  // mov ss, ax
  EXPECT_TRUE(t.c.s.movss_shadow);
  t.c.s.movss_shadow = false;
  EXPECT_EQ(t.outcome("\x8e\xd8"sv), "ok");  // mov ds, ax
  EXPECT_FALSE(t.c.s.movss_shadow);
  EXPECT_EQ(t.outcome("\x50"sv), "ok");  // push eax
  EXPECT_EQ(t.outcome("\x17"sv), "ok");  // pop ss
  EXPECT_TRUE(t.c.s.movss_shadow);
  t.c.s.movss_shadow = false;
  EXPECT_EQ(t.outcome("\x50"sv), "ok");
  EXPECT_EQ(t.outcome("\x1f"sv), "ok");  // pop ds
  EXPECT_FALSE(t.c.s.movss_shadow);
}

TEST(Bmi2, DepositsAndExtractsBits) {
  Machine t(Mode::kLong);
  t.c.model = find_cpu_model("dejavm-v2");
  const struct {
    uint64_t value, mask, deposited, extracted;
  } kCases[] = {
      {0, ~uint64_t{0}, 0, 0},
      {0xffff, 0, 0, 0},
      {0b1011, 0b1101'0010, 0b1001'0010, 0b0001},
      {0x1234'5678'9abc'def0, 0xff00'ff00'ff00'ff00, 0x9a00'bc00'de00'f000, 0x1256'9ade},
      {~uint64_t{0}, 0x8000'0000'0000'0001, 0x8000'0000'0000'0001, 3},
  };
  for (const auto& [value, mask, deposited, extracted] : kCases) {
    t.c.r[kRbx] = value;
    t.c.r[kRcx] = mask;
    ASSERT_EQ(t.outcome("\xc4\xe2\xe3\xf5\xc1"sv), "ok");  // pdep rax, rbx, rcx
    EXPECT_EQ(t.c.r[kRax], deposited) << std::hex << value << " " << mask;
    ASSERT_EQ(t.outcome("\xc4\xe2\xe2\xf5\xc1"sv), "ok");  // pext rax, rbx, rcx
    EXPECT_EQ(t.c.r[kRax], extracted) << std::hex << value << " " << mask;
  }
}

// VCMPPS xmm0, xmm1, xmm2 with the predicates that only AVX has: MXCSR.DAZ makes denormals equal to zero, and keeps
// their sign and all other numbers.
TEST(AvxCompare, TakesDenormalsForZeroWhereTheyAre) {
  constexpr uint64_t kOnes = ~uint64_t{0}, kDenormal = 0x00000001'80000001, kTwoOnes = 0x3f800000'3f800000;
  for (const bool daz : {false, true}) {
    Machine t(Mode::kLong);
    t.c.model = find_cpu_model("dejavm-v2");
    t.c.s.cr4 |= kCr4OSXSAVE;
    t.c.s.xcr0 = 7;
    t.c.s.fpu.mxcsr = 0x1f80 | (daz ? 0x40 : 0);
    t.c.s.fpu.xmm[1].q = {kDenormal, kTwoOnes};
    t.c.s.fpu.xmm[2].q = {0, 0};
    ASSERT_EQ(t.outcome("\xc5\xf0\xc2\xc2\x08"sv), "ok");  // equal or unordered
    EXPECT_EQ(t.c.s.fpu.xmm[0].q[0], daz ? kOnes : 0);
    EXPECT_EQ(t.c.s.fpu.xmm[0].q[1], 0u);
    t.c.s.fpu.xmm[2].q = {kDenormal, kTwoOnes};
    ASSERT_EQ(t.outcome("\xc5\xf0\xc2\xc2\x08"sv), "ok");
    EXPECT_EQ(t.c.s.fpu.xmm[0].q[0], kOnes);
    EXPECT_EQ(t.c.s.fpu.xmm[0].q[1], kOnes);
  }
}

}  // namespace
}  // namespace dejavm::soft
