// Bus masters and several vCPUs on one board: when memory moves, who is told, and what the guest may not reach.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "devices/testdma.h"
#include "devices/vioapic.h"
#include "vmm/board/address_map.h"
#include "vmm/board/board.h"

namespace dejavm {
namespace {

using namespace address_map;

// A MiB of RAM from 0, and who asked for what of it when.
class FakeMemory final : public GuestDma {
 public:
  bool read(Position at, uint16_t, Gpa gpa, std::span<uint8_t> to) override {
    asked.push_back({at, false, gpa.value, to.size()});
    if (!inside(gpa, to.size())) return false;
    std::copy_n(ram.begin() + static_cast<ptrdiff_t>(gpa.value), to.size(), to.begin());
    return true;
  }
  bool write(Position at, uint16_t, Gpa gpa, std::span<const uint8_t> from) override {
    asked.push_back({at, true, gpa.value, from.size()});
    if (!inside(gpa, from.size())) return false;
    std::ranges::copy(from, ram.begin() + static_cast<ptrdiff_t>(gpa.value));
    return true;
  }
  struct Asked {
    Position at;
    bool write;
    uint64_t address, len_bytes;
    bool operator==(const Asked&) const = default;
  };
  std::vector<Asked> asked;
  std::vector<uint8_t> ram = std::vector<uint8_t>(1 << 20);

