#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

using List = std::vector<uint64_t>;

// --- real-address mode ---

TEST(RealMode, AnInterruptPushesFlagsCsIpAndClearsIfTfAcRf) {
  Machine t(Mode::kReal);
  t.c.set_rflags(2 | kIF | kTF | kAC_ | kRF | kCF | kIOPL);
  t.write<uint32_t>(Machine::kIdt + 4 * 0x40, 0x45678ab0);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1234));
  EXPECT_EQ(t.c.s.segment[kCs].selector, 0x4567);
  EXPECT_EQ(t.c.s.segment[kCs].base, 0x45670u);
  EXPECT_EQ(t.c.rip, 0x8ab0u);
  EXPECT_EQ(t.c.r[kRsp], 0x7fau);
  EXPECT_EQ(t.frame(2, 3), (List{0x1234, 0x200, 2 | kIF | kTF | kCF | kIOPL}));
  EXPECT_EQ(t.c.rflags(), 2 | kCF | kIOPL);
}

TEST(RealMode, NoErrorCodeIsPushed) {
  Machine t(Mode::kReal);
  ASSERT_TRUE(deliver_event(t.c, exception(kGP), 0x1234));
  EXPECT_EQ(t.c.r[kRsp], 0x7fau);
}

TEST(RealMode, AVectorBeyondTheIdtLimitIsGpAndWithoutRoomForItAShutdown) {
  Machine t(Mode::kReal);
  t.c.s.idtr.limit = 13 * 4 + 3;
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1234));
  EXPECT_EQ(t.c.rip, 13u << 4);
  t.c.s.idtr.limit = 31;
  EXPECT_FALSE(deliver_event(t.c, kIrq, 0x1234));
  EXPECT_EQ(t.c.s.activity, Activity::kShutdown);
}

TEST(RealMode, AFrameThatWouldStraddleTheStackLimitIsSs) {
  Machine t(Mode::kReal);
  t.c.r[kRsp] = 1;
  EXPECT_EQ(t.refused("\xcd\x10"sv), "#SS(0)");
  t.c.r[kRsp] = 0x10002;  // SP = 2: wraps to fffe, upper half of ESP untouched
  EXPECT_EQ(t.outcome("\xcd\x10"sv), "ok");
  EXPECT_EQ(t.c.r[kRsp], 0x1fffcu);
}

// --- protected mode ---

TEST(ProtectedMode, AnInterruptGateOfTheSameLevelClearsIfAndATrapGateKeepsIt) {
  for (unsigned type : {kInterruptGate32, kTrapGate32, kInterruptGate16, kTrapGate16}) {
    Machine t(Mode::kProtected);
    t.gate(0x40, Machine::kCode0, 0x12345678, type);
    t.c.set_rflags(2 | kIF | kTF | kNT | kAC_ | kRF);
    ASSERT_TRUE(deliver_event(t.c, kIrq, 0x98765432));
    const bool wide = type & 8;
    EXPECT_EQ(t.c.rip, wide ? 0x12345678u : 0x5678u);
    EXPECT_EQ(t.c.r[kRsp], TestCpu::kStack - (wide ? 12 : 6));
    const uint64_t flags = 2 | kIF | kTF | kNT | kAC_ | kRF, mask = wide ? ~uint64_t{0} : 0xffff;
    EXPECT_EQ(t.frame(wide ? 4 : 2, 3), (List{0x98765432 & mask, Machine::kCode0, flags & mask}));
    EXPECT_EQ(t.c.rflags(), 2 | kAC_ | ((type & 1) ? uint64_t{kIF} : 0)) << type;
  }
}

