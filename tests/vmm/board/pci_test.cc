// PCI as a vCPU finds it: configuration space by both ways, BARs of each kind, interrupts of each kind.
#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "vmm/board/board.h"
#include "vmm/board/models.h"

namespace dejavm {
namespace {

using namespace address_map;

constexpr uint64_t kTestConfig = kPciConfig + (kTestPciSlot << 15);
constexpr uint64_t kBar = 0xc0001000, kTable = 0xc0002000;
constexpr uint16_t kBarPort = 0xd000;
constexpr uint16_t kCommand = 0x04, kMsi = 0x50, kMsix = 0x70, kPower = 0x40, kExpress = 0x80;

// RAM from 0 on.
struct Memory : GuestDma {
  std::array<uint8_t, 0x4000> bytes{};
  uint16_t requester = 0;
  bool read(Position, uint16_t who, Gpa at, std::span<uint8_t> to) override {
    requester = who;
    if (at.value + to.size() > bytes.size()) return false;
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at.value), to.size(), to.begin());
    return true;
  }
  bool write(Position, uint16_t who, Gpa at, std::span<const uint8_t> from) override {
    requester = who;
    if (at.value + from.size() > bytes.size()) return false;
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<ptrdiff_t>(at.value));
    return true;
  }
};

class Pci : public ::testing::Test {
 protected:
  Pci() {
    config_.test_device = true;
    board_ = std::make_unique<Board>(config_, controls_, nullptr, &memory_);
  }
  Position at() const { return {0, {now_}}; }
  uint32_t in(uint16_t port, unsigned size = 4) { return static_cast<uint32_t>(board_->io_read(at(), {port}, size)); }
  void out(uint16_t port, uint32_t value, unsigned size = 4) { board_->io_write(at(), {port}, size, value); }
  uint32_t read(uint64_t gpa, unsigned size = 4) {
    return static_cast<uint32_t>(board_->mmio_read(at(), Gpa{gpa}, size));
  }
  void write(uint64_t gpa, uint32_t value, unsigned size = 4) { board_->mmio_write(at(), Gpa{gpa}, size, value); }
  void select(unsigned bus, unsigned device, unsigned offset) {
    out(kPciAddress, 0x80000000 | bus << 16 | device << 11 | offset);
  }
  // All BARs in their places, all decoders and bus mastering on.
  void enable() {
    write(kTestConfig + 0x10, kBar);
    write(kTestConfig + 0x18, kBarPort);
    write(kTestConfig + 0x20, kTable);
    write(kTestConfig + kCommand, 7, 2);
  }
  // Fills 600 bytes from 0x1000 on, which takes three microseconds.
  void fill() {
    write(kBar + Testdma::kTarget, 0x1000);
    write(kBar + Testdma::kLength, 600);
    write(kBar + Testdma::kResult, 0xab);
    write(kBar, Testdma::kFill);
    now_ += 3000;
    board_->advance({now_});
  }
  // The local APIC takes vectors, and so does the test: what came, or -1.
  int taken() {
    write(kLocalApic + 0xf0, 0x1ff);
    if (!controls_[0].intr) return -1;
    const int vector = board_->acknowledge_interrupt(at());
    write(kLocalApic + 0xb0, 0);
    return vector;
  }
  void set_vector(unsigned n, uint8_t vector, bool masked) {
    write(kTable + 16 * n, 0xfee00000);
    write(kTable + 16 * n + 8, vector);
    write(kTable + 16 * n + 12, masked);
  }

  MachineConfig config_;
  std::array<RunControl, 1> controls_;
  Memory memory_;
  std::unique_ptr<Board> board_;
  uint64_t now_ = 1000;
};

TEST_F(Pci, BothWaysLeadToTheSameConfigurationSpace) {
  select(0, kTestPciSlot, 0);
  EXPECT_EQ(in(kPciData), 0x00ff1b36u);
  EXPECT_EQ(in(kPciData + 2, 2), 0x00ffu);
  EXPECT_EQ(read(kTestConfig), 0x00ff1b36u);
  EXPECT_EQ(read(kPciConfig), 0x00081b36u);
  select(0, kTestPciSlot, kCommand);
  out(kPciData, 6, 1);
  EXPECT_EQ(read(kTestConfig + kCommand, 2), 6u);
  EXPECT_EQ(in(kPciAddress), 0x80000000u | kTestPciSlot << 11 | kCommand);
}

