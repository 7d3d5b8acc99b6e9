// Far jumps, calls and returns, and IRET.
#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

using List = std::vector<uint64_t>;

// --- direct transfers ---

TEST(FarTransfer, InRealModeLoadsSelectorAndBaseOnly) {
  Machine t(Mode::kReal);
  t.c.s.segment[kCs].limit = 0xffff;
  ASSERT_EQ(t.outcome("\x9a\x78\x56\x34\x12"sv), "ok");
  EXPECT_EQ(t.c.s.segment[kCs].base, 0x12340u);
  EXPECT_EQ(t.c.rip, 0x5678u);
  EXPECT_EQ(t.frame(2, 2), (List{0x1005, 0x200}));
  EXPECT_EQ(t.refused("\x66\xea\x00\x00\x01\x00\x34\x12"sv), "#GP(0)");  // EIP above the limit
}

TEST(FarTransfer, InVirtual8086ModeGivesItsFixedAttributes) {
  Machine t(Mode::kV86);
  ASSERT_EQ(t.outcome("\xea\x78\x56\x34\x12"sv), "ok");
  EXPECT_EQ(t.c.s.segment[kCs], v86_segment(0x1234));
  EXPECT_EQ(t.c.cpl, 3);
}

TEST(FarTransfer, ToCodeChecksTypePrivilegePresenceAndLimit) {
  struct Row {
    unsigned cpl;
    uint16_t selector;
    uint32_t offset;
    const char* expected;
  };
  using M = Machine;
  const Row rows[] = {
      {0, 0, 0, "#GP(0)"},
      {0, 3, 0, "#GP(0)"},
      {0, M::kBeyond, 0, "#GP(100)"},
      {0, M::kData0, 0, "#GP(10)"},
      {0, M::kAbsentCode, 0, "#NP(c0)"},
      {0, M::kCode3, 0, "#GP(18)"},
      {3, M::kCode0, 0, "#GP(8)"},
      {0, M::kCode0 | 3, 0, "#GP(8)"},
      {0, M::kCode16, 0x10000, "#GP(0)"},
      {0, M::kLdtSel, 0, "#GP(90)"},
      {0, M::kCode0, 0x1234, "ok"},
      {3, M::kConforming, 0x1234, "ok"},
      {3, M::kCode3, 0x1234, "ok"},
      {3, M::kCode3 & ~3, 0x1234, "ok"},
      {0, M::kConforming | 3, 0x1234, "ok"},
      {0, M::kCode16, 0xffff, "ok"},
  };
  for (const Row& row : rows) {
    for (char opcode : {kJmp, kCall}) {
      Machine t(Mode::kProtected, row.cpl);
      ASSERT_EQ(t.outcome(far_32(opcode, row.selector, row.offset)), row.expected) << row.selector << " at " << row.cpl;
      if (row.expected != "ok"sv) continue;
      EXPECT_EQ(t.c.cpl, row.cpl);
      EXPECT_EQ(t.c.rip, row.offset);
      EXPECT_EQ(t.c.s.segment[kCs].selector, (row.selector & ~3) | row.cpl);
      if (opcode == kCall) {
        const uint64_t old = row.cpl == 3 ? M::kCode3 : M::kCode0;
        EXPECT_EQ(t.frame(4, 2), (List{TestCpu::kCode + 7, old}));
      }
    }
  }
}

TEST(FarTransfer, IndirectBetween64BitAndCompatibilityMode) {
  Machine t(Mode::kLong);
  t.c.r[kRbx] = TestCpu::kData;
  t.write<uint32_t>(TestCpu::kData, 0x6000);
  t.write<uint16_t>(TestCpu::kData + 4, Machine::kCode0);
  ASSERT_EQ(t.outcome("\xff\x2b"sv), "ok");  // jmp far [rbx]
  EXPECT_EQ(t.c.code_mode, CodeMode::k32);
  EXPECT_EQ(t.c.rip, 0x6000u);
  ASSERT_EQ(t.outcome(far_32(kCall, Machine::kLong0, 0x7000)), "ok");
  EXPECT_EQ(t.c.code_mode, CodeMode::k64);
  EXPECT_EQ(t.frame(4, 2), (List{0x6007, Machine::kCode0}));
  t.write<uint64_t>(TestCpu::kData, 0x7fff00001234);
  t.write<uint16_t>(TestCpu::kData + 8, Machine::kLong0);
  ASSERT_EQ(t.outcome("\x48\xff\x1b"sv), "ok");  // call far [rbx], 64-bit
  EXPECT_EQ(t.c.rip, 0x7fff00001234u);
  EXPECT_EQ(t.frame(8, 2), (List{0x7003, Machine::kLong0}));
}

