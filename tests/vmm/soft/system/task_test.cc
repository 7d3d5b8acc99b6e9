#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

using List = std::vector<uint64_t>;

// Protected mode at level 0 with a second task, of 32 or 16 bits, at level 3 or 0.
struct Tasks : Machine {
  static constexpr uint64_t kEntry = 0x123456, kTaskStack = 0x2c000;
  explicit Tasks(unsigned cpl = 0) : Machine(Mode::kProtected) {
    write<uint32_t>(kTss2 + 0x20, kEntry);
    write<uint32_t>(kTss2 + 0x24, 2 | kCF | kIF);
    for (uint32_t n = 0; n < 8; ++n) write<uint32_t>(kTss2 + 0x28 + 4 * n, n == 4 ? kTaskStack : 0x11111111 * n);
    const uint16_t data = cpl == 3 ? kData3 : kData0, code = cpl == 3 ? kCode3 : kCode0;
    for (unsigned n = 0; n < 6; ++n) selector(n, n == kCs ? code : data);
    selector(6, kLdtSel);
    for (unsigned n = 0; n < 8; ++n) c.r[n] = 0x01010101 * (n + 1);
    c.r[kRsp] = kStack;
  }
  void selector(unsigned n, uint16_t v) { write(kTss2 + 0x48 + 4 * n, v); }
  uint8_t type(uint16_t tss) { return read<uint8_t>(kGdt + tss + 5) & 0xf; }
  std::string jump() { return outcome("\xea\x00\x00\x00\x00\x30\x00"sv); }
  std::string call() { return outcome("\x9a\x00\x00\x00\x00\x30\x00"sv); }
};

TEST(TaskSwitch, AJumpSavesTheOldTaskAndLoadsTheNew) {
  Tasks t(3);
  t.c.set_rflags(2 | kNT | kZF);
  ASSERT_EQ(t.jump(), "ok");
  EXPECT_EQ(t.c.rip, Tasks::kEntry);
  EXPECT_EQ(t.c.rflags(), 2 | kCF | kIF);
  EXPECT_EQ(t.c.cpl, 3);
  EXPECT_EQ(t.c.r[kRax], 0u);
  EXPECT_EQ(t.c.r[kRdi], 0x77777777u);
  EXPECT_EQ(t.c.r[kRsp], Tasks::kTaskStack);
  EXPECT_EQ(t.c.s.segment[kCs].selector, Machine::kCode3);
  EXPECT_EQ(t.c.s.segment[kSs].selector, Machine::kData3);
  EXPECT_EQ(t.c.s.segment[kLdtr].base, Machine::kLdtTable);
  EXPECT_EQ(t.c.s.segment[kTr].selector, Machine::kTss2Sel);
  EXPECT_EQ(t.c.s.segment[kTr].attributes & 0xf, kTss32Busy);
  EXPECT_TRUE(t.c.s.cr0 & kCr0TS);
  EXPECT_EQ(t.type(Machine::kTssSel), kTss32);
  EXPECT_EQ(t.type(Machine::kTss2Sel), kTss32Busy);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss + 0x20), TestCpu::kCode + 7);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss + 0x24), 2 | kNT | kZF);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss + 0x2c), 0x02020202u);
  EXPECT_EQ(t.read<uint16_t>(Machine::kTss + 0x4c), Machine::kCode0);
  EXPECT_EQ(t.read<uint16_t>(Machine::kTss2), 0u);  // no link
}

// The requester's level is in the selector and is no part of where the descriptor is.
TEST(TaskSwitch, AJumpWithARequestersLevelNeedsADescriptorOfThatLevel) {
  Tasks refused, taken;
  EXPECT_EQ(refused.outcome("\xea\x00\x00\x00\x00\x33\x00"sv), "#GP(30)");
  taken.write<uint8_t>(Machine::kGdt + Machine::kTss2Sel + 5, 0x80 | 3 << 5 | kTss32);
  EXPECT_EQ(taken.outcome("\xea\x00\x00\x00\x00\x33\x00"sv), "ok");
  EXPECT_EQ(taken.c.rip, Tasks::kEntry);
}