TEST(ProtectedMode, FaultsPushRfAsOneAndTrapsAndInterruptsAsItWas) {  // SDM vol. 3, 17.3.1.1
  struct Row {
    Event e;
    uint64_t dr6, dr7;
    bool rf;
  };
  const Row rows[] = {
      {exception(kUD), 0, 0, true},           {exception(kGP), 0, 0, true},
      {exception(kDB), 0x4000, 0, false},     {exception(kDB), 1, 0, false},
      {exception(kDB), 0x2000, 0x2000, true}, {kIrq, 0, 0, false},
      {{EventType::kNmi, kNMI}, 0, 0, false}, {{EventType::kIcebp, kDB}, 0, 0, false},
  };
  for (const Row& row : rows) {
    Machine t(Mode::kProtected);
    t.gate(0x40, Machine::kCode0, 0x1000, kInterruptGate32);
    t.c.s.dr6 |= row.dr6;
    t.c.s.dr7 |= row.dr7;
    ASSERT_TRUE(deliver_event(t.c, row.e, 0));
    const unsigned at = row.e.has_error ? 3 : 2;
    EXPECT_EQ((t.frame(4, 4)[at] & kRF) != 0, row.rf) << unsigned{row.e.vector};
    EXPECT_FALSE(t.c.flag(kRF));
  }
}

TEST(ProtectedMode, AnInnerLevelTakesItsStackFromTheTss) {
  Machine t(Mode::kProtected, 3);
  t.gate(0x40, Machine::kCode0, 0x5000, kInterruptGate32);
  t.c.set_rflags(2 | kIF);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1111));
  EXPECT_EQ(t.c.cpl, 0);
  EXPECT_EQ(t.c.s.segment[kCs].selector, Machine::kCode0);
  EXPECT_EQ(t.c.s.segment[kSs].selector, Machine::kData0);
  EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 20);
  EXPECT_EQ(t.frame(4, 5), (List{0x1111, Machine::kCode3, 2 | kIF, TestCpu::kStack, Machine::kData3}));
  EXPECT_EQ(t.c.s.segment[kDs].selector, Machine::kData3);
}

TEST(ProtectedMode, AnInnerStackIsWrittenAtItsSegmentsBase) {
  Machine t(Mode::kProtected, 3);
  t.descriptor(Machine::kData0, Machine::segment(0x40000, 0xfffff, 0xc93));
  t.gate(0x40, Machine::kCode0, 0x5000, kInterruptGate32);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1111));
  EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 20);
  EXPECT_EQ(t.read<uint32_t>(0x40000 + Machine::kStack0 - 20), 0x1111u);
  EXPECT_EQ(t.read<uint32_t>(Machine::kStack0 - 20), 0u);
}

// Linear addresses have 32 bits whatever the level that is entered.
TEST(ProtectedMode, AnInnerStackWrapsAroundAt4GiB) {
  Machine t(Mode::kProtected, 3);
  const uint32_t base = 0xfffffffe - (static_cast<uint32_t>(Machine::kStack0) - 4);  // the first push lies across
  t.descriptor(Machine::kData0, Machine::segment(base, 0xfffff, 0xc93));
  t.gate(0x40, Machine::kCode0, 0x5000, kInterruptGate32);
  t.write<uint16_t>(0, 0xffff);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1111));
  EXPECT_EQ(t.read<uint16_t>(0), 0u);  // the upper half of SS's selector
  ASSERT_FALSE(t.exits.log.empty());   // there is no RAM below 4 GiB
  for (const auto& exit : t.exits.log) EXPECT_LE(exit.address + exit.size - 1, 0xffffffffu);
}

TEST(ProtectedMode, ARing1HandlerRunsAtRing1) {
  Machine t(Mode::kProtected, 3);
  t.gate(0x40, Machine::kCode1 & ~3, 0x5000, kTrapGate32);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1111));
  EXPECT_EQ(t.c.cpl, 1);
  EXPECT_EQ(t.c.s.segment[kCs].selector, Machine::kCode1);
  EXPECT_EQ(t.c.r[kRsp], Machine::kStack1 - 20);
}

