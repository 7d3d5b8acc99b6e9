// The wiring between models that one virtual processor does not show: who takes an interrupt message.
#include "vmm/board.h"

#include <gtest/gtest.h>

#include <array>


namespace dejavm {
namespace {

constexpr Gpa kApic{0xfee00000};
constexpr uint64_t kTpr = 0x80, kSvr = 0xf0, kLdr = 0xd0, kIcrLow = 0x300, kIcrHigh = 0x310;

class ThreeProcessors : public testing::Test {
 protected:
  ThreeProcessors() {
    config.vcpus = 3;
    board = std::make_unique<Board>(config, controls, nullptr);
    for (uint32_t n = 0; n < 3; ++n) {
      apic(n, kSvr, 0x1ff);
      apic(n, kLdr, 1u << (24 + n));
    }
  }
  void apic(uint32_t vcpu, uint64_t offset, uint32_t value) { board->mmio_write({vcpu, {0}}, kApic + offset, 4, value); }
  // Bit n: processor n is asked to take an interrupt; each takes what it is asked to.
  unsigned takers() {
    unsigned all = 0;
    for (uint32_t n = 0; n < 3; ++n) {
      if (!controls[n].intr) continue;
      all |= 1u << n;
      EXPECT_EQ(board->acknowledge_interrupt({n, {0}}), 0x51);
      apic(n, 0xb0, 0);
    }
    return all;
  }
  void send_lowest_priority(uint32_t logical_destination) {
    apic(0, kIcrHigh, logical_destination << 24);
    apic(0, kIcrLow, 0x4951);  // vector 51h, lowest priority, logical
  }
  MachineConfig config;
  std::array<RunControl, 3> controls;
  std::unique_ptr<Board> board;
};

TEST_F(ThreeProcessors, Sdm11_6_2_4_TheLowestPriorityTakesTheMessage) {
  apic(0, kTpr, 0x40), apic(1, kTpr, 0x20), apic(2, kTpr, 0x30);
  send_lowest_priority(7);
  EXPECT_EQ(takers(), 2u);
  send_lowest_priority(5);
  EXPECT_EQ(takers(), 4u);
}

TEST_F(ThreeProcessors, OfEqualPrioritiesTheFirstTakesIt) {
  send_lowest_priority(6);
  EXPECT_EQ(takers(), 2u);
}

TEST_F(ThreeProcessors, ADisabledApicTakesNoneThatAnotherCan) {
  apic(1, kSvr, 0xff);
  apic(2, kTpr, 0x30);
  send_lowest_priority(6);
  EXPECT_EQ(takers(), 4u);
}

TEST_F(ThreeProcessors, AFixedMessageGoesToAllThatMatch) {
  apic(0, kIcrHigh, 6u << 24);
  apic(0, kIcrLow, 0x4851);
  EXPECT_EQ(takers(), 6u);
  apic(0, kIcrLow, 0xc4051);  // all but self
  EXPECT_EQ(takers(), 6u);
}

TEST_F(ThreeProcessors, InitReachesItsProcessor) {
  apic(0, kIcrHigh, 2u << 24);
  apic(0, kIcrLow, 0x4500);
  EXPECT_TRUE(controls[2].init);
  EXPECT_FALSE(controls[1].init);
}

}  // namespace
}  // namespace dejavm
