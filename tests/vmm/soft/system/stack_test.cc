// ENTER on stacks of another width than its operand, and ARPL's one write.
#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

// Protected mode with 32-bit code on a 16-bit stack.
struct NarrowStack : Machine {
  NarrowStack() : Machine(Mode::kProtected) {
    load(kSs, kData16);
    c.r[kRsp] = 0xabcd8000;
    c.r[kRbp] = 0x12349000;
  }
};

TEST(Enter, With32BitOperandsOnA16BitStackKeepsTheUpperHalfOfEspInEbp) {
  NarrowStack t;
  ASSERT_EQ(t.outcome("\xc8\x10\x00\x00"sv), "ok");
  EXPECT_EQ(t.c.r[kRbp], 0xabcd7ffcu);
  EXPECT_EQ(t.c.r[kRsp], 0xabcd7fecu);
  EXPECT_EQ(t.read<uint32_t>(0x7ffc), 0x12349000u);
}

TEST(Enter, PushesThatFramePointerAtNestingLevels) {
  NarrowStack t;
  t.write<uint32_t>(0x8ffc, 0x55667788);
  ASSERT_EQ(t.outcome("\xc8\x00\x00\x02"sv), "ok");
  EXPECT_EQ(t.c.r[kRbp], 0xabcd7ffcu);
  EXPECT_EQ(t.c.r[kRsp], 0xabcd7ff4u);
  EXPECT_EQ(t.read<uint32_t>(0x7ff8), 0x55667788u);
  EXPECT_EQ(t.read<uint32_t>(0x7ff4), 0xabcd7ffcu);
}

TEST(Enter, With16BitOperandsOnA32BitStackWritesBpOnly) {
  Machine t(Mode::kProtected);
  t.c.r[kRsp] = 0x00028000;
  t.c.r[kRbp] = 0x12349000;
  ASSERT_EQ(t.outcome("\x66\xc8\x00\x00\x00"sv), "ok");
  EXPECT_EQ(t.c.r[kRbp], 0x12347ffeu);
  EXPECT_EQ(t.c.r[kRsp], 0x00027ffeu);
}

// arpl [0x1000], ax with DS read-only.
TEST(Arpl, WritesOnlyWhereTheLevelChanges) {
  Machine t(Mode::kProtected);
  t.load(kDs, Machine::kReadOnly);
  t.write<uint16_t>(0x1000, 0x43);
  t.c.r[kRax] = 3;
  EXPECT_EQ(t.outcome("\x63\x05\x00\x10\x00\x00"sv), "ok");
  EXPECT_FALSE(t.c.flag(kZF));
  t.write<uint16_t>(0x1000, 0x42);
  EXPECT_EQ(t.refused("\x63\x05\x00\x10\x00\x00"sv), "#GP(0)");
  t.load(kDs, Machine::kData0);
  EXPECT_EQ(t.outcome("\x63\x05\x00\x10\x00\x00"sv), "ok");
  EXPECT_TRUE(t.c.flag(kZF));
  EXPECT_EQ(t.read<uint16_t>(0x1000), 0x43u);
}

// What earlier builds recorded goes on as it was.
TEST(Revision1, EnterAndArplAreAsTheyWere) {
  NarrowStack narrow;
  narrow.c.revision = 1;
  ASSERT_EQ(narrow.outcome("\xc8\x10\x00\x00"sv), "ok");
  EXPECT_EQ(narrow.c.r[kRbp], 0x7ffcu);
  Machine t(Mode::kProtected);
  t.c.revision = 1;
  t.load(kDs, Machine::kReadOnly);
  t.write<uint16_t>(0x1000, 0x43);
  t.c.r[kRax] = 3;
  EXPECT_EQ(t.refused("\x63\x05\x00\x10\x00\x00"sv), "#GP(0)");
}

}  // namespace
}  // namespace dejavm::soft
