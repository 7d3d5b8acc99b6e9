// SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS; the tables that user code may read or not; what FXSAVE leaves alone.
// Sources: AMD APM vol. 2, 6.1; Intel SDM vol. 2, SYSENTER, SYSEXIT, SGDT, FXSAVE; vol. 3, 2.5 (UMIP).
#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

constexpr uint16_t kFlatCode32 = 0xc9b, kFlatCode64 = 0xa9b, kFlatStack = 0xc93, kForUsers = 0x60;

void expect_flat(const Machine& t, unsigned segment, uint16_t selector, uint16_t attributes) {
  const SegmentState& s = t.c.s.segment[segment];
  EXPECT_EQ(s.selector, selector);
  EXPECT_EQ(s.attributes, attributes);
  EXPECT_EQ(s.limit, 0xffffffff);
  EXPECT_EQ(s.base, 0u);
}

TEST(FastCall, SyscallIn64BitModeTakesItsSegmentsFromStar) {
  for (const Mode from : {Mode::kLong, Mode::kCompatibility}) {
    Machine t(from, 3);
    t.c.s.star = 0x00a3'0131'8765'4321;
    t.c.s.lstar = 0xffff'8000'0000'1000;
    t.c.s.cstar = 0xffff'8000'0000'2000;
    t.c.s.sfmask = kTF | kIF | kDF_;
    t.c.set_rflags(2 | kIF | kDF_ | kZF);
    const uint64_t next = t.c.rip + 2;
    ASSERT_EQ(t.outcome("\x0f\x05"sv), "ok");
    expect_flat(t, kCs, 0x130, kFlatCode64);
    expect_flat(t, kSs, 0x138, kFlatStack);
    EXPECT_EQ(t.c.cpl, 0u);
    EXPECT_EQ(t.c.rip, from == Mode::kLong ? t.c.s.lstar : t.c.s.cstar);
    EXPECT_EQ(t.c.r[kRcx], next);
    EXPECT_EQ(t.c.r[kR11], 2 | kIF | kDF_ | kZF);
    EXPECT_EQ(t.c.rflags(), 2 | kZF);
  }
}

TEST(FastCall, SyscallInProtectedModeGoesWhereStarSays) {
  Machine t(Mode::kProtected, 3);
  t.c.s.efer |= kEferSCE;
  t.c.s.star = 0x00a3'0131'0005'4321;
  t.c.set_rflags(2 | kIF | kZF);
  const uint64_t next = t.c.rip + 2;
  ASSERT_EQ(t.outcome("\x0f\x05"sv), "ok");
  expect_flat(t, kCs, 0x130, kFlatCode32);
  expect_flat(t, kSs, 0x138, kFlatStack);
  EXPECT_EQ(t.c.rip, 0x54321u);
  EXPECT_EQ(t.c.r[kRcx], next);
  EXPECT_EQ(t.c.rflags(), 2 | kZF);
}

TEST(FastCall, SysretGoesBackTo64Or32BitCode) {
  for (const bool to64 : {true, false}) {
    Machine t(Mode::kLong);
    t.c.s.star = 0x00a0'0130'0000'0000;
    t.c.r[kRcx] = 0x1'0000'5000;
    t.c.r[kR11] = 2 | kIF | kCF;
    ASSERT_EQ(t.outcome(to64 ? "\x48\x0f\x07"sv : "\x0f\x07"sv), "ok");
    expect_flat(t, kCs, to64 ? 0xb3 : 0xa3, (to64 ? kFlatCode64 : kFlatCode32) | kForUsers);
    expect_flat(t, kSs, 0xab, kFlatStack | kForUsers);
    EXPECT_EQ(t.c.cpl, 3u);
    EXPECT_EQ(t.c.rip, to64 ? 0x1'0000'5000u : 0x5000u);
    EXPECT_EQ(t.c.rflags(), 2 | kIF | kCF);
  }
  Machine user(Mode::kLong, 3);
  EXPECT_EQ(user.refused("\x48\x0f\x07"sv), "#GP(0)");
}

TEST(FastCall, WithoutSceThereIsNoSyscall) {
  Machine t(Mode::kLong, 3);
  t.c.s.efer &= ~kEferSCE;
  EXPECT_EQ(t.refused("\x0f\x05"sv), "#UD");
  Machine kernel(Mode::kLong);
  kernel.c.s.efer &= ~kEferSCE;
  EXPECT_EQ(kernel.refused("\x48\x0f\x07"sv), "#UD");
}