TEST(ProtectedMode, AConformingHandlerKeepsTheLevelAndTheStack) {
  Machine t(Mode::kProtected, 3);
  t.gate(0x40, Machine::kConforming, 0x5000, kInterruptGate32);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1111));
  EXPECT_EQ(t.c.cpl, 3);
  EXPECT_EQ(t.c.s.segment[kCs].selector, Machine::kConforming | 3);
  EXPECT_EQ(t.c.r[kRsp], TestCpu::kStack - 12);
}

TEST(ProtectedMode, AnErrorCodeIsPushedLast) {
  Machine t(Mode::kProtected, 3);
  ASSERT_TRUE(deliver_event(t.c, exception(kGP), 0x1111));
  EXPECT_EQ(t.frame(4, 6), (List{0x1234, 0x1111, Machine::kCode3, 2 | kRF, TestCpu::kStack, Machine::kData3}));
}

TEST(ProtectedMode, AGateWith16BitsPushesHalves) {
  Machine t(Mode::kProtected, 3);
  t.gate(13, Machine::kCode0, 0x5000, kInterruptGate16);
  ASSERT_TRUE(deliver_event(t.c, exception(kGP), 0x11111));
  EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 12);
  EXPECT_EQ(t.frame(2, 6), (List{0x1234, 0x1111, Machine::kCode3, 2, TestCpu::kStack & 0xffff, Machine::kData3}));
}

TEST(ProtectedMode, A16BitTssGivesA16BitStack) {
  Machine t(Mode::kProtected, 3);
  t.c.s.segment[kTr].attributes = 0x83;
  t.c.s.segment[kTr].limit = 0x2b;
  t.write<uint32_t>(Machine::kTss + 2, 0x00487ff0);  // SP0, SS0 = kData16
  t.gate(0x40, Machine::kCode0, 0x5000, kInterruptGate32);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1111));
  EXPECT_EQ(t.c.s.segment[kSs].selector, Machine::kData16);
  EXPECT_EQ(t.c.r[kRsp], 0x7ff0u - 20);
}

TEST(ProtectedMode, TheAccessedBitsOfHandlerAndStackAreSet) {
  Machine t(Mode::kProtected, 3);
  t.descriptor(Machine::kCode0, Machine::segment(0, 0xfffff, 0xc9a));
  t.descriptor(Machine::kData0, Machine::segment(0, 0xfffff, 0xc92));
  ASSERT_TRUE(deliver_event(t.c, exception(kUD), 0));
  EXPECT_EQ(t.read<uint8_t>(Machine::kGdt + Machine::kCode0 + 5), 0x9b);
  EXPECT_EQ(t.read<uint8_t>(Machine::kGdt + Machine::kData0 + 5), 0x93);
}