TEST(FarTransfer, CodeWithLAndDIsReservedInLongMode) {
  Machine t(Mode::kCompatibility);
  EXPECT_EQ(t.refused(far_32(kJmp, Machine::kBothSizes, 0)), "#GP(c8)");
}

// --- returns ---

// A return frame on the stack of `t`.
void put_frame(Machine& t, unsigned size, const List& items) {
  const uint64_t at = TestCpu::kStack;
  t.c.r[kRsp] = at;
  for (size_t n = 0; n < items.size(); ++n) CHECK(t.memory->write(Gpa{at + n * size}, &items[n], size));
}

TEST(FarReturn, InRealModeReleasesBytes) {
  Machine t(Mode::kReal);
  t.write<uint32_t>(0x2800, 0x12345678);
  ASSERT_EQ(t.outcome("\xca\x10\x00"sv), "ok");
  EXPECT_EQ(t.c.rip, 0x5678u);
  EXPECT_EQ(t.c.s.segment[kCs].selector, 0x1234);
  EXPECT_EQ(t.c.r[kRsp], 0x814u);
}

struct ReturnRow {
  const char* what;
  Mode mode;
  unsigned cpl;
  uint64_t rip, cs, sp, ss;
  const char* expected;
};
using M = Machine;
constexpr uint64_t kHigh = 0x7ffffffff000, kBad = uint64_t{1} << 47;
// Both RETF and IRET obey these; the stack is used when the level changes (in 64-bit mode IRET always uses it).
const ReturnRow kReturns[] = {
    {"same level", Mode::kProtected, 0, 0x5000, M::kCode0, 0x9000, M::kData0, "ok"},
    {"null CS", Mode::kProtected, 0, 0x5000, 0, 0x9000, M::kData0, "#GP(0)"},
    {"CS beyond the GDT", Mode::kProtected, 0, 0x5000, M::kBeyond, 0x9000, M::kData0, "#GP(100)"},
    {"CS is data", Mode::kProtected, 0, 0x5000, M::kData0, 0x9000, M::kData0, "#GP(10)"},
    {"inwards", Mode::kProtected, 3, 0x5000, M::kCode0, 0x9000, M::kData0, "#GP(8)"},
    {"DPL differs from RPL", Mode::kProtected, 0, 0x5000, M::kCode0 | 3, 0x9000, M::kData3, "#GP(8)"},
    {"CS absent", Mode::kProtected, 0, 0x5000, M::kAbsentCode, 0x9000, M::kData0, "#NP(c0)"},
    {"EIP beyond the limit", Mode::kProtected, 0, 0x10000, M::kCode16, 0x9000, M::kData0, "#GP(0)"},
    {"outwards", Mode::kProtected, 0, 0x5000, M::kCode3, 0x9000, M::kData3, "ok"},
    {"outwards, conforming", Mode::kProtected, 0, 0x5000, M::kConforming | 3, 0x9000, M::kData3, "ok"},
    {"to ring 1", Mode::kProtected, 0, 0x5000, M::kCode1, 0x9000, M::kData1, "ok"},
    {"null SS outwards", Mode::kProtected, 0, 0x5000, M::kCode3, 0x9000, 0, "#GP(0)"},
    {"SS beyond the GDT", Mode::kProtected, 0, 0x5000, M::kCode3, 0x9000, M::kBeyond | 3, "#GP(100)"},
    {"SS with another RPL", Mode::kProtected, 0, 0x5000, M::kCode3, 0x9000, M::kData3 & ~3, "#GP(20)"},
    {"SS with another DPL", Mode::kProtected, 0, 0x5000, M::kCode3, 0x9000, M::kData0 | 3, "#GP(10)"},
    {"SS absent", Mode::kProtected, 0, 0x5000, M::kCode3, 0x9000, M::kFree | 3, "#SS(d0)"},
    {"to 64-bit user code", Mode::kLong, 0, kHigh, M::kLong3, kHigh, M::kData3, "ok"},
    {"to compatibility mode", Mode::kLong, 0, 0x5000, M::kCode3, 0x9000, M::kData3, "ok"},
    {"to 64-bit user code, null SS", Mode::kLong, 0, 0x5000, M::kLong3, 0x9000, 3, "#GP(0)"},
    {"target not canonical", Mode::kLong, 0, kBad, M::kLong3, 0x9000, M::kData3, "#GP(0)"},
    {"code with L and D", Mode::kLong, 0, 0x5000, M::kBothSizes, 0x9000, M::kData0, "#GP(c8)"},
};

