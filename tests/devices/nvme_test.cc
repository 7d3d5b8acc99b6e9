// NVM Express 1.4, as a driver goes about it: bring-up, queues, commands, what is refused, and what a hostile guest
// tries.
#include "devices/nvme.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace dejavm {
namespace {

constexpr uint64_t kBar = pci::region(Nvme::kRegisterBar), kDoorbells = kBar + 0x1000;
constexpr uint64_t kAdminSq = 0x10000, kAdminCq = 0x11000, kIoSq = 0x12000, kIoCq = 0x13000, kData = 0x20000,
                   kList = 0x30000;
constexpr uint32_t kEntries = 8;

struct Command {
  uint8_t opcode = 0;
  uint32_t ns = 1;
  uint64_t prp1 = kData, prp2 = 0;
  uint32_t dw10 = 0, dw11 = 0, dw12 = 0;
};
struct Answer {
  uint32_t result = 0;
  uint16_t status = 0xffff;  // code and type; 0xffff: none came
};

class NvmeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Nvme::set_disk(s, disk.size(), 512, "DISK0", false);
    Nvme::reset(s);
    write(0x04, 2, 6);
  }
  void write(uint64_t offset, unsigned size, uint64_t value) {
    Nvme::write(s, {now}, offset, size, value);
    transfer();
  }
  uint64_t read(uint64_t offset, unsigned size) { return Nvme::read(s, {now}, offset, size); }
  // Carries out what the controller wants, as a board does.
  void transfer() {
    for (Transfer t; Nvme::next_transfer(s, t); ++steps) {
      std::vector<uint8_t> out;
      const bool ok = carry_out(t, out);
      Nvme::transferred(s, {now}, ok, out);
      EXPECT_EQ(Nvme::invalid(s), nullptr) << "each state on the way can be saved and restored";
    }
  }
  bool carry_out(const Transfer& t, std::vector<uint8_t>& out) {
    using Kind = Transfer::Kind;
    if (discard_only && t.kind == Kind::kDiscardDisk) {
      discarded += t.disk_bytes;
      return true;
    }
    const bool on_disk_alone = t.kind >= Kind::kZeroDisk;
    if (!on_disk_alone && (t.address > memory.size() || memory.size() - t.address < t.len_bytes)) return false;
    if (t.kind >= Kind::kFromDisk) {
      EXPECT_LE(t.disk_offset + t.len_bytes + t.disk_bytes, disk.size());
    }
    uint8_t* const at = on_disk_alone ? nullptr : &memory[t.address];
    uint8_t* const block = disk.data() + t.disk_offset;
    switch (t.kind) {
      case Kind::kRead: out.assign(at, at + t.len_bytes); break;
      case Kind::kWrite: std::copy(t.bytes.begin(), t.bytes.end(), at); break;
      case Kind::kFromDisk: std::copy_n(block, t.len_bytes, at); break;
      case Kind::kToDisk: std::copy_n(at, t.len_bytes, block); break;
      case Kind::kCompareDisk: out = {static_cast<uint8_t>(std::equal(at, at + t.len_bytes, block))}; break;
      case Kind::kZeroDisk:
      case Kind::kDiscardDisk: std::fill_n(block, t.disk_bytes, uint8_t{0}); break;
      case Kind::kVerifyDisk: break;
      case Kind::kFlushDisk: ++flushes; break;
    }
    return true;
  }
  void pass(uint64_t ns) {
    now += ns;
    Nvme::advance(s, {now});
    transfer();
  }
  void bring_up() {
    write(kBar + 0x24, 4, (kEntries - 1) << 16 | (kEntries - 1));
    write(kBar + 0x28, 8, kAdminSq);
    write(kBar + 0x30, 8, kAdminCq);
    write(kBar + 0x14, 4, 0x460001);
    ASSERT_EQ(read(kBar + 0x1c, 4), 1u);
  }
  void bring_up_io() {
    bring_up();
    ASSERT_EQ(admin({.opcode = 5, .prp1 = kIoCq, .dw10 = (kEntries - 1) << 16 | 1, .dw11 = 1 << 16 | 3}).status, 0);
    ASSERT_EQ(admin({.opcode = 1, .prp1 = kIoSq, .dw10 = (kEntries - 1) << 16 | 1, .dw11 = 1 << 16 | 1}).status, 0);
  }
  void put(uint64_t queue, uint16_t at, const Command& c, uint16_t number) {
    uint32_t words[16] = {c.opcode | uint32_t{number} << 16, c.ns};
    std::memcpy(&words[6], &c.prp1, 8);
    std::memcpy(&words[8], &c.prp2, 8);
    words[10] = c.dw10;
    words[11] = c.dw11;
    words[12] = c.dw12;
    std::memcpy(&memory[queue + 64u * at], words, sizeof words);
  }
  Answer take(unsigned queue, uint64_t at) {
    uint32_t words[4];
    std::memcpy(words, &memory[at + 16u * head[queue]], sizeof words);
    if ((words[3] >> 16 & 1) != phase[queue]) return {};
    EXPECT_EQ(words[2] >> 16, queue);
    head[queue] = (head[queue] + 1u) % kEntries;
    if (head[queue] == 0) phase[queue] ^= 1;
    write(kDoorbells + 8 * queue + 4, 4, head[queue]);
    return {words[0], static_cast<uint16_t>(words[3] >> 17 & 0x7ff)};
  }
  Answer submit(unsigned queue, uint64_t sq, uint64_t cq, const Command& c) {
    put(sq, tail[queue], c, ++id);
    tail[queue] = static_cast<uint16_t>((tail[queue] + 1u) % kEntries);
    write(kDoorbells + 8 * queue, 4, tail[queue]);
    pass(Nvme::kCommandNs);
    return take(queue, cq);
  }
  Answer admin(const Command& c) { return submit(0, kAdminSq, kAdminCq, c); }
  Answer io(const Command& c) { return submit(1, kIoSq, kIoCq, c); }
  template <class T>
  T at(uint64_t address) const {
    T value;
    std::memcpy(&value, &memory[address], sizeof value);
    return value;
  }

  Nvme::State s;
  std::vector<uint8_t> memory = std::vector<uint8_t>(2 << 20), disk = std::vector<uint8_t>(1 << 20);
  uint64_t now = 1000, steps = 0;
  unsigned flushes = 0;
  bool discard_only = false;  // of a disk that is larger than `disk`
  uint64_t discarded = 0;
  uint16_t tail[2] = {}, head[2] = {}, id = 0;
  uint32_t phase[2] = {1, 1};
};

