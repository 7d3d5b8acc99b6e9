// What SSE operations do besides computing: availability checks, alignment, page faults, MXCSR, masked stores.
#include <gtest/gtest.h>

#include <csignal>

#include "tests/vmm/soft/sse/judged.h"

namespace dejavm::soft {
namespace {

constexpr uint32_t kMxcsrDefault = 0x1f80;

std::string name_of(const Form& f) {
  return std::string(f.text->name) + " " + std::string(f.text->operands) + (f.memory ? " (memory)" : "");
}

// Executes a form with [rsi] = address on a fresh state; checks that a fault changed nothing.
std::optional<GuestFault> run_form(TestCpu& t, const Form& f, uint64_t address) {
  std::vector<uint8_t> bytes = f.bytes;
  if (f.imm8) bytes.push_back(1);
  t.c.r[kRsi] = t.c.r[kRdi] = address;
  CHECK(decode({bytes.data(), bytes.size()}, CodeMode::k64, t.d) == DecodeStatus::kOk);
  const VcpuState before = t.c.s;
  const auto registers = t.c.r;
  const uint64_t flags = t.c.rflags();
  try {
    f.exec(t.c, t.d);
  } catch (const GuestFault& g) {
    t.c.s.cr2 = before.cr2;
    EXPECT_TRUE(before == t.c.s) << name_of(f);
    EXPECT_EQ(registers, t.c.r) << name_of(f);
    EXPECT_EQ(flags, t.c.rflags()) << name_of(f);
    return g;
  }
  return std::nullopt;
}

void expect_fault(const std::optional<GuestFault>& fault, uint8_t vector, const Form& f) {
  ASSERT_TRUE(fault.has_value()) << name_of(f);
  EXPECT_EQ(fault->vector, vector) << name_of(f);
}

bool uses_xmm(const Form& f) { return f.text->operands.find("xmm") != std::string_view::npos; }

TEST(SseRules, EveryOperationIsUndefinedUnderEmulationAndUnavailableAfterATaskSwitch) {
  for (const Form& f : forms()) {
    TestCpu t;
    t.c.s.cr0 |= kCr0EM;
    expect_fault(run_form(t, f, TestCpu::kData), kUD, f);
    t.c.s.cr0 ^= kCr0EM | kCr0TS;
    expect_fault(run_form(t, f, TestCpu::kData), kNM, f);
  }
}

TEST(SseRules, XmmOperationsNeedOsfxsrAndMmxOperationsDoNot) {
  for (const Form& f : forms()) {
    TestCpu t;
    t.c.s.cr4 &= ~kCr4OSFXSR;
    const auto fault = run_form(t, f, TestCpu::kData);
    if (uses_xmm(f)) expect_fault(fault, kUD, f);
    else EXPECT_FALSE(fault.has_value()) << name_of(f);
  }
}

TEST(SseRules, MmxRegisterFormsAloneRaiseAPendingX87Exception) {
  for (const Form& f : forms()) {
    TestCpu t;
    t.c.s.fpu.fcw = 0x37e;
    t.c.s.fpu.fsw = 0x8081;
    const auto fault = run_form(t, f, TestCpu::kData);
    if (f.mmx) expect_fault(fault, kMF, f);
    else EXPECT_FALSE(fault.has_value()) << name_of(f);
  }
}

TEST(SseRules, MisalignedSixteenByteOperandsFaultLikeOnTheHost) {
  static Judged j;
  Random r(1);
  for (const Form& f : forms()) {
    if (!f.memory) continue;
    const NativeState state = random_state(r, f.text->data, kMxcsrDefault);
    j.run(f, state, 1, 1 + r.below(15), true);
    EXPECT_EQ(j.signal, f.aligned ? SIGSEGV : 0) << name_of(f);
    if (f.text->data == Data::kApproximate) continue;
    EXPECT_EQ(j.difference(), "") << name_of(f);
  }
}

TEST(SseRules, AnOperandBeyondMappedMemoryFaultsAndChangesNothing) {
  for (const Form& f : forms()) {
    if (!f.memory) continue;
    TestCpu t;
    expect_fault(run_form(t, f, TestCpu::kRamBytes), kPF, f);
    EXPECT_EQ(t.c.s.cr2, 0u);
    if (f.memory_bytes > 1 && !f.aligned) expect_fault(run_form(t, f, TestCpu::kRamBytes - 1), kPF, f);
  }
}

const Form& form(Op op, bool memory = false) {
  for (const Form& f : forms())
    if (f.op == op && f.memory == memory && !f.mmx) return f;
  ADD_FAILURE() << op_name(op);
  return forms().front();
}

TEST(SseRules, AnUnmaskedExceptionIsUndefinedOpcodeWithoutOsxmmexcpt) {
  const Form& f = form(Op::k_divss);
  TestCpu t;
  t.c.s.fpu.xmm[1].q[0] = 0x3f800000;
  t.c.s.fpu.mxcsr = kMxcsrDefault & ~(1u << 9);
  t.d = {};
  CHECK(decode(f.bytes, CodeMode::k64, t.d) == DecodeStatus::kOk);
  for (const bool enabled : {false, true}) {
    t.c.s.cr4 = enabled ? t.c.s.cr4 | kCr4OSXMMEXCPT : t.c.s.cr4 & ~kCr4OSXMMEXCPT;
    t.c.s.fpu.mxcsr &= ~0x3fu;
    try {
      f.exec(t.c, t.d);
      FAIL() << "divided by zero";
    } catch (const GuestFault& g) {
      EXPECT_EQ(g.vector, enabled ? kXM : kUD);
      EXPECT_FALSE(g.has_error);
    }
    EXPECT_EQ(t.c.s.fpu.mxcsr, (kMxcsrDefault & ~(1u << 9)) | 4);
    EXPECT_EQ(t.c.s.fpu.xmm[1].q[0], 0x3f800000u);
  }
}

TEST(SseRules, TheHostsOwnMxcsrNeitherInfluencesAResultNorIsChangedByOne) {
  const Form& f = form(Op::k_divss);
  auto host_mxcsr = [](uint32_t set) {
    uint32_t old;
    asm volatile("stmxcsr %0\n ldmxcsr %1" : "=m"(old) : "m"(set));
    return old;
  };
  // 1/3 rounded to nearest, down, up, towards zero.
  constexpr uint32_t kThirds[] = {0x3eaaaaab, 0x3eaaaaaa, 0x3eaaaaab, 0x3eaaaaaa};
  for (const uint32_t host : {0x1f80u, 0x1fbfu, 0x3f80u, 0x5fa0u, 0x9fc0u})
    for (unsigned rounding = 0; rounding < 4; ++rounding) {
      TestCpu t;
      CHECK(decode(f.bytes, CodeMode::k64, t.d) == DecodeStatus::kOk);
      t.c.s.fpu.xmm[2].q[0] = 0x3f800000;
      t.c.s.fpu.mxcsr = kMxcsrDefault | rounding << 13;
      t.c.s.fpu.xmm[1].q[0] = 0x3f800000;
      host_mxcsr(host);
      f.exec(t.c, t.d);  // 1/1 is exact: the host's old flags must not show
      const uint32_t after_exact = t.c.s.fpu.mxcsr;
      t.c.s.fpu.xmm[2].q[0] = 0x40400000;
      f.exec(t.c, t.d);
      const uint32_t host_after = host_mxcsr(kMxcsrDefault);
      EXPECT_EQ(after_exact, kMxcsrDefault | rounding << 13);
      EXPECT_EQ(t.c.s.fpu.xmm[1].q[0], kThirds[rounding]) << std::hex << host;
      EXPECT_EQ(t.c.s.fpu.mxcsr, kMxcsrDefault | rounding << 13 | 0x20);
      EXPECT_EQ(host_after & ~0x3fu, host & ~0x3fu);
    }
}

struct MaskedStore : testing::Test {
  TestCpu t;
  std::optional<GuestFault> store(std::string_view insn, uint64_t address, uint16_t mask) {
    for (unsigned i = 0; i < 16; ++i) {
      reinterpret_cast<uint8_t*>(t.c.s.fpu.xmm[1].q.data())[i] = static_cast<uint8_t>(0xa0 + i);
      reinterpret_cast<uint8_t*>(t.c.s.fpu.xmm[2].q.data())[i] = mask >> i & 1 ? 0x80 : 0x7f;
    }
    t.c.r[kRdi] = address;
    return t.run(insn);
  }
};

// With 16 address bits, offset 0 follows 0xffff.
TEST_F(MaskedStore, TheOffsetWraps) {
  t.set_mode(CodeMode::k32);
  auto data = t.c.s.segment[kDs];
  data.base = TestCpu::kData;
  t.c.set_segment(kDs, data);
  EXPECT_FALSE(store("\x67\x66\x0f\xf7\xca", 0xfffc, 0xffff).has_value());
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(t.read<uint8_t>(TestCpu::kData + ((0xfffc + i) & 0xffff)), 0xa0 + i) << i;
  EXPECT_EQ(t.read<uint8_t>(TestCpu::kData + 0x10000), 0);
}

TEST_F(MaskedStore, UnselectedBytesAreNotAccessedAtAll) {
  const uint64_t end = TestCpu::kRamBytes;
  EXPECT_FALSE(store("\x66\x0f\xf7\xca", end, 0).has_value());
  EXPECT_FALSE(store("\x66\x0f\xf7\xca", end - 3, 0b101).has_value());
  EXPECT_EQ(t.read<uint8_t>(end - 3), 0xa0);
  EXPECT_EQ(t.read<uint8_t>(end - 2), 0);
  EXPECT_EQ(t.read<uint8_t>(end - 1), 0xa2);
}

TEST_F(MaskedStore, AFaultOnALaterByteLeavesTheEarlierOnesUnwritten) {
  const uint64_t end = TestCpu::kRamBytes;
  const auto fault = store("\x66\x0f\xf7\xca", end - 3, 0b1001);
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->vector, kPF);
  EXPECT_EQ(t.c.s.cr2, end);
  EXPECT_EQ(t.read<uint8_t>(end - 3), 0);
}

TEST_F(MaskedStore, TheSegmentIsDsOrTheOverrideAndTheAddressSizeCounts) {
  t.c.set_segment_base(kFs, 0x1000);
  EXPECT_FALSE(store("\x64\x66\x0f\xf7\xca", TestCpu::kData, 1).has_value());
  EXPECT_EQ(t.read<uint8_t>(TestCpu::kData + 0x1000), 0xa0);
  EXPECT_FALSE(store("\x67\x66\x0f\xf7\xca", TestCpu::kData | uint64_t{1} << 40, 2).has_value());
  EXPECT_EQ(t.read<uint8_t>(TestCpu::kData + 1), 0xa1);
}

TEST(SseRules, RegistersEightToFifteenAreReachedThroughRex) {
  TestCpu t;
  t.c.s.fpu.xmm[9].q = {1, 2};
  t.c.s.fpu.xmm[15].q = {10, 20};
  EXPECT_FALSE(t.run("\x66\x45\x0f\xd4\xcf").has_value());  // paddq xmm9, xmm15
  EXPECT_EQ(t.c.s.fpu.xmm[9].q, (std::array<uint64_t, 2>{11, 22}));
}

TEST(SseRules, ASixteenByteStoreAcrossAPageEndFaultsBeforeItsFirstByte) {
  TestCpu t;
  t.c.s.fpu.xmm[1].q = {~uint64_t{0}, ~uint64_t{0}};
  t.c.r[kRsi] = TestCpu::kRamBytes - 8;
  const auto fault = t.run(std::string_view("\x0f\x11\x0e", 3));  // movups [rsi], xmm1
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->vector, kPF);
  EXPECT_EQ(t.read<uint64_t>(TestCpu::kRamBytes - 8), 0u);
}

}  // namespace
}  // namespace dejavm::soft