// Each row spoils one thing; the event is INT 40h (EXT clear) or an external interrupt (EXT set).
TEST(ProtectedMode, ErrorCodesNameWhatIsWrong) {
  struct Row {
    const char* what;
    unsigned cpl;
    void (*spoil)(Machine&);
    const char* expected;
  };
  const Row rows[] = {
      {"vector beyond the limit", 0, [](Machine& t) { t.c.s.idtr.limit = 0x40 * 8 + 6; }, "#GP(202)"},
      {"not a gate", 0, [](Machine& t) { t.gate(0x40, Machine::kCode0, 0, kCallGate32, 3); }, "#GP(202)"},
      {"gate DPL below CPL", 3, [](Machine& t) { t.gate(0x40, Machine::kCode0, 0, kTrapGate32, 2); }, "#GP(202)"},
      {"gate not present", 0, [](Machine& t) { t.no_gate(0x40); }, "#NP(202)"},
      {"null code selector", 0, [](Machine& t) { t.gate(0x40, 3, 0, kTrapGate32, 3); }, "#GP(0)"},
      {"code beyond the GDT", 0, [](Machine& t) { t.gate(0x40, Machine::kBeyond, 0, kTrapGate32, 3); }, "#GP(100)"},
      {"code in an absent LDT", 0, [](Machine& t) { t.gate(0x40, 0xc, 0, kTrapGate32, 3); }, "#GP(c)"},
      {"data as code", 0, [](Machine& t) { t.gate(0x40, Machine::kData0, 0, kTrapGate32, 3); }, "#GP(10)"},
      {"code of an outer level", 0, [](Machine& t) { t.gate(0x40, Machine::kCode3, 0, kTrapGate32, 3); }, "#GP(18)"},
      {"absent code", 0, [](Machine& t) { t.gate(0x40, Machine::kAbsentCode, 0, kTrapGate32, 3); }, "#NP(c0)"},
      {"target beyond the limit", 0, [](Machine& t) { t.gate(0x40, Machine::kCode16, 0x10000, kTrapGate32, 3); },
       "#GP(0)"},
      {"TSS too short", 3, [](Machine& t) { t.c.s.segment[kTr].limit = 8; }, "#TS(28)"},
      {"null inner SS", 3, [](Machine& t) { t.write<uint16_t>(Machine::kTss + 8, 0); }, "#TS(0)"},
      {"inner SS beyond the GDT", 3, [](Machine& t) { t.write(Machine::kTss + 8, Machine::kBeyond); }, "#TS(100)"},
      {"inner SS with another RPL", 3, [](Machine& t) { t.write<uint16_t>(Machine::kTss + 8, 0x11); }, "#TS(10)"},
      {"inner SS with another DPL", 3, [](Machine& t) { t.write<uint16_t>(Machine::kTss + 8, 0x20); }, "#TS(20)"},
      {"inner SS is code", 3, [](Machine& t) { t.write(Machine::kTss + 8, Machine::kCode0); }, "#TS(8)"},
      {"inner SS is read-only", 3, [](Machine& t) { t.write(Machine::kTss + 8, Machine::kReadOnly); }, "#TS(b8)"},
      {"inner SS absent", 3, [](Machine& t) { t.write(Machine::kTss + 8, Machine::kAbsentData); }, "#SS(60)"},
      {"no room on the inner stack", 3,
       [](Machine& t) {
         t.descriptor(Machine::kFree, Machine::segment(0, 0x1000, 0x493));
         t.write(Machine::kTss + 8, Machine::kFree);
       },
       "#SS(d0)"},
      {"no room on the stack", 0, [](Machine& t) { t.c.s.segment[kSs].limit = 0x1000; }, "#SS(0)"},
  };
  for (const Row& row : rows) {
    Machine t(Mode::kProtected, row.cpl);
    t.gate(0x40, Machine::kCode0, 0x5000, kTrapGate32, 3);
    row.spoil(t);
    EXPECT_EQ(t.refused("\xcd\x40"sv), row.expected) << row.what;
    // The same from outside: delivered as an exception whose error code has EXT set; software privilege is not checked.
    if (row.what == "gate DPL below CPL"sv || row.what == "no room on the stack"sv) continue;
    Machine u(Mode::kProtected, row.cpl);
    u.gate(0x40, Machine::kCode0, 0x5000, kTrapGate32, 3);
    row.spoil(u);
    for (unsigned v : {kTS, kNP, kSS_, kGP}) u.gate(v, Machine::kConforming, 0x30000 + 16 * v, kInterruptGate32);
    ASSERT_TRUE(deliver_event(u.c, kIrq, 0)) << row.what;
    const GuestFault second{static_cast<uint8_t>((u.c.rip - 0x30000) / 16), true,
                            static_cast<uint32_t>(u.frame(4, 1)[0])};
    std::string expected = row.expected;
    const size_t digit = expected.size() - 2;  // EXT is bit 0 of the error code's last digit
    expected[digit] = "123456789abcdef"["0123456789abcde"sv.find(expected[digit])];
    EXPECT_EQ(describe(second), expected) << row.what;
  }
}