TEST_F(Pci, WhereNoFunctionIsThereAreOnes) {
  for (const auto& [bus, device] : {std::pair{0u, 1u}, {0u, 30u}, {1u, 0u}, {255u, 31u}}) {
    select(bus, device, 0);
    EXPECT_EQ(in(kPciData), 0xffffffffu) << bus << ':' << device;
  }
  EXPECT_EQ(read(kPciConfig + (1 << 15)), 0xffffffffu);
  EXPECT_EQ(read(kTestConfig + 0x1000), 0xffffffffu);  // function 1
  out(kPciAddress, kTestPciSlot << 11);
  EXPECT_EQ(in(kPciData), 0xffffffffu) << "the enable bit is clear";
  // The reset control register lies within the address register, and is not part of it.
  EXPECT_EQ(in(0xcf9, 1), 0u);
}

TEST_F(Pci, BarsTellTheirSizesAndMoveWhileTheyAreOn) {
  const uint32_t all = 0xffffffff;
  for (const unsigned bar : {0x10u, 0x14u, 0x18u, 0x1cu, 0x20u, 0x24u}) write(kTestConfig + bar, all);
  EXPECT_EQ(read(kTestConfig + 0x10), 0xfffff004u);
  EXPECT_EQ(read(kTestConfig + 0x14), 0xffffffffu);
  EXPECT_EQ(read(kTestConfig + 0x18), 0xffffffe1u);
  EXPECT_EQ(read(kTestConfig + 0x1c), 0u);
  EXPECT_EQ(read(kTestConfig + 0x20), 0xfffff000u);
  write(kTestConfig + 0x14, 0);
  enable();
  write(kBar + Testdma::kLength, 77);
  EXPECT_EQ(in(kBarPort + Testdma::kLength), 77u);
  write(kTestConfig + 0x10, 0x5000);
  write(kTestConfig + 0x14, 0x80);
  EXPECT_EQ(read(kBar + Testdma::kLength), 0xffffffffu);
  EXPECT_EQ(read(0x8000005000 + Testdma::kLength), 77u);
  write(kTestConfig + kCommand, 1, 2);
  EXPECT_EQ(read(0x8000005000 + Testdma::kLength), 0xffffffffu);
  EXPECT_EQ(in(kBarPort + Testdma::kLength), 77u);
  write(kTestConfig + kCommand, 2, 2);
  EXPECT_EQ(in(kBarPort + Testdma::kLength), 0xffffffffu);
}

TEST_F(Pci, ABusMasterIsNamedAndWaitsUntilItMay) {
  enable();
  write(kTestConfig + kCommand, 3, 2);
  fill();
  EXPECT_EQ(memory_.bytes[0x1000], 0);
  EXPECT_EQ(read(kBar + Testdma::kStatus), Testdma::kBusy + 0u);
  write(kTestConfig + kCommand, 7, 2);
  now_ += 3000;
  board_->advance({now_});
  EXPECT_EQ(memory_.bytes[0x1000], 0xab);
  EXPECT_EQ(memory_.requester, kTestPciSlot << 3);
  EXPECT_EQ(read(kBar + Testdma::kStatus), Testdma::kDone + 0u);
}

TEST_F(Pci, ATransferToNowhereIsAReceivedMasterAbort) {
  enable();
  write(kBar + Testdma::kTarget, 0xfff00000);
  write(kBar + Testdma::kLength, 4);
  write(kBar, Testdma::kFill);
  now_ += 1000;
  EXPECT_EQ(read(kBar + Testdma::kStatus), Testdma::kError + 0u);
  EXPECT_EQ(read(kTestConfig + 0x06, 2) & 0x2000, 0x2000u);
  write(kTestConfig + 0x06, 0x2000, 2);
  EXPECT_EQ(read(kTestConfig + 0x06, 2) & 0x2000, 0u);
}