void expect_return(const ReturnRow& row, bool iret) {
  SCOPED_TRACE(std::string(row.what) + (iret ? ", IRET" : ", RETF"));
  const bool long_mode = row.mode == Mode::kLong;
  Machine t(row.mode, row.cpl);
  t.descriptor(M::kFree, M::segment(0, 0xfffff, 0xc73));  // an absent stack of level 3
  List frame{row.rip, row.cs};
  if (iret) frame.push_back(2 | kCF);
  frame.push_back(row.sp);
  frame.push_back(row.ss);
  put_frame(t, long_mode ? 8 : 4, frame);
  const std::string_view bytes = iret ? (long_mode ? "\x48\xcf"sv : "\xcf"sv) : (long_mode ? "\x48\xcb"sv : "\xcb"sv);
  if (row.expected != "ok"sv) {
    EXPECT_EQ(t.refused(bytes), row.expected);
    return;
  }
  ASSERT_EQ(t.outcome(bytes), "ok");
  EXPECT_EQ(t.c.rip, row.rip);
  EXPECT_EQ(t.c.cpl, row.cs & 3);
  EXPECT_EQ(t.c.s.segment[kCs].selector, row.cs);
  EXPECT_EQ(t.c.cf(), iret);
  const bool new_stack = (row.cs & 3) != row.cpl || (long_mode && iret);
  EXPECT_EQ(t.c.s.segment[kSs].selector, new_stack ? row.ss : (row.cpl == 0 ? M::kData0 : M::kData3));
  EXPECT_EQ(t.c.r[kRsp], new_stack ? row.sp : TestCpu::kStack + (iret ? 12 : 8));
  EXPECT_EQ((t.c.s.segment[kSs].attributes >> 5) & 3, t.c.cpl);
  if (t.c.cpl > row.cpl) {
    EXPECT_EQ(t.c.s.segment[kDs], (SegmentState{}));  // level 0 data does not leak
  }
}

TEST(FarReturn, ObeysTheTableOfReturns) {
  for (const ReturnRow& row : kReturns) expect_return(row, false);
}
TEST(Iret, ObeysTheTableOfReturns) {
  for (const ReturnRow& row : kReturns) expect_return(row, true);
}

TEST(FarReturn, KeepsSegmentsThatTheOuterLevelMayUseAndTheBaseOfANullFs) {
  Machine t(Mode::kLong, 0);
  put_frame(t, 8, {0x5000, M::kLong3, 0x9000, M::kData3});
  t.load(kEs, M::kData3);
  t.load(kGs, M::kConforming);
  t.c.set_segment(kFs, null_segment(3));  // its RPL is lost
  t.c.set_segment_base(kFs, 0x123456789a);
  ASSERT_EQ(t.outcome("\x48\xcb"sv), "ok");
  EXPECT_EQ(t.c.s.segment[kEs].selector, M::kData3);
  EXPECT_EQ(t.c.s.segment[kGs].selector, M::kConforming);
  EXPECT_EQ(t.c.s.segment[kFs].selector, 0);
  EXPECT_EQ(t.c.s.segment[kFs].base, 0x123456789au);
  EXPECT_EQ(t.c.s.segment[kDs].selector, 0);
}