TEST(ProtectedMode, SoftwareInterruptsAreCheckedAgainstTheGateAndIcebpIsNot) {
  Machine t(Mode::kProtected, 3);
  EXPECT_EQ(t.refused("\xcd\x03"sv), "#GP(1a)");
  EXPECT_EQ(t.refused("\xcc"sv), "#GP(1a)");
  t.c.set_rflags(2 | kOF_);
  EXPECT_EQ(t.refused("\xce"sv), "#GP(22)");
  t.c.set_rflags(2);
  EXPECT_EQ(t.outcome("\xce"sv), "ok");  // INTO without overflow
  EXPECT_EQ(t.c.cpl, 3);
  EXPECT_EQ(t.outcome("\xf1"sv), "ok");
  EXPECT_EQ(t.c.rip, 0x30010u);
  EXPECT_EQ(t.frame(4, 1)[0], TestCpu::kCode + 2);
}

TEST(ProtectedMode, SoftwareInterruptsPushTheNextInstruction) {
  Machine t(Mode::kProtected);
  EXPECT_EQ(t.outcome("\xcc"sv), "ok");
  EXPECT_EQ(t.frame(4, 3), (List{TestCpu::kCode + 1, Machine::kCode0, 2}));
}

// --- virtual-8086 mode ---

TEST(Virtual8086Mode, AnInterruptSavesAndClearsTheDataSegments) {
  Machine t(Mode::kV86);
  t.gate(0x40, Machine::kCode0, 0x5000, kInterruptGate32);
  t.c.set_rflags(2 | kVM | kIF | kIOPL);
  ASSERT_TRUE(deliver_event(t.c, kIrq, 0x1234));
  EXPECT_EQ(t.c.cpl, 0);
  EXPECT_FALSE(t.c.v86());
  EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 36);
  EXPECT_EQ(t.frame(4, 9), (List{0x1234, 0x201, 2 | kVM | kIF | kIOPL, 0x800, 0x202, 0x200, 0x203, 0x204, 0x205}));
  for (unsigned seg : {kEs, kDs, kFs, kGs}) EXPECT_EQ(t.c.s.segment[seg], (SegmentState{}));
  EXPECT_EQ(t.c.code_mode, CodeMode::k32);
}

TEST(Virtual8086Mode, IntNeedsIopl3AndInt3DoesNot) {
  Machine t(Mode::kV86);
  for (unsigned v : {3u, 0x40u}) t.gate(v, Machine::kCode0, 0x5000, kInterruptGate32, 3);
  EXPECT_EQ(t.refused("\xcd\x40"sv), "#GP(0)");
  EXPECT_EQ(t.outcome("\xcc"sv), "ok");
  Machine u(Mode::kV86);
  u.gate(0x40, Machine::kCode0, 0x5000, kInterruptGate32, 3);
  u.c.set_rflags(2 | kVM | kIOPL);
  EXPECT_EQ(u.outcome("\xcd\x40"sv), "ok");
  EXPECT_EQ(u.c.cpl, 0);
}

TEST(Virtual8086Mode, TheHandlerMustBeAtLevel0AndNotConforming) {
  for (uint16_t selector : {Machine::kConforming, uint16_t{Machine::kCode1 & 0xfffc}}) {
    Machine t(Mode::kV86);
    t.c.set_rflags(2 | kVM | kIOPL);
    t.gate(0x40, selector, 0x5000, kInterruptGate32, 3);
    EXPECT_EQ(t.refused("\xcd\x40"sv), describe({kGP, true, selector}));
  }
}

// --- combination of faults (SDM vol. 3, tables 6-4 and 6-5) ---

