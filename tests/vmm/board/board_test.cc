// The wiring between models that one virtual processor does not show: who takes an interrupt message.
#include "vmm/board/board.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "devices/catalog.h"
#include "vmm/board/models.h"

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
  void apic(uint32_t vcpu, uint64_t offset, uint32_t value) {
    board->mmio_write({vcpu, {0}}, kApic + offset, 4, value);
  }
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

// What bhyve's snapshots could forget: each model of the catalogue is on the board, and the board saves each.
TEST(BoardTable, HasEveryModelAndSavesEachOfItsStates) {
  MachineConfig config;
  config.vcpus = 3;
  config.test_device = config.rng = true;
  config.rom_bytes = 64 << 10;
  config.disks = {{.bytes = 1 << 20, .serial = "A"},
                  {.bytes = 1 << 20, .controller = DiskController::kVirtio, .serial = "V"},
                  {.bytes = 1 << 20, .serial = "B"}};
  std::array<RunControl, 3> controls;
  Board board(config, controls, nullptr);
  std::map<std::string, uint32_t> saved;
  for (const ChunkRef& chunk : board.chunks()) EXPECT_EQ(chunk.instance, saved[std::string(chunk.schema->name)]++);
  std::map<std::string, uint32_t> expected = {{"board", 1}};
  for (const DeviceModel& model : device_catalog())
    expected[std::string(model.name())] = model.name() == "vlapic" ? 3 : model.name() == "nvme" ? 2 : 1;
  EXPECT_EQ(saved, expected);
  config.test_device = config.rng = false;
  config.rom_bytes = 0;
  config.disks.clear();
  config.vcpus = 1;
  EXPECT_EQ(Board(config, std::span(controls).first(1), nullptr).chunks().size(),
            expected.size() - 7);  // no test device, no firmware, no virtio, no disk, one local APIC
}

// Machines that were made before there was testdma have pctestdev alone, and nothing answers at the other's ports.
TEST(BoardTable, AMachineOfAnEarlierRevisionHasTheDevicesOfItsTime) {
  MachineConfig config;
  config.test_device = true;
  std::array<RunControl, 1> controls;
  for (const uint32_t revision : {1u, 2u, kMachineRevision}) {
    config.revision = revision;
    Board board(config, controls, nullptr);
    unsigned masters = 0;
    for (const ChunkRef& chunk : board.chunks()) masters += chunk.schema->name == "testdma";
    EXPECT_EQ(masters, revision >= 3 ? 1u : 0u) << revision;
    const Port status{address_map::kTestDma + Testdma::kStatus};
    EXPECT_EQ(board.io_read({0, {0}}, status, 4), revision >= 3 ? 0u : 0xffffffffu) << revision;
    EXPECT_EQ(board.io_read({0, {0}}, Port{address_map::kTestEcho}, 4), 0u) << revision;
  }
}

// CPUID claims no machine check architecture, so there is no LVT entry for its corrected errors.
TEST(BoardTable, X2apicHasNoCmciEntryButInMachinesOfRevision1) {
  MachineConfig config;
  std::array<RunControl, 1> controls;
  for (const uint32_t revision : {1u, 2u, kMachineRevision}) {
    config.revision = revision;
    Board board(config, controls, nullptr);
    ASSERT_TRUE(board.msr_write({0, {0}}, 0x1b, 0xfee00d00));  // x2APIC mode
    uint64_t value = 0;
    EXPECT_TRUE(board.msr_read({0, {0}}, 0x832, value)) << revision;  // the timer's entry
    EXPECT_EQ(board.msr_read({0, {0}}, 0x82f, value), revision == 1) << revision;
    EXPECT_EQ(board.msr_write({0, {0}}, 0x82f, 0x10000), revision == 1) << revision;
  }
}

// CPUID shows a local APIC while it is enabled (SDM vol. 3, 10.4.3).
TEST(BoardTable, CpuidTellsWhetherTheLocalApicIsOn) {
  const MachineConfig config;
  std::array<RunControl, 1> controls;
  Board board(config, controls, nullptr);
  constexpr uint32_t kApicFeature = 1 << 9;
  const uint32_t on = board.cpuid({0, {0}}, 1, 0, 0, 1).edx;
  EXPECT_TRUE(on & kApicFeature);
  ASSERT_TRUE(board.msr_write({0, {0}}, 0x1b, 0xfee00100));
  EXPECT_EQ(board.cpuid({0, {0}}, 1, 0, 0, 1).edx, on & ~kApicFeature);
}

TEST(BoardTable, NoTwoDevicesAnswerAtOnePlace) {
  std::map<uint32_t, int> ports, msrs;
  std::vector<Window> windows;
  for_each_row([&]<size_t kRow>() {
    const auto& row = std::get<kRow>(kBoardDevices);
    for (const PortRange& range : row.ports)
      for (uint32_t n = 0; n < range.count; ++n) ++ports[range.first + n];
    for (const MsrRange& range : row.msrs)
      for (uint32_t n = 0; n < range.count; ++n) ++msrs[range.first + n];
    windows.insert(windows.end(), row.windows.begin(), row.windows.end());
  });
  for (const auto& [port, devices] : ports) EXPECT_EQ(devices, 1) << std::hex << port;
  for (const auto& [msr, devices] : msrs) EXPECT_EQ(devices, 1) << std::hex << msr;
  std::ranges::sort(windows, {}, &Window::first);
  for (size_t n = 1; n < windows.size(); ++n)
    EXPECT_LE(windows[n - 1].first + windows[n - 1].len_bytes, windows[n].first);
  EXPECT_GT(ports.size(), 60u);
  EXPECT_EQ(windows.size(), 4u);
}