TEST_F(NvmeTest, BringUpIdentifiesControllerAndNamespace) {
  bring_up();
  EXPECT_EQ(read(kBar + 8, 4), 0x00010400u);
  EXPECT_EQ(admin({.opcode = 6, .dw10 = 1}).status, 0);
  EXPECT_EQ(at<uint16_t>(kData), 0x1b36);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(&memory[kData + 4]), 20), "DISK0               ");
  EXPECT_EQ(at<uint32_t>(kData + 516), 1u);
  EXPECT_EQ(admin({.opcode = 6, .dw10 = 0}).status, 0);
  EXPECT_EQ(at<uint64_t>(kData), disk.size() / 512);
  EXPECT_EQ(memory[kData + 130], 9);
  EXPECT_EQ(admin({.opcode = 6, .ns = 0, .dw10 = 2}).status, 0);
  EXPECT_EQ(at<uint64_t>(kData), 1u);
  EXPECT_EQ(admin({.opcode = 6, .ns = 2, .dw10 = 0}).status, 0x00b);
  EXPECT_EQ(admin({.opcode = 6, .dw10 = 6}).status, 0x002);
}

TEST_F(NvmeTest, QueuesAreRefusedForTheirReasonsAndDeletedInOrder) {
  bring_up();
  const uint32_t size = (kEntries - 1) << 16;
  EXPECT_EQ(admin({.opcode = 1, .prp1 = kIoSq, .dw10 = size | 1, .dw11 = 1 << 16 | 1}).status, 0x100);
  EXPECT_EQ(admin({.opcode = 5, .prp1 = kIoCq, .dw10 = size | 0, .dw11 = 3}).status, 0x101);
  EXPECT_EQ(admin({.opcode = 5, .prp1 = kIoCq, .dw10 = 0xffff0001, .dw11 = 3}).status, 0x102);
  EXPECT_EQ(admin({.opcode = 5, .prp1 = kIoCq, .dw10 = size | 1, .dw11 = 0xffff0003}).status, 0x108);
  EXPECT_EQ(admin({.opcode = 5, .prp1 = kIoCq, .dw10 = size | 1, .dw11 = 2}).status, 0x002);
  EXPECT_EQ(admin({.opcode = 5, .prp1 = kIoCq + 8, .dw10 = size | 1, .dw11 = 3}).status, 0x013);
  EXPECT_EQ(admin({.opcode = 5, .prp1 = kIoCq, .dw10 = size | 1, .dw11 = 3}).status, 0);
  EXPECT_EQ(admin({.opcode = 5, .prp1 = kIoCq, .dw10 = size | 1, .dw11 = 3}).status, 0x101);
  EXPECT_EQ(admin({.opcode = 1, .prp1 = kIoSq, .dw10 = size | 1, .dw11 = 1 << 16 | 1}).status, 0);
  EXPECT_EQ(admin({.opcode = 4, .dw10 = 1}).status, 0x10c);
  EXPECT_EQ(admin({.opcode = 0, .dw10 = 1}).status, 0);
  EXPECT_EQ(admin({.opcode = 4, .dw10 = 1}).status, 0);
  EXPECT_EQ(admin({.opcode = 0, .dw10 = 1}).status, 0x101);
}