 private:
  bool inside(Gpa gpa, uint64_t len) const { return gpa.value < ram.size() && ram.size() - gpa.value >= len; }
};

class FourProcessors : public testing::Test {
 protected:
  FourProcessors() {
    config.vcpus = 4;
    config.test_device = true;
    board = std::make_unique<Board>(config, controls, nullptr, &memory);
    for (RunControl& control : controls) control.until = kForever;
    for (uint32_t n = 0; n < 4; ++n) apic(n, 0xf0, 0x1ff);
  }
  void apic(uint32_t vcpu, uint64_t offset, uint32_t value) {
    board->mmio_write({vcpu, {now}}, Gpa{kLocalApic + offset}, 4, value);
  }
  uint32_t apic(uint32_t vcpu, uint64_t offset) {
    return static_cast<uint32_t>(board->mmio_read({vcpu, {now}}, Gpa{kLocalApic + offset}, 4));
  }
  void dma(uint64_t reg, uint32_t value, uint32_t vcpu = 0) {
    board->io_write({vcpu, {now}}, Port{static_cast<uint16_t>(kTestDma + reg)}, 4, value);
  }
  uint64_t dma(uint64_t reg) { return board->io_read({0, {now}}, Port{static_cast<uint16_t>(kTestDma + reg)}, 4); }
  void start(uint32_t command, uint64_t source, uint64_t target, uint32_t length, uint32_t vcpu = 0) {
    dma(Testdma::kSource, static_cast<uint32_t>(source));
    dma(Testdma::kSource + 4, static_cast<uint32_t>(source >> 32));
    dma(Testdma::kTarget, static_cast<uint32_t>(target));
    dma(Testdma::kTarget + 4, static_cast<uint32_t>(target >> 32));
    dma(Testdma::kLength, length);
    dma(Testdma::kCommand, command, vcpu);
  }
  void pass(uint64_t ns) {
    now += ns;
    board->advance({now});
  }
  MachineConfig config;
  std::array<RunControl, 4> controls;
  FakeMemory memory;
  std::unique_ptr<Board> board;
  uint64_t now = 0;
};

TEST_F(FourProcessors, MemoryMovesAtItsTimeHoweverLateTheBoardIsAsked) {
  for (size_t i = 0; i < 600; ++i) memory.ram[0x1000 + i] = static_cast<uint8_t>(i * 7);
  start(Testdma::kCopy, 0x1000, 0x2000, 600);
  EXPECT_EQ(board->next_event(), Nanos{1000});
  pass(999);
  EXPECT_TRUE(memory.asked.empty());
  EXPECT_EQ(dma(Testdma::kStatus), Testdma::kBusy);
  pass(1'000'000);
  using A = FakeMemory::Asked;
  EXPECT_EQ(memory.asked, (std::vector<A>{{{0, {1000}}, false, 0x1000, 256},
                                          {{0, {1000}}, true, 0x2000, 256},
                                          {{0, {2000}}, false, 0x1100, 256},
                                          {{0, {2000}}, true, 0x2100, 256},
                                          {{0, {3000}}, false, 0x1200, 88},
                                          {{0, {3000}}, true, 0x2200, 88}}));
  EXPECT_TRUE(std::equal(memory.ram.begin() + 0x1000, memory.ram.begin() + 0x1000 + 600, memory.ram.begin() + 0x2000));
  EXPECT_EQ(dma(Testdma::kStatus), Testdma::kDone);
}

TEST_F(FourProcessors, WhatIsNoRamEndsInTheDevicesOwnError) {
  for (const uint64_t address :
       {uint64_t{1} << 20, (uint64_t{1} << 20) - 100, uint64_t{0xfee00000}, ~uint64_t{0} - 50, uint64_t{1} << 63}) {
    start(Testdma::kSum, address, 0, 101);
    pass(1000);
    EXPECT_EQ(dma(Testdma::kStatus), Testdma::kError) << std::hex << address;
    EXPECT_EQ(dma(Testdma::kLength), 101u);
    dma(Testdma::kStatus, 6);
  }
}

TEST_F(FourProcessors, ABoardWithoutMemoryRefusesEveryTransfer) {
  std::array<RunControl, 4> others;
  Board lone(config, others, nullptr);
  lone.io_write({0, {0}}, Port{kTestDma + Testdma::kLength}, 4, 1);
  lone.io_write({0, {0}}, Port{kTestDma + Testdma::kCommand}, 4, Testdma::kSum);
  lone.advance({5000});
  EXPECT_EQ(lone.io_read({0, {5000}}, Port{kTestDma + Testdma::kStatus}, 4), Testdma::kError);
}

TEST_F(FourProcessors, ItsInterruptGoesWhereTheIoApicSendsIt) {
  constexpr uint32_t kEntry = 0x10 + 2 * kTestDmaIrq;
  auto ioapic = [&](uint32_t index, uint32_t value) {
    board->mmio_write({2, {now}}, Gpa{kIoApic}, 4, index);
    board->mmio_write({2, {now}}, Gpa{kIoApic + 0x10}, 4, value);
  };
  ioapic(kEntry + 1, 3u << 24);
  ioapic(kEntry, 0x51);
  start(Testdma::kFill, 0, 0, 16, 2);
  pass(1000);
  for (uint32_t n = 0; n < 4; ++n) EXPECT_EQ(controls[n].intr, n == 3) << n;
  EXPECT_EQ(board->acknowledge_interrupt({3, {now}}), 0x51);
  EXPECT_EQ(board->acknowledge_interrupt({1, {now}}), -1);
}

TEST_F(FourProcessors, EachHasALocalApicOfItsOwnAndOneClock) {
  for (uint32_t n = 0; n < 4; ++n) EXPECT_EQ(apic(n, 0x20) >> 24, n);
  apic(1, 0x80, 0x30);
  EXPECT_EQ(board->cr8_read({1, {now}}), 3u);
  EXPECT_EQ(board->cr8_read({2, {now}}), 0u);
  apic(3, 0x3e0, 0xb);   // divided by 1
  apic(3, 0x320, 0x41);  // one-shot, vector 0x41
  apic(3, 0x380, 5000);
  EXPECT_NE(board->next_event(), kNever);
  for (const RunControl& c : controls)
    EXPECT_EQ(c.until.value, board->next_event().value) << "every vCPU returns in time for it";
  pass(board->next_event().value - now);
  EXPECT_TRUE(controls[3].intr);
  EXPECT_FALSE(controls[0].intr);
}

TEST_F(FourProcessors, SavedInTheMiddleOfATransferItGoesOnAlike) {
  start(Testdma::kFill, 0, 0x3000, 1000);
  pass(2500);
  std::array<RunControl, 4> others;
  FakeMemory copy = memory;
  Board restored(config, others, nullptr, &copy);
  const auto from = board->chunks(), to = restored.chunks();
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); ++i) std::memcpy(to[i].data, from[i].data, from[i].schema->size);
  restored.restored();
  pass(100'000);
  restored.advance({now});
  EXPECT_EQ(copy.asked, memory.asked);
  EXPECT_EQ(copy.ram, memory.ram);
}

}  // namespace
}  // namespace dejavm