TEST(BoardTable, TellsReadersOfLogsWhoAnswers) {
  EXPECT_EQ(device_at_port({0x3f9}), "uart16550");
  EXPECT_EQ(device_at_port({0x61}), "vatpit");
  EXPECT_EQ(device_at_port({0xe9}), "sysctl");
  EXPECT_EQ(device_at_port({0xe8}), "pctestdev");
  EXPECT_EQ(device_at_port({0x3f7}), "-");
  EXPECT_EQ(device_at_gpa({0xfec00010}), "vioapic");
  EXPECT_EQ(device_at_gpa({0xfed003ff}), "vhpet");
  EXPECT_EQ(device_at_gpa({0xfed00400}), "-");
  EXPECT_EQ(device_at_gpa({0xfee00300}), "vlapic");
  EXPECT_EQ(device_of_msr(0x3b), "vlapic");
  EXPECT_EQ(device_of_msr(0x10), "-");
}

TEST_F(ThreeProcessors, Sdm11_6_2_4_TheLowestPriorityTakesTheMessage) {
  apic(0, kTpr, 0x40);
  apic(1, kTpr, 0x20);
  apic(2, kTpr, 0x30);
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

// Signals wait in the local APIC, which snapshots have, until they are taken; the vCPU that runs stops for it.
TEST_F(ThreeProcessors, SignalsReachTheirProcessorAndWaitThere) {
  for (const uint32_t command : {0x4500u, 0x4699u, 0x4400u}) {
    for (RunControl& control : controls) control.stop = false;
    apic(0, kIcrHigh, 2u << 24);
    apic(0, kIcrLow, command);
    EXPECT_TRUE(controls[2].signalled);
    EXPECT_FALSE(controls[1].signalled);
    EXPECT_TRUE(controls[0].stop);
    uint8_t vector = 0;
    EXPECT_EQ(board->take_init(2), command == 0x4500);
    EXPECT_EQ(board->take_startup(2, vector), command == 0x4699);
    EXPECT_EQ(vector, command == 0x4699 ? 0x99 : 0);
    EXPECT_EQ(board->take_nmi(2), command == 0x4400);
    EXPECT_FALSE(controls[2].signalled);
    EXPECT_FALSE(controls[2].init || controls[2].nmi);
  }
}

// One processor's board with a PIT that somebody has programmed and nobody listens to.
struct QuietPit {
  explicit QuietPit(uint64_t seed) : board(config, controls, nullptr) {
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t n) { return random() % n; };
    out(0x21, static_cast<uint8_t>(random() | 1));  // IR0 masked
    out(0x4d0, static_cast<uint8_t>(below(2) ? random() : 0));
    board.mmio_write({}, Gpa{0xfec00000}, 4, 0x14);  // pin 2: masked, edge or level
    board.mmio_write({}, Gpa{0xfec00010}, 4, 0x10031 | (below(2) << 15) | (below(2) << 13));
    out(0x61, static_cast<uint8_t>(below(4)));
    for (const unsigned channel : {0u, 2u}) {
      out(0x43, static_cast<uint8_t>(channel << 6 | 0x30 | below(6) << 1 | below(2)));
      const uint64_t count = below(2) ? 2 + below(20) : below(0x10000);
      out(static_cast<uint16_t>(0x40 + channel), static_cast<uint8_t>(count));
      out(static_cast<uint16_t>(0x40 + channel), static_cast<uint8_t>(count >> 8));
    }
    if (below(2)) {  // a clock that is listened to: the RTC's periodic interrupt
      out(0x70, 0xb);
      out(0x71, 0x42);
    }
  }
  void out(uint16_t port, uint8_t value) { board.io_write({}, Port{port}, 1, value); }
  // The models that are not as in `other`.
  std::string differing(QuietPit& other) {
    std::string names;
    const auto ours = board.chunks(), theirs = other.board.chunks();
    for (size_t n = 0; n < ours.size(); ++n)
      if (std::memcmp(ours[n].data, theirs[n].data, ours[n].schema->size) != 0)
        names += std::string(ours[n].schema->name) + " ";
    return names;
  }
  MachineConfig config;
  std::array<RunControl, 1> controls;
  Board board;
};

// What the board skips because nobody sees it leaves all models as they would be: a long step is the sum of short ones,
// in each of which there is too little to skip.
TEST(Board, EventsThatNobodySeesAreSkippedAndChangeNothing) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    QuietPit leaping(seed), stepping(seed);
    std::mt19937_64 random(seed);
    uint64_t now = 0;
    for (unsigned round = 0; round < 4; ++round) {
      const uint64_t end = now + 1 + random() % (round == 3 ? 300'000'000 : 3'000'000);
      for (; now < end; now = std::min(end, now + 1 + random() % 4000)) stepping.board.advance(Nanos{now});
      stepping.board.advance(Nanos{end});
      leaping.board.advance(Nanos{end});
      ASSERT_EQ(leaping.differing(stepping), "") << "seed " << seed << ", round " << round;
      ASSERT_EQ(leaping.board.next_event(), stepping.board.next_event()) << "seed " << seed;
    }
  }
}

TEST(Board, APitThatNobodySeesIsNoEventUntilItIsUnmasked) {
  MachineConfig config;
  std::array<RunControl, 1> controls;
  Board board(config, controls, nullptr);
  board.io_write({}, Port{0x21}, 1, 0xff);
  board.io_write({}, Port{0x43}, 1, 0x34);
  board.io_write({}, Port{0x40}, 1, 2);
  board.io_write({}, Port{0x40}, 1, 0);
  EXPECT_EQ(board.next_event(), kNever);
  board.io_write({}, Port{0x21}, 1, 0xfe);
  EXPECT_LT(board.next_event(), Nanos{10'000});
}

}  // namespace
}  // namespace dejavm