TEST_F(NvmeTest, BlocksGoThroughPrpsOfEachKind) {
  bring_up_io();
  for (size_t n = 0; n < disk.size(); ++n) disk[n] = static_cast<uint8_t>(n * 2654435761u >> 13);
  // Within a page; into the next; by a list, whose last entry of a page leads on.
  EXPECT_EQ(io({.opcode = 2, .prp1 = kData + 0x200, .dw10 = 3, .dw12 = 0}).status, 0);
  EXPECT_EQ(std::memcmp(&memory[kData + 0x200], &disk[3 * 512], 512), 0);
  EXPECT_EQ(io({.opcode = 2, .prp1 = kData + 0xe00, .prp2 = kData + 0x5000, .dw10 = 7, .dw12 = 8}).status, 0);
  EXPECT_EQ(std::memcmp(&memory[kData + 0xe00], &disk[7 * 512], 512), 0);
  EXPECT_EQ(std::memcmp(&memory[kData + 0x5000], &disk[8 * 512], 8 * 512), 0);
  const uint64_t list = kList + 0x1000 - 3 * 8, second = kList + 0x2000;
  const uint64_t first_part[] = {0x50000, 0x52000, second};
  const uint64_t second_part[] = {0x54000, 0x56000};
  std::memcpy(&memory[list], first_part, sizeof first_part);
  std::memcpy(&memory[second], second_part, sizeof second_part);
  EXPECT_EQ(io({.opcode = 2, .prp1 = 0x40000, .prp2 = list, .dw10 = 100, .dw12 = 39}).status, 0);
  const uint64_t pages[] = {0x40000, 0x50000, 0x52000, 0x54000, 0x56000};
  for (unsigned n = 0; n < 5; ++n) EXPECT_EQ(std::memcmp(&memory[pages[n]], &disk[(100 + 8 * n) * 512], 4096), 0) << n;
  memory[kData] = 0x77;
  EXPECT_EQ(io({.opcode = 1, .prp1 = kData, .dw10 = 5, .dw12 = 0}).status, 0);
  EXPECT_EQ(disk[5 * 512], 0x77);
  EXPECT_EQ(io({.opcode = 5, .prp1 = kData, .dw10 = 5, .dw12 = 0}).status, 0);
  memory[kData] = 0x78;
  EXPECT_EQ(io({.opcode = 5, .prp1 = kData, .dw10 = 5, .dw12 = 0}).status, 0x285);
}