// As on AMD's processors, whose null selectors keep what is cached beside the rights.
TEST(FarReturn, ToAnOuterLevelKeepsTheBaseOfASegmentThatItDrops) {
  for (const auto bytes : {"\xcb"sv, "\xcf"sv}) {
    Machine t(Mode::kProtected, 0);
    if (bytes[0] == '\xcb') put_frame(t, 4, {0x5000, M::kCode3, 0x9000, M::kData3});
    else put_frame(t, 4, {0x5000, M::kCode3, 2, 0x9000, M::kData3});
    for (unsigned seg : {kEs, kDs, kFs, kGs}) t.c.set_segment_base(seg, 0x1000u * (seg + 1));
    ASSERT_EQ(t.outcome(bytes), "ok");
    for (unsigned seg : {kEs, kDs, kFs, kGs}) {
      EXPECT_EQ(t.c.s.segment[seg].selector, 0) << seg;
      EXPECT_EQ(t.c.s.segment[seg].attributes & kSegP, 0) << seg;
      EXPECT_EQ(t.c.s.segment[seg].base, 0x1000u * (seg + 1)) << seg;
    }
    EXPECT_EQ(t.c.r[kSlotFsBase], 0x1000u * (kFs + 1));
  }
}

// What earlier builds recorded goes on as it was.
TEST(FarReturn, InMachinesOfRevision1ADroppedSegmentLosesItsBase) {
  Machine t(Mode::kProtected, 0);
  t.c.revision = 1;
  put_frame(t, 4, {0x5000, M::kCode3, 0x9000, M::kData3});
  for (unsigned seg : {kEs, kDs, kFs, kGs}) t.c.set_segment_base(seg, 0x1000);
  ASSERT_EQ(t.outcome("\xcb"sv), "ok");
  for (unsigned seg : {kEs, kDs, kFs, kGs}) EXPECT_EQ(t.c.s.segment[seg].base, 0u) << seg;
}

TEST(FarReturn, ToA16BitStackKeepsTheUpperHalfOfEsp) {
  Machine t(Mode::kProtected, 0);
  t.descriptor(M::kFree, M::segment(0, 0xffff, 0xf3));
  put_frame(t, 4, {0x5000, M::kCode3, 0x11119000, M::kFree | 3});
  ASSERT_EQ(t.outcome("\xcb"sv), "ok");
  EXPECT_EQ(t.c.r[kRsp], (TestCpu::kStack & 0xffff0000) | 0x9000);
}

TEST(Iret, In64BitModeAtTheSameLevelTakesTheStackAndANullSs) {
  Machine t(Mode::kLong, 0);
  put_frame(t, 8, {0x5000, M::kLong0, 2, 0x9000, 0});
  ASSERT_EQ(t.outcome("\x48\xcf"sv), "ok");
  EXPECT_EQ(t.c.r[kRsp], 0x9000u);
  EXPECT_EQ(t.c.s.segment[kSs], null_segment(0));
}