TEST(TaskSwitch, ACallNestsAndIretReturns) {
  Tasks t;
  ASSERT_EQ(t.call(), "ok");
  EXPECT_TRUE(t.c.flag(kNT));
  EXPECT_EQ(t.read<uint16_t>(Machine::kTss2), Machine::kTssSel);
  EXPECT_EQ(t.type(Machine::kTssSel), kTss32Busy);
  t.c.r[kRax] = 0xabcdef;
  t.c.s.cr0 &= ~kCr0TS;
  ASSERT_EQ(t.outcome("\xcf"sv), "ok");
  EXPECT_EQ(t.c.rip, TestCpu::kCode + 7);
  EXPECT_EQ(t.c.r[kRax], 0x01010101u);
  EXPECT_FALSE(t.c.flag(kNT));
  EXPECT_EQ(t.c.s.segment[kTr].selector, Machine::kTssSel);
  EXPECT_EQ(t.type(Machine::kTssSel), kTss32Busy);
  EXPECT_EQ(t.type(Machine::kTss2Sel), kTss32);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss2 + 0x28), 0xabcdefu);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss2 + 0x20), Tasks::kEntry + 1);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss2 + 0x24) & kNT, 0u);
  EXPECT_TRUE(t.c.s.cr0 & kCr0TS);
}

TEST(TaskSwitch, AnExceptionThroughATaskGatePushesItsErrorCodeInTheNewTask) {
  Tasks t;
  t.gate(kGP, Machine::kTss2Sel, 0, kTaskGate);
  ASSERT_TRUE(deliver_event(t.c, {EventType::kException, kGP, true, 0x4444}, 0x9999));
  EXPECT_EQ(t.c.rip, Tasks::kEntry);
  EXPECT_EQ(t.c.r[kRsp], Tasks::kTaskStack - 4);
  EXPECT_EQ(t.frame(4, 1)[0], 0x4444u);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss + 0x20), 0x9999u);
  EXPECT_EQ(t.read<uint32_t>(Machine::kTss + 0x24), 2 | kRF);
  EXPECT_TRUE(t.c.flag(kNT));
}

TEST(TaskSwitch, ThroughATaskGateInTheGdt) {
  Tasks t;
  t.descriptor(Machine::kGate, Machine::gate_low(Machine::kTss2Sel, 0, kTaskGate, 0));
  ASSERT_EQ(t.outcome("\x9a\x00\x00\x00\x00\x80\x00"sv), "ok");
  EXPECT_EQ(t.c.rip, Tasks::kEntry);
}

// What earlier builds recorded goes on as it was.
TEST(TaskSwitch, InMachinesOfRevision1A16BitTssClearsTheUpperHalves) {
  Tasks t;
  t.c.revision = 1;
  t.descriptor(Machine::kTss2Sel, Machine::segment(Machine::kTss2, 0x2b, 0x81));
  const uint16_t image[] = {
      0, 0, 0, 0, 0, 0, 0, 0x1234, 2, 1, 2, 3, 4, 0x8000, 6, 7, 8, Machine::kData0, Machine::kCode16, Machine::kData16,
      0, 0};
  for (unsigned n = 0; n < std::size(image); ++n) t.write(Machine::kTss2 + 2 * n, image[n]);
  ASSERT_EQ(t.call(), "ok");
  EXPECT_EQ(t.c.r[kRax], 1u);
  EXPECT_EQ(t.c.r[kRsp], 0x8000u);
}

