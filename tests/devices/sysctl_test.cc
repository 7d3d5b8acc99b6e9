// Expectations from the ICH9 datasheet 13.7.3 and 13.7.5, and from the conventions that devices/sysctl.h names.
#include "devices/sysctl.h"

#include <gtest/gtest.h>

namespace dejavm {
namespace {

class SysctlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    schema_of<Sysctl>();
    s = {};
    Sysctl::reset(s);
  }
  void out(uint64_t port, uint64_t value, unsigned size = 1) { Sysctl::write(s, {0}, port, size, value); }
  uint64_t in(uint64_t port, unsigned size = 1) { return Sysctl::read(s, {0}, port, size); }
  Sysctl::State s;
};

TEST_F(SysctlTest, ARiseOfPort92Bit0AsksForAReset) {
  out(0x92, 0x02);
  EXPECT_EQ(Sysctl::lines(s), 0u);
  EXPECT_EQ(in(0x92), 0x02u);
  out(0x92, 0xff);
  EXPECT_EQ(Sysctl::lines(s), Sysctl::kReset);
  EXPECT_EQ(in(0x92), 0x03u);
  Sysctl::reset(s);
  EXPECT_EQ(Sysctl::lines(s), 0u);
  EXPECT_EQ(in(0x92), 0x00u);
}

TEST_F(SysctlTest, ARiseOfResetControlBit2AsksForAReset) {
  out(0xcf9, 0x02);
  EXPECT_EQ(Sysctl::lines(s), 0u);
  EXPECT_EQ(in(0xcf9), 0x02u);
  out(0xcf9, 0x06);
  EXPECT_EQ(Sysctl::lines(s), Sysctl::kReset);
  out(0xcf9, 0xff);
  EXPECT_EQ(in(0xcf9), 0x0eu);
}

TEST_F(SysctlTest, OnlyARiseAsksForAReset) {
  out(0xcf9, 0x04);
  out(0x92, 0x01);
  s.reset_requested = false;
  out(0xcf9, 0x0e);
  out(0x92, 0x03);
  EXPECT_EQ(Sysctl::lines(s), 0u);
  out(0xcf9, 0x00);
  out(0x92, 0x00);
  EXPECT_EQ(Sysctl::lines(s), 0u);
  out(0xcf9, 0x04);
  EXPECT_EQ(Sysctl::lines(s), Sysctl::kReset);
}

TEST_F(SysctlTest, ThePostCodeIsALatch) {
  out(0x80, 0xa5);
  EXPECT_EQ(in(0x80), 0xa5u);
}

TEST_F(SysctlTest, DebugExitIsThereOnlyIfEnabledAndTheFirstValueCounts) {
  out(0xf4, 0x10);
  EXPECT_EQ(Sysctl::lines(s), 0u);
  EXPECT_EQ(in(0xf4, 4), 0xffffffffu);
  s.debug_exit_enabled = true;
  out(0xf4, 0x31, 4);
  out(0xf4, 0x32);
  EXPECT_EQ(Sysctl::lines(s), Sysctl::kDebugExit);
  EXPECT_EQ(s.debug_exit_value, 0x31);
  EXPECT_EQ(in(0xf4), 0xffu);
  Sysctl::reset(s);
  EXPECT_TRUE(s.debug_exit_enabled);
  EXPECT_EQ(Sysctl::lines(s), 0u);
  EXPECT_EQ(s.debug_exit_value, 0);
}

TEST_F(SysctlTest, TheDebugConsoleShowsItselfAndEmitsEachByteOnce) {
  for (uint64_t port : {0xe9u, 0x402u}) {
    uint8_t byte = 0;
    EXPECT_EQ(in(port), 0xe9u);
    EXPECT_FALSE(Sysctl::pop_debug(s, byte));
    out(port, 'A');
    EXPECT_TRUE(Sysctl::pop_debug(s, byte));
    EXPECT_EQ(byte, 'A');
    EXPECT_FALSE(Sysctl::pop_debug(s, byte));
    out(port, 0);
    EXPECT_TRUE(Sysctl::pop_debug(s, byte));
    EXPECT_EQ(byte, 0);
  }
}

TEST_F(SysctlTest, WideAccessesReachOnlyTheirFirstPort) {
  out(0xcf8, 0x0600, 4);  // PCI configuration address, not reset control
  EXPECT_EQ(Sysctl::lines(s), 0u);
  out(0x80, 0x1122334455667788, 8);
  EXPECT_EQ(in(0x80, 8), 0xffffffffffffff88u);
  EXPECT_EQ(in(0x81), 0xffu);
  EXPECT_EQ(in(~uint64_t{0}, 2), 0xffffu);
  out(~uint64_t{0}, 0, 8);
  EXPECT_EQ(Sysctl::invalid(s), nullptr);
}

}  // namespace
}  // namespace dejavm