TEST(Iret, FlagsFollowPrivilege) {
  struct Row {
    Mode mode;
    unsigned cpl, iopl;
    std::string_view bytes;
    unsigned size;
    uint64_t changed;  // of all flags set in the image
  };
  constexpr uint64_t kAlways = kArithFlags | kTF | kDF_ | kNT, kWide = kRF | kAC_ | kID;
  const Row rows[] = {
      {Mode::kProtected, 0, 0, "\xcf"sv, 4, kAlways | kWide | kIF | kIOPL},
      {Mode::kProtected, 0, 0, "\x66\xcf"sv, 2, kAlways | kIF | kIOPL},
      {Mode::kProtected, 3, 0, "\xcf"sv, 4, kAlways | kWide},
      {Mode::kProtected, 3, 3, "\xcf"sv, 4, kAlways | kWide | kIF},
      {Mode::kLong, 0, 0, "\x48\xcf"sv, 8, kAlways | kWide | kIF | kIOPL},
      {Mode::kLong, 3, 0, "\x48\xcf"sv, 8, kAlways | kWide},
      {Mode::kReal, 0, 0, "\xcf"sv, 2, kAlways | kIF | kIOPL},
      {Mode::kReal, 0, 0, "\x66\xcf"sv, 4, kAlways | kWide | kIF | kIOPL},
      {Mode::kV86, 3, 3, "\xcf"sv, 2, kAlways | kIF},
      {Mode::kV86, 3, 3, "\x66\xcf"sv, 4, kAlways | kWide | kIF},
  };
  for (const Row& row : rows) {
    Machine t(row.mode, row.cpl);
    const uint64_t before = 2 | row.iopl << 12 | (row.mode == Mode::kV86 ? uint64_t{kVM} : 0);
    t.c.set_rflags(before);
    const bool real = row.mode == Mode::kReal || row.mode == Mode::kV86;
    const uint64_t at = real ? t.c.s.segment[kSs].base + 0x800 : TestCpu::kStack;
    const uint64_t ones = 0xffffffff & ~(row.cpl == 0 ? uint64_t{kVM} : 0);  // no way into virtual-8086 mode
    const uint64_t items[] = {0x5000, t.c.s.segment[kCs].selector, ones, 0x9000, t.c.s.segment[kSs].selector};
    for (size_t n = 0; n < 5; ++n) CHECK(t.memory->write(Gpa{at + n * row.size}, &items[n], row.size));
    ASSERT_EQ(t.outcome(row.bytes), "ok");
    EXPECT_EQ(t.c.rflags(), before | row.changed);
  }
}

TEST(Iret, InVirtual8086ModeNeedsIopl3) {
  Machine t(Mode::kV86);
  EXPECT_EQ(t.refused("\xcf"sv), "#GP(0)");
}

TEST(Iret, ToVirtual8086Mode) {
  Machine t(Mode::kProtected, 0);
  put_frame(t, 4, {0x7777, 0x1000, 2 | kVM | kIF | kIOPL, 0xfff0, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000});
  ASSERT_EQ(t.outcome("\xcf"sv), "ok");
  EXPECT_TRUE(t.c.v86());
  EXPECT_EQ(t.c.cpl, 3);
  EXPECT_EQ(t.c.rip, 0x7777u);
  EXPECT_EQ(t.c.r[kRsp], 0xfff0u);
  const uint16_t selectors[] = {0x3000, 0x1000, 0x2000, 0x4000, 0x5000, 0x6000};  // ES CS SS DS FS GS
  for (unsigned n = kEs; n <= kGs; ++n) EXPECT_EQ(t.c.s.segment[n], v86_segment(selectors[n])) << n;
  EXPECT_EQ(t.c.rflags(), 2 | kVM | kIF | kIOPL);
  EXPECT_EQ(t.c.code_mode, CodeMode::k16);
}

TEST(Iret, ToVirtual8086ModeBeyond64KIsRefused) {
  Machine t(Mode::kProtected, 0);
  put_frame(t, 4, {0x10000, 0x1000, 2 | kVM, 0xfff0, 0x2000, 0, 0, 0, 0});
  EXPECT_EQ(t.refused("\xcf"sv), "#GP(0)");
}

TEST(Iret, WithNtIsGpInLongMode) {
  Machine t(Mode::kLong, 0);
  t.c.set_rflags(2 | kNT);
  EXPECT_EQ(t.refused("\x48\xcf"sv), "#GP(0)");
}

TEST(Iret, UnblocksNmiEvenWhenItFaults) {
  Machine t(Mode::kProtected, 0);
  t.c.s.nmi_blocked = true;
  put_frame(t, 4, {0x5000, 0, 2});
  EXPECT_EQ(t.outcome("\xcf"sv), "#GP(0)");
  EXPECT_FALSE(t.c.s.nmi_blocked);
}

TEST(FarReturn, StackBeyondItsLimitIsSs) {
  Machine t(Mode::kProtected, 0);
  t.c.s.segment[kSs].limit = TestCpu::kStack + 6;
  EXPECT_EQ(t.refused("\xcb"sv), "#SS(0)");
}

}  // namespace
}  // namespace dejavm::soft