TEST_F(Pci, IntaIsALevelAtItsPin) {
  enable();
  const uint64_t entry = 0x10 + 2 * (kPciFirstPin + kTestPciSlot % 4);
  write(kIoApic, static_cast<uint32_t>(entry));
  write(kIoApic + 0x10, 0x8000 | 0x61);  // level
  fill();
  EXPECT_EQ(read(kTestConfig + 0x06, 2) & 8, 8u);
  EXPECT_EQ(taken(), 0x61);
  EXPECT_EQ(taken(), 0x61) << "as long as it is asserted";
  write(kTestConfig + kCommand, 0x407, 2);  // no INTx
  taken();
  EXPECT_EQ(taken(), -1);
  EXPECT_EQ(read(kTestConfig + 0x06, 2) & 8, 8u);
  write(kTestConfig + kCommand, 7, 2);
  EXPECT_EQ(taken(), 0x61);
  write(kBar + Testdma::kStatus, 6);
  taken();
  EXPECT_EQ(taken(), -1);
}

TEST_F(Pci, AnMsiIsSentOnceAndWaitsWhileItIsMasked) {
  enable();
  write(kTestConfig + kMsi + 4, 0xfee00000);
  write(kTestConfig + kMsi + 12, 0x71, 2);
  write(kTestConfig + kMsi + 2, 1, 2);
  fill();
  EXPECT_EQ(taken(), 0x71);
  EXPECT_EQ(taken(), -1);
  write(kBar + Testdma::kStatus, 6);
  write(kTestConfig + kMsi + 16, 1);
  fill();
  EXPECT_EQ(taken(), -1);
  EXPECT_EQ(read(kTestConfig + kMsi + 20), 1u);
  write(kTestConfig + kMsi + 16, 0);
  EXPECT_EQ(taken(), 0x71);
  EXPECT_EQ(read(kTestConfig + kMsi + 20), 0u);
}

TEST_F(Pci, MsixHasAVectorForEachReasonWithMasksAndPendingBits) {
  enable();
  set_vector(0, 0x81, false);
  set_vector(1, 0x82, true);
  write(kTestConfig + kMsix + 2, 0x8000, 2);
  EXPECT_EQ(read(kTestConfig + kMsix + 2, 2), 0x8001u);
  fill();
  EXPECT_EQ(taken(), 0x81);
  write(kBar, 9);  // no such command
  EXPECT_EQ(taken(), -1);
  EXPECT_EQ(read(kTable + pci::kMsixPending), 2u);
  write(kTestConfig + kMsix + 2, 0xc000, 2);
  set_vector(1, 0x82, false);
  EXPECT_EQ(taken(), -1) << "all are masked";
  write(kTestConfig + kMsix + 2, 0x8000, 2);
  EXPECT_EQ(taken(), 0x82);
  EXPECT_EQ(read(kTable + pci::kMsixPending), 0u);
  EXPECT_EQ(taken(), -1) << "with MSI-X there is no INTx";
}

TEST_F(Pci, D3hotIsSilentAndKeepsAll) {
  enable();
  write(kBar + Testdma::kLength, 77);
  write(kTestConfig + kPower + 4, 3, 2);
  EXPECT_EQ(read(kBar + Testdma::kLength), 0xffffffffu);
  EXPECT_EQ(read(kTestConfig), 0x00ff1b36u);
  write(kTestConfig + kPower + 4, 1, 2);
  EXPECT_EQ(read(kTestConfig + kPower + 4) & 3, 3u) << "there is no D1";
  write(kTestConfig + kPower + 4, 0, 2);
  EXPECT_EQ(read(kBar + Testdma::kLength), 77u);
}

TEST_F(Pci, AFunctionLevelResetLeavesNothing) {
  enable();
  write(kBar + Testdma::kLength, 77);
  write(kTestConfig + kExpress + 8, 0x8000, 2);
  EXPECT_EQ(read(kTestConfig + kCommand, 2), 0u);
  EXPECT_EQ(read(kTestConfig + 0x10), 4u);
  enable();
  EXPECT_EQ(read(kBar + Testdma::kLength), 0u);
}

TEST_F(Pci, CapabilitiesFollowEachOther) {
  std::vector<uint32_t> ids;
  for (uint32_t next = read(kTestConfig + 0x34, 1); next != 0; next = read(kTestConfig + next + 1, 1))
    ids.push_back(read(kTestConfig + next, 1));
  EXPECT_EQ(ids, (std::vector<uint32_t>{0x01, 0x05, 0x11, 0x10}));
  EXPECT_EQ(read(kPciConfig + 0x34, 1), 0u) << "the host bridge has none";
}

}  // namespace
}  // namespace dejavm
