// Events delivered in long mode: 64-bit and compatibility code.
#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

using List = std::vector<uint64_t>;

TEST(LongMode, TheStackIsAlignedAndSsRspArePushedAtTheSameLevelToo) {
  Machine t(Mode::kLong);
  t.gate(0x40, Machine::kLong0, 0x123456789a, kInterruptGate32);
  t.c.r[kRsp] = 0x2ffff3;
  t.c.set_rflags(2 | kIF);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x7fffffffffff));
  EXPECT_EQ(t.c.r[kRsp], 0x2ffff0u - 40);
  EXPECT_EQ(t.frame(8, 5), (List{0x7fffffffffff, Machine::kLong0, 2 | kIF, 0x2ffff3, Machine::kData0}));
  EXPECT_EQ(t.c.rip, 0x123456789au);
  EXPECT_EQ(t.c.s.segment[kSs].selector, Machine::kData0);
  EXPECT_FALSE(t.c.flag(kIF));
}

TEST(LongMode, AnInnerLevelGetsRsp0AndANullSs) {
  for (Mode mode : {Mode::kLong, Mode::kCompatibility}) {
    Machine t(mode, 3);
    ASSERT_TRUE(deliver_event(t.c, exception(kGP), 0x1111));
    EXPECT_EQ(t.c.cpl, 0);
    EXPECT_EQ(t.c.code_mode, CodeMode::k64);
    EXPECT_EQ(t.c.s.segment[kSs], null_segment(0));
    EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 48);
    const uint64_t cs = mode == Mode::kLong ? Machine::kLong3 : Machine::kCode3;
    EXPECT_EQ(t.frame(8, 6), (List{0x1234, 0x1111, cs, 2 | kRF, TestCpu::kStack, Machine::kData3}));
  }
}

TEST(LongMode, IstSwitchesStacksAtAnyLevel) {
  for (unsigned cpl : {0u, 3u}) {
    Machine t(Mode::kLong, cpl);
    t.gate(2, Machine::kLong0, 0x5000, kInterruptGate32, 0, 1);
    ASSERT_TRUE(deliver_event(t.c, {EventType::kNmi, kNMI}, 0x1111));
    EXPECT_EQ(t.c.r[kRsp], (Machine::kIst1 & ~15u) - 40);
    EXPECT_EQ(t.c.s.segment[kSs].selector, cpl == 0 ? Machine::kData0 : 0);
    EXPECT_TRUE(t.c.s.nmi_blocked);
  }
}

TEST(LongMode, ErrorCodesNameWhatIsWrong) {
  struct Row {
    const char* what;
    unsigned cpl;
    void (*spoil)(Machine&);
    const char* expected;
  };
  const Row rows[] = {
      {"vector beyond the limit", 0, [](Machine& t) { t.c.s.idtr.limit = 0x40 * 16 + 14; }, "#GP(202)"},
      {"16-bit gate", 0, [](Machine& t) { t.gate(0x40, Machine::kLong0, 0, kTrapGate16, 3); }, "#GP(202)"},
      {"task gate", 0, [](Machine& t) { t.gate(0x40, Machine::kTssLong, 0, kTaskGate, 3); }, "#GP(202)"},
      {"32-bit code", 0, [](Machine& t) { t.gate(0x40, Machine::kCode0, 0, kTrapGate32, 3); }, "#GP(8)"},
      {"code with L and D", 0, [](Machine& t) { t.gate(0x40, Machine::kBothSizes, 0, kTrapGate32, 3); }, "#GP(c8)"},
      {"target not canonical", 0, [](Machine& t) { t.gate(0x40, Machine::kLong0, uint64_t{1} << 47, kTrapGate32, 3); },
       "#GP(0)"},
      {"RSP0 not canonical", 3, [](Machine& t) { t.write(Machine::kTss + 4, uint64_t{1} << 48); }, "#SS(0)"},
      {"TSS too short for RSP0", 3, [](Machine& t) { t.c.s.segment[kTr].limit = 10; }, "#TS(70)"},
      {"TSS too short for IST7", 0,
       [](Machine& t) {
         t.gate(0x40, Machine::kLong0, 0, kTrapGate32, 3, 7);
         t.c.s.segment[kTr].limit = 0x5a;
       },
       "#TS(70)"},
      {"RSP not canonical", 0, [](Machine& t) { t.c.r[kRsp] = uint64_t{1} << 47 | 0x40; }, "#SS(0)"},
  };
  for (const Row& row : rows) {
    Machine t(Mode::kLong, row.cpl);
    t.gate(0x40, Machine::kLong0, 0x5000, kTrapGate32, 3);
    row.spoil(t);
    EXPECT_EQ(t.refused("\xcd\x40"sv), row.expected) << row.what;
  }
}

TEST(LongMode, IntoIsUndefined) {
  Machine t(Mode::kLong);
  Decoded d;
  d.op = Op::k_into;
  d.len = 1;
  const auto f = t.execute(d);
  ASSERT_TRUE(f);
  EXPECT_EQ(describe(*f), "#UD");
}

}  // namespace
}  // namespace dejavm::soft
