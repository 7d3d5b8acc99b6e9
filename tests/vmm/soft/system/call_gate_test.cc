// Far jumps and calls through call gates.
#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

using List = std::vector<uint64_t>;

struct Gates : Machine {
  Gates(Mode mode, unsigned cpl, unsigned type, uint16_t code, uint64_t offset, unsigned parameters = 0,
        unsigned dpl = 3)
      : Machine(mode, cpl) {
    descriptor(kGate, gate_low(code, offset, type, dpl, parameters), offset >> 32);
  }
  std::string go(char opcode) { return outcome(far_32(opcode, kGate | (c.cpl == 3 ? 3 : 0), 0xffffffff)); }
};

TEST(CallGate, ToAnInnerLevelCopiesParameters) {
  Gates t(Mode::kProtected, 3, kCallGate32, Machine::kCode0, 0x5000, 3);
  for (uint32_t n = 0; n < 3; ++n) t.write<uint32_t>(TestCpu::kStack + 4 * n, 0xa0 + n);
  ASSERT_EQ(t.go(kCall), "ok");
  EXPECT_EQ(t.c.cpl, 0);
  EXPECT_EQ(t.c.rip, 0x5000u);
  EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 28);
  EXPECT_EQ(t.frame(4, 7),
            (List{TestCpu::kCode + 7, Machine::kCode3, 0xa0, 0xa1, 0xa2, TestCpu::kStack, Machine::kData3}));
  // RETF 12 gives both stacks back.
  ASSERT_EQ(t.outcome("\xca\x0c\x00"sv), "ok");
  EXPECT_EQ(t.c.cpl, 3);
  EXPECT_EQ(t.c.rip, TestCpu::kCode + 7);
  EXPECT_EQ(t.c.r[kRsp], TestCpu::kStack + 12);
  EXPECT_EQ(t.c.s.segment[kSs].selector, Machine::kData3);
}

TEST(CallGate, Of16BitsCopiesWords) {
  Gates t(Mode::kProtected, 3, kCallGate16, Machine::kCode0, 0xffff5000, 2);
  t.write<uint32_t>(TestCpu::kStack, 0x00b100b0);
  ASSERT_EQ(t.go(kCall), "ok");
  EXPECT_EQ(t.c.rip, 0x5000u);
  EXPECT_EQ(t.frame(2, 6), (List{(TestCpu::kCode + 7) & 0xffff, Machine::kCode3, 0xb0, 0xb1, TestCpu::kStack & 0xffff,
                                 Machine::kData3}));
}

TEST(CallGate, ToTheSameLevelUsesTheGatesSize) {
  Gates t(Mode::kProtected, 0, kCallGate16, Machine::kCode0, 0x5000);
  ASSERT_EQ(t.go(kCall), "ok");
  EXPECT_EQ(t.c.r[kRsp], TestCpu::kStack - 4);
  Gates u(Mode::kProtected, 3, kCallGate32, Machine::kConforming, 0x5000);
  ASSERT_EQ(u.go(kJmp), "ok");
  EXPECT_EQ(u.c.cpl, 3);
  EXPECT_EQ(u.c.s.segment[kCs].selector, Machine::kConforming | 3);
}