TEST_F(NvmeTest, CommandsWithoutDataWorkOnTheDisk) {
  bring_up_io();
  std::fill(disk.begin(), disk.end(), uint8_t{1});
  EXPECT_EQ(io({.opcode = 8, .dw10 = 10, .dw12 = 3}).status, 0);
  EXPECT_EQ(disk[10 * 512 - 1], 1);
  EXPECT_EQ(std::count(&disk[10 * 512], &disk[14 * 512], 0), 4 * 512);
  EXPECT_EQ(disk[14 * 512], 1);
  EXPECT_TRUE(s.unflushed);
  EXPECT_EQ(io({.opcode = 0, .ns = 0xffffffff}).status, 0);
  EXPECT_EQ(flushes, 1u);
  EXPECT_FALSE(s.unflushed);
  EXPECT_EQ(io({.opcode = 12, .dw10 = 0, .dw12 = 0xff}).status, 0);
  // Two ranges to give back, and between them one that is not of this disk.
  const uint32_t ranges[] = {0, 1, 20, 0, 0, 9, 0xfffffff0, 0, 0, 2, 30, 0};
  std::memcpy(&memory[kData], ranges, sizeof ranges);
  EXPECT_EQ(io({.opcode = 9, .dw10 = 2, .dw11 = 4}).status, 0);
  EXPECT_EQ(disk[20 * 512], 0);
  EXPECT_EQ(disk[21 * 512], 1);
  EXPECT_EQ(disk[31 * 512], 0);
}

TEST_F(NvmeTest, WhatIsWrongIsNamedAndKeptInTheErrorLog) {
  bring_up_io();
  EXPECT_EQ(io({.opcode = 0x7f}).status, 0x001);
  EXPECT_EQ(io({.opcode = 2, .ns = 2}).status, 0x00b);
  EXPECT_EQ(io({.opcode = 2, .dw10 = 2048}).status, 0x080);
  EXPECT_EQ(io({.opcode = 2, .dw10 = 0xffffffff, .dw11 = 0xffffffff}).status, 0x080);
  EXPECT_EQ(io({.opcode = 2, .dw10 = 0, .dw12 = 1024}).status, 0x002);
  EXPECT_EQ(io({.opcode = 2, .prp1 = kData + 0x100, .prp2 = kData + 4, .dw12 = 7}).status, 0x013);
  EXPECT_EQ(io({.opcode = 2, .prp1 = 0xfee00000}).status, 0x004);
  EXPECT_EQ(io({.opcode = 2, .prp1 = kData, .prp2 = 0xfffffffffffff000, .dw12 = 31}).status, 0x004);
  EXPECT_EQ(admin({.opcode = 0x80}).status, 0x001) << "format";
  EXPECT_EQ(admin({.opcode = 2, .dw10 = 63 << 16 | 1}).status, 0);
  EXPECT_EQ(at<uint64_t>(kData), 9u);
  EXPECT_EQ(at<uint16_t>(kData + 12) >> 1 & 0x7ff, 0x001);
  EXPECT_EQ(at<uint16_t>(kData + 64 + 12) >> 1 & 0x7ff, 0x004);
  EXPECT_EQ(admin({.opcode = 2, .dw10 = 127 << 16 | 2}).status, 0);
  EXPECT_EQ(at<uint64_t>(kData + 176), 9u);
  EXPECT_EQ(admin({.opcode = 2, .dw10 = 127 << 16 | 0x70}).status, 0x109);
}

TEST_F(NvmeTest, AReadOnlyDiskRefusesWrites) {
  Nvme::set_disk(s, disk.size(), 4096, "RO", true);
  bring_up_io();
  EXPECT_EQ(admin({.opcode = 6, .dw10 = 0}).status, 0);
  EXPECT_EQ(at<uint64_t>(kData), disk.size() / 4096);
  EXPECT_EQ(io({.opcode = 1}).status, 0x182);
  EXPECT_EQ(io({.opcode = 8}).status, 0x182);
  EXPECT_EQ(io({.opcode = 2}).status, 0);
}