TEST(FastCall, SysenterAndSysexit) {
  Machine t(Mode::kProtected, 3);
  t.c.s.sysenter_cs = 0x133;
  t.c.s.sysenter_esp = 0x22000;
  t.c.s.sysenter_eip = 0x77000;
  t.c.set_rflags(2 | kIF | kCF);
  ASSERT_EQ(t.outcome("\x0f\x34"sv), "ok");
  expect_flat(t, kCs, 0x130, kFlatCode32);
  expect_flat(t, kSs, 0x138, kFlatStack);
  EXPECT_EQ(t.c.rip, 0x77000u);
  EXPECT_EQ(t.c.r[kRsp], 0x22000u);
  EXPECT_EQ(t.c.rflags(), 2 | kCF);

  t.c.r[kRcx] = 0x33000;
  t.c.r[kRdx] = 0x44000;
  ASSERT_EQ(t.outcome("\x0f\x35"sv), "ok");
  expect_flat(t, kCs, 0x143, kFlatCode32 | kForUsers);
  expect_flat(t, kSs, 0x14b, kFlatStack | kForUsers);
  EXPECT_EQ(t.c.rip, 0x44000u);
  EXPECT_EQ(t.c.r[kRsp], 0x33000u);
  EXPECT_EQ(t.refused("\x0f\x35"sv), "#GP(0)");
  t.c.s.sysenter_cs = 3;
  EXPECT_EQ(t.refused("\x0f\x34"sv), "#GP(0)");
  EXPECT_EQ(Machine(Mode::kLong).refused("\x0f\x34"sv), "#UD");
  EXPECT_EQ(Machine(Mode::kLong).refused("\x0f\x35"sv), "#UD");
}

TEST(FastCall, SwapgsIsForTheKernelIn64BitMode) {
  Machine t(Mode::kLong);
  t.c.set_segment_base(kGs, 0x1111);
  t.c.s.kernel_gs_base = 0x2222;
  ASSERT_EQ(t.outcome("\x0f\x01\xf8"sv), "ok");
  EXPECT_EQ(t.c.s.segment[kGs].base, 0x2222u);
  EXPECT_EQ(t.c.s.kernel_gs_base, 0x1111u);
  EXPECT_EQ(Machine(Mode::kLong, 3).refused("\x0f\x01\xf8"sv), "#GP(0)");
  EXPECT_EQ(Machine(Mode::kProtected).refused("\x0f\x01\xf8"sv), "#UD");
}

// SGDT, SIDT, SLDT, STR and SMSW: for all, unless UMIP keeps them from users.
TEST(Tables, CanBeReadByUsersWhereUmipIsOff) {
  for (const unsigned cpl : {0u, 3u})
    for (const bool umip : {false, true}) {
      const std::string wanted = umip && cpl == 3 ? "#GP(0)" : "ok";
      const auto fresh = [&] {
        Machine t(Mode::kLong, cpl);
        t.c.s.cr4 |= umip ? kCr4UMIP : 0;
        t.c.r[kRsi] = TestCpu::kData;
        return t;
      };
      Machine gdt = fresh();
      EXPECT_EQ(gdt.outcome("\x0f\x01\x06"sv), wanted);
      EXPECT_EQ(gdt.read<uint64_t>(TestCpu::kData + 2), wanted == "ok" ? Machine::kGdt : 0);
      Machine idt = fresh();
      EXPECT_EQ(idt.outcome("\x0f\x01\x0e"sv), wanted);
      EXPECT_EQ(idt.read<uint16_t>(TestCpu::kData), wanted == "ok" ? 0xfff : 0);
      EXPECT_EQ(fresh().outcome("\x0f\x00\x06"sv), wanted) << "SLDT";
      EXPECT_EQ(fresh().outcome("\x0f\x00\x0e"sv), wanted) << "STR";
      EXPECT_EQ(fresh().outcome("\x0f\x01\x26"sv), wanted) << "SMSW";
    }
}

// XMM0 to XMM15 in 64-bit mode, to XMM7 elsewhere; what is behind them stays.
TEST(Fxsave, WritesAsManyXmmRegistersAsThereAre) {
  for (const bool long64 : {true, false}) {
    Machine t(long64 ? Mode::kLong : Mode::kProtected);
    t.c.r[kRsi] = TestCpu::kData;
    for (unsigned n = 0; n < 512; ++n) t.write<uint8_t>(TestCpu::kData + n, 0x5a);
    for (unsigned n = 0; n < 16; ++n) t.c.s.fpu.xmm[n].q = {0x1000 + n, 0x2000 + n};
    ASSERT_EQ(t.outcome("\x0f\xae\x06"sv), "ok");
    const unsigned count = long64 ? 16 : 8;
    for (unsigned n = 0; n < count; ++n)
      EXPECT_EQ(t.read<uint64_t>(TestCpu::kData + 160 + 16 * n + 8), 0x2000u + n) << n;
    for (unsigned at = 160 + 16 * count; at < 512; ++at) EXPECT_EQ(t.read<uint8_t>(TestCpu::kData + at), 0x5a) << at;
  }
}

TEST(Syscall, InLegacyModeTheWholeOfEcxIsTheReturnAddress) {
  Machine t(Mode::kProtected, 3);
  t.c.s.efer |= kEferSCE;
  t.c.s.star = (uint64_t{Machine::kCode0} << 32) | 0x4000;
  t.c.r[kRcx] = ~uint64_t{0};
  ASSERT_EQ(t.outcome("\x0f\x05"sv), "ok");
  EXPECT_EQ(t.c.r[kRcx], TestCpu::kCode + 2);
}

}  // namespace
}  // namespace dejavm::soft