TEST(TaskSwitch, A16BitTssHasItsOwnLayout) {
  Tasks t;
  t.descriptor(Machine::kTss2Sel, Machine::segment(Machine::kTss2, 0x2b, 0x81));
  const uint16_t image[] = {0, 0, 0, 0,      0, 0, 0, 0x1234,          2 | kSF,          1,
                            2, 3, 4, 0x8000, 6, 7, 8, Machine::kData0, Machine::kCode16, Machine::kData16,
                            0, 0};
  for (unsigned n = 0; n < std::size(image); ++n) t.write(Machine::kTss2 + 2 * n, image[n]);
  t.c.r[kRax] = 0xffffffff;
  ASSERT_EQ(t.call(), "ok");
  EXPECT_EQ(t.c.rip, 0x1234u);
  EXPECT_EQ(t.c.rflags(), 2 | kSF | kNT);
  // The upper halves that a 16-bit TSS has no room for are ones, as on real processors since the 80386.
  EXPECT_EQ(t.c.r[kRax], 0xffff0001u);
  EXPECT_EQ(t.c.r[kRsp], 0xffff8000u);
  EXPECT_EQ(t.c.code_mode, CodeMode::k16);
  EXPECT_EQ(t.c.s.segment[kTr].attributes & 0xf, kTss16Busy);
  // Back into the 32-bit task; the 16-bit image was saved.
  t.c.r[kRbx] = 0x5555aaaa;
  ASSERT_EQ(t.outcome("\xcf"sv), "ok");
  EXPECT_EQ(t.c.rip, TestCpu::kCode + 7);
  EXPECT_EQ(t.read<uint16_t>(Machine::kTss2 + 0x18), 0xaaaau);
  EXPECT_EQ(t.c.code_mode, CodeMode::k32);
}

TEST(TaskSwitch, IntoVirtual8086Mode) {
  Tasks t;
  t.write<uint32_t>(Machine::kTss2 + 0x24, 2 | kVM);
  t.write<uint32_t>(Machine::kTss2 + 0x20, 0x77);
  for (unsigned n = 0; n < 6; ++n) t.selector(n, static_cast<uint16_t>(0x1000 * n));
  ASSERT_EQ(t.jump(), "ok");
  EXPECT_TRUE(t.c.v86());
  EXPECT_EQ(t.c.cpl, 3);
  EXPECT_EQ(t.c.s.segment[kGs], v86_segment(0x5000));
  EXPECT_EQ(t.c.rip, 0x77u);
}

TEST(TaskSwitch, TheTBitTrapsInTheNewTaskAndLocalBreakpointsEnd) {
  Tasks t;
  t.write<uint16_t>(Machine::kTss2 + 0x64, 1);
  t.c.s.dr7 = 0x7ff;
  ASSERT_EQ(t.jump(), "ok");
  EXPECT_EQ(t.c.s.pending_debug, 0x8000u);
  EXPECT_EQ(t.c.s.dr7, 0x6aau);
}

TEST(TaskSwitch, WithPagingCr3ComesFromTheNewTss) {
  Tasks t;
  // 32-bit paging with 4 MiB pages: one directory at 0x5000, the new task's at 0x6000.
  for (uint64_t directory : {0x5000, 0x6000}) t.write<uint32_t>(directory, 0x87);
  t.c.s.cr4 |= kCr4PSE;
  t.c.s.cr3 = 0x5000;
  t.c.s.cr0 |= kCr0PG;
  t.c.update_mode();
  t.c.tlb_flush_all();
  t.write<uint32_t>(Machine::kTss2 + 0x1c, 0x6000);
  ASSERT_EQ(t.jump(), "ok");
  EXPECT_EQ(t.c.s.cr3, 0x6000u);
}

TEST(TaskSwitch, WhatTheOldTaskSeesWhenTheTssWillNotDo) {
  struct Row {
    const char* what;
    void (*spoil)(Tasks&);
    const char* expected;
  };
  const Row rows[] = {
      {"busy", [](Tasks& t) { t.descriptor(0x30, Machine::segment(Machine::kTss2, 0x67, 0x8b)); }, "#GP(30)"},
      {"absent", [](Tasks& t) { t.descriptor(0x30, Machine::segment(Machine::kTss2, 0x67, 0x09)); }, "#NP(30)"},
      {"too short", [](Tasks& t) { t.descriptor(0x30, Machine::segment(Machine::kTss2, 0x66, 0x89)); }, "#TS(30)"},
      {"not a TSS", [](Tasks& t) { t.descriptor(0x30, Machine::segment(Machine::kTss2, 0x67, 0x82)); }, "#GP(30)"},
      {"16-bit, too short", [](Tasks& t) { t.descriptor(0x30, Machine::segment(Machine::kTss2, 0x2a, 0x81)); },
       "#TS(30)"},
      {"old TSS too short", [](Tasks& t) { t.c.s.segment[kTr].limit = 0x66; }, "#TS(28)"},
  };
  for (const Row& row : rows) {
    Tasks t;
    row.spoil(t);
    EXPECT_EQ(t.refused("\x9a\x00\x00\x00\x00\x30\x00"sv), row.expected) << row.what;
  }
}