TEST_F(NvmeTest, FeaturesAreKeptAndOthersAreRefused) {
  bring_up();
  EXPECT_EQ(admin({.opcode = 9, .dw10 = 7, .dw11 = 0x00ff00ff}).result, (Nvme::kQueues - 2) * 0x10001u);
  EXPECT_EQ(admin({.opcode = 0x0a, .dw10 = 6}).result, 1u);
  EXPECT_EQ(admin({.opcode = 9, .dw10 = 6, .dw11 = 0}).status, 0);
  EXPECT_EQ(admin({.opcode = 0x0a, .dw10 = 6}).result, 0u);
  EXPECT_EQ(admin({.opcode = 0x0a, .dw10 = 0x106}).result, 1u) << "the default";
  EXPECT_EQ(admin({.opcode = 9, .dw10 = 0x80000006, .dw11 = 1}).status, 0x10d);
  EXPECT_EQ(admin({.opcode = 9, .dw10 = 0x77}).status, 0x002);
  EXPECT_EQ(admin({.opcode = 8, .dw10 = 0}).result & 1, 1u);
  for (unsigned n = 0; n < Nvme::kAsyncEvents; ++n) EXPECT_EQ(admin({.opcode = 12}).status, 0xffff);
  EXPECT_EQ(admin({.opcode = 12}).status, 0x105);
}

TEST_F(NvmeTest, AFullCompletionQueueMakesItWait) {
  bring_up_io();
  for (uint16_t n = 0; n < kEntries - 1; ++n) put(kIoSq, n, {.opcode = 2}, n);
  write(kDoorbells + 8, 4, kEntries - 1);
  for (unsigned n = 0; n < 2 * kEntries; ++n) pass(Nvme::kCommandNs);
  EXPECT_EQ(s.completion[1].tail, kEntries - 1);
  put(kIoSq, kEntries - 1, {.opcode = 2}, 99);
  write(kDoorbells + 8, 4, 0);
  pass(5 * Nvme::kCommandNs);
  EXPECT_EQ(s.phase, Nvme::Phase::kCompleting);
  EXPECT_EQ(s.completion[1].tail, kEntries - 1);
  EXPECT_EQ(take(1, kIoCq).status, 0);
  EXPECT_EQ(s.completion[1].tail, 0);
  EXPECT_EQ(s.phase, Nvme::Phase::kIdle);
}

TEST_F(NvmeTest, MessagesAreHeldBackByItsMaskButThoseOfMsix) {
  bring_up_io();
  constexpr uint64_t kMsi = 0x50, kMsix = 0x70, kMask = kBar + 0x0c, kUnmask = kBar + 0x10;
  const auto messages = [&] {
    unsigned count = 0;
    for (BusMessage m; Nvme::pop_message(s, m); ++count) {}
    return count;
  };
  const auto flush = [&](uint16_t n) {
    put(kIoSq, n, {.opcode = 0}, n);
    write(kDoorbells + 8, 4, n + 1u);
    pass(Nvme::kCommandNs);
  };
  // MSI with 64-bit addresses: control, address, data.
  write(kMsi + 4, 4, 0xfee00000);
  write(kMsi + 12, 2, 0x41);
  write(kMsi + 2, 2, 1);
  flush(0);
  EXPECT_EQ(messages(), 1u);
  write(kMask, 4, 2);
  EXPECT_EQ(read(kMask, 4), 2u);
  flush(1);
  EXPECT_EQ(messages(), 0u) << "masked";
  write(kUnmask, 4, 1);
  EXPECT_EQ(messages(), 0u) << "another vector";
  write(kUnmask, 4, 2);
  EXPECT_EQ(messages(), 1u);
  write(kUnmask, 4, 2);
  EXPECT_EQ(messages(), 0u) << "it was not masked any more";
  write(kMask, 4, 2);
  flush(2);
  EXPECT_EQ(take(1, kIoCq).status, 0);
  EXPECT_EQ(take(1, kIoCq).status, 0);
  EXPECT_EQ(take(1, kIoCq).status, 0);
  write(kUnmask, 4, 2);
  EXPECT_EQ(messages(), 0u) << "nothing is left to tell";
  write(kMsi + 2, 2, 0);
  for (unsigned n = 0; n < 2; ++n) {
    write(pci::region(Nvme::kMsixBar) + 16 * n, 4, 0xfee00000);
    write(pci::region(Nvme::kMsixBar) + 16 * n + 12, 4, 0);
  }
  write(kMsix + 2, 2, 0x8000);
  write(kMask, 4, 2);
  flush(3);
  EXPECT_EQ(messages(), 1u);
}