TEST(Combination, FollowsTheDoubleFaultTable) {
  struct Row {
    uint8_t first;
    bool page_fault_second;  // else #NP, contributory
    unsigned expected;       // vector delivered; 99: shutdown
  };
  const Row rows[] = {
      {kUD, false, kNP}, {kUD, true, kPF},  {kDE, false, kDF}, {kDE, true, kPF},  {kGP, false, kDF},
      {kGP, true, kPF},  {kPF, false, kDF}, {kPF, true, kDF},  {kTS, false, kDF}, {kAC, false, kNP},
      {kDF, false, 99},  {kDF, true, 99},   {kDB, false, kNP}, {kMF, true, kPF},
  };
  for (const Row& row : rows) {
    Machine t(Mode::kLong);
    if (row.page_fault_second) {  // IST1 lies where nothing is mapped
      t.write<uint64_t>(Machine::kTss + 0x24, 0x40000000);
      t.gate(row.first, Machine::kLong0, 0x5000, kInterruptGate32, 0, 1);
    } else {
      t.no_gate(row.first);
    }
    const bool delivered = deliver_event(t.c, exception(row.first), 0x1111);
    EXPECT_EQ(delivered, row.expected != 99) << unsigned{row.first};
    if (!delivered) {
      EXPECT_EQ(t.c.s.activity, Activity::kShutdown);
      continue;
    }
    EXPECT_EQ(t.c.rip, 0x30000 + 16 * row.expected) << unsigned{row.first} << " then " << row.page_fault_second;
    const uint64_t error = row.expected == kDF ? 0 : row.page_fault_second ? 2 : row.first * 8u | kIdt | kExt;
    EXPECT_EQ(t.frame(8, 1)[0], error);
    EXPECT_EQ(t.frame(8, 2)[1], 0x1111u);
    if (row.page_fault_second && row.first != kPF) {
      EXPECT_EQ(t.c.s.cr2, 0x40000000u - 48 + (exception(row.first).has_error ? 0 : 8));
    }
  }
}

TEST(Combination, AnInterruptOfAContributoryVectorIsBenign) {
  Machine t(Mode::kProtected);
  t.no_gate(kGP);
  ASSERT_TRUE(deliver_event(t.c, {EventType::kExternal, kGP}, 0));
  EXPECT_EQ(t.c.rip, 0x30000u + 16 * kNP);
  EXPECT_EQ(t.frame(4, 1)[0], kGP * 8u | kIdt | kExt);
}

TEST(Delivery, ClearsShadowsAndGd) {
  Machine t(Mode::kProtected);
  t.c.s.sti_shadow = t.c.s.movss_shadow = true;
  t.c.s.dr7 |= 0x2000;
  ASSERT_TRUE(deliver_event(t.c, exception(kDB), 0));
  EXPECT_FALSE(t.c.s.sti_shadow || t.c.s.movss_shadow);
  EXPECT_EQ(t.c.s.dr7, 0x400u);
}

TEST(Delivery, AnInnerStackIsWrittenWithTheInnerLevelsRights) {
  Machine t(Mode::kLong, 3);
  t.write<uint64_t>(0x3000, 0x83);  // the first 2 MiB for the supervisor only
  t.c.tlb_flush_all();
  ASSERT_TRUE(deliver_event(t.c, exception(kUD), 0));
  EXPECT_EQ(t.c.r[kRsp], Machine::kStack0 - 40);
}

TEST(Delivery, SmapForbidsTheInnerStackInUserPagesUnlessAcIsSet) {
  Machine t(Mode::kLong, 3);
  t.c.s.cr4 |= kCr4SMAP;
  t.write<uint64_t>(0x3000, 0x83);
  t.write<uint64_t>(Machine::kTss + 4, 0x280000);  // in the user page
  t.c.update_mode();
  t.c.tlb_flush_all();
  EXPECT_FALSE(deliver_event(t.c, exception(kUD), 0));
  t.c.s.activity = Activity::kRunning;
  t.c.set_rflags(2 | kAC_);
  t.c.update_mode();
  EXPECT_TRUE(deliver_event(t.c, exception(kUD), 0));
}

}  // namespace
}  // namespace dejavm::soft