TEST(TaskSwitch, WhatTheNewTaskSeesWhenItsSegmentsWillNotDo) {
  struct Row {
    const char* what;
    void (*spoil)(Tasks&);
    const char* expected;
  };
  const Row rows[] = {
      {"LDT in the LDT", [](Tasks& t) { t.selector(6, 0x94); }, "#TS(94)"},
      {"LDT is data", [](Tasks& t) { t.selector(6, Machine::kData0); }, "#TS(10)"},
      {"null CS", [](Tasks& t) { t.selector(kCs, 0); }, "#TS(0)"},
      {"CS RPL differs from DPL", [](Tasks& t) { t.selector(kCs, 9); }, "#TS(8)"},
      {"CS absent", [](Tasks& t) { t.selector(kCs, Machine::kAbsentCode); }, "#NP(c0)"},
      {"CS is data", [](Tasks& t) { t.selector(kCs, Machine::kData0); }, "#TS(10)"},
      {"null SS", [](Tasks& t) { t.selector(kSs, 0); }, "#TS(0)"},
      {"SS of another level", [](Tasks& t) { t.selector(kSs, Machine::kData3); }, "#TS(20)"},
      {"SS absent", [](Tasks& t) { t.selector(kSs, Machine::kAbsentData); }, "#SS(60)"},
      {"DS beyond the GDT", [](Tasks& t) { t.selector(kDs, Machine::kBeyond); }, "#TS(100)"},
      {"ES absent", [](Tasks& t) { t.selector(kEs, Machine::kAbsentData); }, "#NP(60)"},
      {"FS not readable", [](Tasks& t) { t.selector(kFs, Machine::kExecuteOnly); }, "#TS(a0)"},
      {"EIP beyond the limit", [](Tasks& t) { t.selector(kCs, Machine::kCode16); }, "#GP(0)"},
  };
  for (const Row& row : rows) {
    Tasks t;
    row.spoil(t);
    EXPECT_EQ(t.call(), row.expected) << row.what;
    EXPECT_EQ(t.c.s.segment[kTr].selector, Machine::kTss2Sel) << row.what;
    EXPECT_EQ(t.c.rip, Tasks::kEntry) << row.what;  // the fault is delivered as of the new task's first instruction
  }
}

TEST(TaskSwitch, AFaultInTheNewTaskDuringDeliveryReturnsToTheNewTask) {
  Tasks t;
  t.gate(0x40, Machine::kTss2Sel, 0, kTaskGate);
  t.selector(kEs, Machine::kAbsentData);
  ASSERT_TRUE(deliver_event(t.c, {EventType::kExternal, 0x40}, 0x9999));
  EXPECT_EQ(t.c.rip, 0x30000u + 16 * kNP);
  EXPECT_EQ(t.frame(4, 2), (List{0x60 | kExt, Tasks::kEntry}));
}

TEST(TaskSwitch, ANestedReturnWithABadLinkIsTs) {
  for (auto [link, expected] : {std::pair<uint16_t, const char*>{0, "#TS(0)"},
                                {0x2c, "#TS(2c)"},
                                {0x30, "#TS(30)"},
                                {Machine::kBeyond, "#TS(100)"}}) {
    Tasks t;
    t.c.set_rflags(2 | kNT);
    t.write(Machine::kTss, link);
    EXPECT_EQ(t.refused("\xcf"sv), expected);
  }
}

}  // namespace
}  // namespace dejavm::soft