TEST_F(NvmeTest, QueuesOutsideMemoryAreFatalUntilItIsReset) {
  write(kBar + 0x24, 4, (kEntries - 1) << 16 | (kEntries - 1));
  write(kBar + 0x28, 8, 0xfee00000);
  write(kBar + 0x30, 8, kAdminCq);
  write(kBar + 0x14, 4, 0x460001);
  write(kDoorbells, 4, 1);
  pass(Nvme::kCommandNs);
  EXPECT_EQ(read(kBar + 0x1c, 4) & 2, 2u);
  write(kBar + 0x14, 4, 0);
  EXPECT_EQ(read(kBar + 0x1c, 4), 0u);
  bring_up();
  EXPECT_EQ(admin({.opcode = 6, .dw10 = 1}).status, 0);
}

TEST_F(NvmeTest, WhatOneEventMakesIsBounded) {
  bring_up_io();
  const uint64_t pages = Nvme::kMaxTransferBytes / Nvme::kPage;
  for (uint64_t n = 0; n < pages; ++n) {
    const uint64_t page = 0x80000 + n * 0x1000;
    std::memcpy(&memory[kList + 8 * n], &page, 8);
  }
  steps = 0;
  EXPECT_EQ(io({.opcode = 2, .prp1 = 0x40000, .prp2 = kList, .dw12 = Nvme::kMaxTransferBytes / 512 - 1}).status, 0);
  EXPECT_LE(steps, 2 * pages + 4);
}

// The last entry of a list's page leads on to a whole page, so a list that leads to itself ends with its data.
TEST_F(NvmeTest, AListThatLeadsToItselfEnds) {
  bring_up_io();
  const uint64_t last = kList + 0x1000 - 8;
  std::memcpy(&memory[last], &last, 8);
  EXPECT_EQ(io({.opcode = 2, .prp1 = kData, .prp2 = last, .dw12 = 127}).status, 0x013);
  const uint64_t page = kList;
  std::memcpy(&memory[last], &page, 8);
  for (uint64_t n = 0; n < 511; ++n) std::memcpy(&memory[kList + 8 * n], &kData, 8);
  steps = 0;
  EXPECT_EQ(io({.opcode = 2, .prp1 = kData, .prp2 = last, .dw12 = 127}).status, 0);
  EXPECT_LE(steps, 40u);
}

TEST_F(NvmeTest, WhatOneCommandGivesBackIsBounded) {
  s.blocks = uint64_t{1} << 40;
  bring_up_io();
  for (uint32_t n = 0; n < 256; ++n) {
    const uint32_t range[] = {0, 0xffffffff, n, 0};
    std::memcpy(&memory[kData + 16 * n], range, sizeof range);
  }
  discard_only = true;
  EXPECT_EQ(io({.opcode = 9, .dw10 = 255, .dw11 = 4}).status, 0);
  EXPECT_EQ(discarded, Nvme::kDiscardBytes);
}

TEST_F(NvmeTest, AShutdownIsTold) {
  bring_up();
  write(kBar + 0x14, 4, 0x464001);
  EXPECT_EQ(read(kBar + 0x1c, 4) >> 2 & 3, 2u);
}

}  // namespace
}  // namespace dejavm
