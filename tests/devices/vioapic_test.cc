// Expectations: Intel 82093AA datasheet, section 3.2; Intel ICH9 datasheet 13.5 (EOI register).
#include "devices/vioapic.h"

#include <gtest/gtest.h>

#include <random>

namespace dejavm {
namespace {

class IoApic : public testing::Test {
 protected:
  IoApic() {
    schema_of<Vioapic>();
    Vioapic::reset(s);
  }
  ~IoApic() override { EXPECT_EQ(Vioapic::invalid(s), nullptr); }
  uint32_t reg(uint8_t index) {
    Vioapic::write(s, {0}, 0, 4, index);
    return static_cast<uint32_t>(Vioapic::read(s, {0}, 0x10, 4));
  }
  void set_reg(uint8_t index, uint32_t value) {
    Vioapic::write(s, {0}, 0, 4, index);
    Vioapic::write(s, {0}, 0x10, 4, value);
  }
  void entry(unsigned pin, uint64_t value) {
    set_reg(static_cast<uint8_t>(0x11 + 2 * pin), static_cast<uint32_t>(value >> 32));
    set_reg(static_cast<uint8_t>(0x10 + 2 * pin), static_cast<uint32_t>(value));
  }
  void pulse(unsigned pin) {
    Vioapic::set_line(s, {0}, pin, true);
    Vioapic::set_line(s, {0}, pin, false);
  }
  // The vectors of all messages that wait.
  std::vector<int> messages() {
    std::vector<int> out;
    for (BusMessage m; Vioapic::pop_message(s, m);) out.push_back(m.vector);
    return out;
  }
  using V = std::vector<int>;
  static constexpr uint64_t kLevel = Vioapic::kLevel, kMasked = Vioapic::kMasked;
  Vioapic::State s{};
};

TEST_F(IoApic, Section3_2_IdentifiesItselfAndIsMaskedAtReset) {
  EXPECT_EQ(reg(1), 0x00170020u);
  for (unsigned pin = 0; pin < 24; ++pin) {
    EXPECT_EQ(reg(static_cast<uint8_t>(0x10 + 2 * pin)), 0x10000u);
    pulse(pin);
  }
  EXPECT_EQ(messages(), V{});
  set_reg(0, 0x0f000000);
  EXPECT_EQ(reg(0), 0x0f000000u);
  EXPECT_EQ(reg(2), 0x0f000000u);
}

TEST_F(IoApic, Section3_2_4_AnEdgeIsOneMessageWithTheEntrysFields) {
  entry(4, uint64_t{0x5a} << 56 | Vioapic::kLogical | 1 << 8 | 0x34);
  pulse(4);
  pulse(4);  // while the first still waits: the same message
  EXPECT_EQ(reg(0x18) & 0x1000, 0x1000u) << "delivery status";
  BusMessage m;
  ASSERT_TRUE(Vioapic::pop_message(s, m));
  EXPECT_EQ(m.vector, 0x34);
  EXPECT_EQ(m.delivery, Delivery::kLowestPriority);
  EXPECT_TRUE(m.logical);
  EXPECT_FALSE(m.level);
  EXPECT_EQ(m.destination, 0x5au);
  EXPECT_FALSE(Vioapic::pop_message(s, m));
  EXPECT_EQ(reg(0x18) & 0x1000, 0u);
}

TEST_F(IoApic, Section3_2_4_AMaskedEdgeIsLost) {
  entry(3, kMasked | 0x33);
  pulse(3);
  entry(3, 0x33);
  EXPECT_EQ(messages(), V{});
}

TEST_F(IoApic, Section3_2_4_ALevelWaitsForItsEoiAndSendsAgainWhileAsserted) {
  entry(9, kLevel | 0x49);
  Vioapic::set_line(s, {0}, 9, true);
  EXPECT_EQ(messages(), V{0x49});
  EXPECT_EQ(reg(0x22) & Vioapic::kRemoteIrr, uint64_t{Vioapic::kRemoteIrr});
  EXPECT_EQ(messages(), V{});
  Vioapic::eoi(s, {0}, 0x48);
  EXPECT_EQ(messages(), V{}) << "another vector's EOI";
  Vioapic::eoi(s, {0}, 0x49);
  EXPECT_EQ(messages(), V{0x49});
  Vioapic::set_line(s, {0}, 9, false);
  Vioapic::write(s, {0}, 0x40, 4, 0x49);  // the EOI register
  EXPECT_EQ(messages(), V{});
  EXPECT_EQ(reg(0x22) & Vioapic::kRemoteIrr, 0u);
}

TEST_F(IoApic, Section3_2_4_UnmaskingAnAssertedLevelSends) {
  entry(9, kMasked | kLevel | 0x49);
  Vioapic::set_line(s, {0}, 9, true);
  EXPECT_EQ(messages(), V{});
  entry(9, kLevel | 0x49);
  EXPECT_EQ(messages(), V{0x49});
}

TEST_F(IoApic, Section3_2_4_ChoosingEdgeClearsRemoteIrr) {
  entry(9, kLevel | 0x49);
  Vioapic::set_line(s, {0}, 9, true);
  EXPECT_EQ(messages(), V{0x49});
  entry(9, kMasked | 0x49);
  EXPECT_EQ(reg(0x22) & Vioapic::kRemoteIrr, 0u);
  entry(9, kLevel | 0x49);
  EXPECT_EQ(messages(), V{0x49});
}

TEST_F(IoApic, EveryAccessHasADefinedResultAndLeavesAValidState) {
  std::mt19937_64 r(1);
  for (unsigned n = 0; n < 100'000; ++n) {
    const uint64_t offset = r() % 4 ? (r() % 3) * 16 : r() % 0x2000;
    const auto size = static_cast<unsigned>(1 + r() % 8);
    switch (r() % 5) {
      case 0: EXPECT_EQ(Vioapic::read(s, {n}, offset, size) & ~open_bus(size), 0u); break;
      case 1:
      case 2: Vioapic::write(s, {n}, offset, size, r() % 2 ? r() : r() % 64); break;
      case 3: Vioapic::set_line(s, {n}, static_cast<unsigned>(r() % 26), r() & 1); break;
      default: messages(); Vioapic::eoi(s, {n}, static_cast<uint8_t>(r()));
    }
    ASSERT_EQ(Vioapic::invalid(s), nullptr) << "after step " << n;
  }
}

}  // namespace
}  // namespace dejavm