TEST(CallGate, InLongModeLeadsTo64BitCodeWithANullSs) {
  for (Mode mode : {Mode::kCompatibility, Mode::kLong}) {
    Gates t(mode, 3, kCallGate32, Machine::kLong0, 0x7ffffffff000, 5);
    if (mode == Mode::kLong) {
      t.c.r[kRbx] = TestCpu::kData;
      t.write<uint16_t>(TestCpu::kData + 4, Machine::kGate | 3);
      ASSERT_EQ(t.outcome("\xff\x1b"sv), "ok");
    } else {
      ASSERT_EQ(t.go(kCall), "ok");
    }
    EXPECT_EQ(t.c.rip, 0x7ffffffff000u);
    EXPECT_EQ(t.c.code_mode, CodeMode::k64);
    EXPECT_EQ(t.c.s.segment[kSs], null_segment(0));
    EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 32);
    const uint64_t cs = mode == Mode::kLong ? Machine::kLong3 : Machine::kCode3;
    const uint64_t next = TestCpu::kCode + (mode == Mode::kLong ? 2 : 7);
    EXPECT_EQ(t.frame(8, 4), (List{next, cs, TestCpu::kStack, Machine::kData3}));
    ASSERT_EQ(t.outcome("\x48\xcb"sv), "ok");
    EXPECT_EQ(t.c.cpl, 3);
    EXPECT_EQ(t.c.rip, next);
  }
}

TEST(CallGate, Refusals) {
  struct Row {
    const char* what;
    Mode mode;
    unsigned cpl, type, dpl;
    uint16_t code;
    void (*spoil)(Machine&);
    const char *call, *jmp;
  };
  using M = Machine;
  const auto none = [](M&) {};
  const Row rows[] = {
      {"gate DPL below CPL", Mode::kProtected, 3, kCallGate32, 0, M::kCode0, none, "#GP(80)", "#GP(80)"},
      {"absent gate", Mode::kProtected, 3, kCallGate32, 3, M::kCode0,
       [](M& t) { t.write<uint8_t>(M::kGdt + M::kGate + 5, 0x6c); }, "#NP(80)", "#NP(80)"},
      {"null code", Mode::kProtected, 3, kCallGate32, 3, 0, none, "#GP(0)", "#GP(0)"},
      {"data", Mode::kProtected, 3, kCallGate32, 3, M::kData0, none, "#GP(10)", "#GP(10)"},
      {"beyond the GDT", Mode::kProtected, 3, kCallGate32, 3, M::kBeyond, none, "#GP(100)", "#GP(100)"},
      {"outer level", Mode::kProtected, 0, kCallGate32, 3, M::kCode3, none, "#GP(18)", "#GP(18)"},
      {"absent code", Mode::kProtected, 0, kCallGate32, 3, M::kAbsentCode, none, "#NP(c0)", "#NP(c0)"},
      {"a jump inwards", Mode::kProtected, 3, kCallGate32, 3, M::kCode0, none, "ok", "#GP(8)"},
      {"32-bit code in long mode", Mode::kCompatibility, 3, kCallGate32, 3, M::kCode0, none, "#GP(8)", "#GP(8)"},
      {"16-bit gate in long mode", Mode::kCompatibility, 0, kCallGate16, 3, M::kLong0, none, "#GP(80)", "#GP(80)"},
      {"type in the upper half", Mode::kCompatibility, 0, kCallGate32, 3, M::kLong0,
       [](M& t) { t.write<uint64_t>(M::kGdt + M::kGate + 8, 0x100000000); }, "#GP(80)", "#GP(80)"},
      {"inner SS null", Mode::kProtected, 3, kCallGate32, 3, M::kCode0, [](M& t) { t.write<uint16_t>(M::kTss + 8, 0); },
       "#TS(0)", "#GP(8)"},
      {"inner SS absent", Mode::kProtected, 3, kCallGate32, 3, M::kCode0,
       [](M& t) { t.write(M::kTss + 8, M::kAbsentData); }, "#SS(60)", "#GP(8)"},
      {"TSS in long mode", Mode::kCompatibility, 0, kTss32, 3, M::kLong0, none, "#GP(80)", "#GP(80)"},
  };
  for (const Row& row : rows) {
    for (char opcode : {kCall, kJmp}) {
      Gates t(row.mode, row.cpl, row.type, row.code, 0x5000, 0, row.dpl);
      row.spoil(t);
      EXPECT_EQ(t.go(opcode), opcode == kCall ? row.call : row.jmp) << row.what;
    }
  }
}

}  // namespace
}  // namespace dejavm::soft
