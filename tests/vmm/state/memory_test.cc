// vmm/state/memory.h's promises: where regions lie, what may be written, which pages are marked.
#include "vmm/state/memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace dejavm {
namespace {

constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

std::unique_ptr<GuestMemory> make(uint64_t ram, uint64_t rom = 0) {
  Result<std::unique_ptr<GuestMemory>> m = GuestMemory::create(ram, rom);
  EXPECT_TRUE(m) << m.error().message;
  return m.take();
}

TEST(Memory, RamBelowThreeGiBIsOneRegion) {
  const auto m = make(256 * kMiB);
  ASSERT_EQ(m->regions().size(), 1u);
  EXPECT_EQ(m->regions()[0].start.value, 0u);
  EXPECT_EQ(m->regions()[0].len_bytes, 256 * kMiB);
  EXPECT_FALSE(m->regions()[0].rom);
  EXPECT_EQ(m->ram_bytes(), 256 * kMiB);
  EXPECT_EQ(m->find({256 * kMiB}), nullptr);
  EXPECT_EQ(m->page({256 * kMiB}), nullptr);
  EXPECT_EQ(m->page_flags({256 * kMiB}), nullptr);
  EXPECT_EQ(m->page({0x1fff}), m->regions()[0].host + 0x1000);
}

TEST(Memory, TheRestIsAtFourGiBAndFirmwareEndsThere) {
  const auto m = make(5 * kGiB, 256 << 10);
  ASSERT_EQ(m->regions().size(), 3u);
  EXPECT_EQ(m->regions()[0].len_bytes, 3 * kGiB);
  EXPECT_EQ(m->regions()[1].start.value, 4 * kGiB - (256 << 10));
  EXPECT_TRUE(m->regions()[1].rom);
  EXPECT_EQ(m->regions()[2].start.value, 4 * kGiB);
  EXPECT_EQ(m->regions()[2].len_bytes, 2 * kGiB);
  EXPECT_EQ(m->find({3 * kGiB}), nullptr);
  EXPECT_EQ(m->find({6 * kGiB}), nullptr);
  EXPECT_EQ(m->ram_bytes(), 5 * kGiB);
}

TEST(Memory, SizesThatMakeNoMachineAreRefusedWithAReason) {
  for (const auto& [ram, rom] : std::vector<std::pair<uint64_t, uint64_t>>{{0, 0},
                                                                           {kMiB - 4096, 0},
                                                                           {kMiB + 1, 0},
                                                                           {uint64_t{1} << 40, 0},
                                                                           {~uint64_t{0}, 0},
                                                                           {kMiB, 1},
                                                                           {kMiB, 17 * kMiB}}) {
    const auto m = GuestMemory::create(ram, rom);
    ASSERT_FALSE(m) << ram << " " << rom;
    EXPECT_NE(m.error().message.find(std::to_string(rom ? rom : ram)), std::string::npos) << m.error().message;
  }
  EXPECT_TRUE(GuestMemory::create(kMiB, 16 * kMiB));
}

TEST(Memory, WritesMarkExactlyThePagesTheyTouch) {
  const auto m = make(kMiB);
  const std::vector<uint8_t> bytes(4097, 0xab);
  ASSERT_TRUE(m->write({0x2fff}, bytes.data(), bytes.size()));
  for (uint64_t page = 0; page < 8; ++page)
    EXPECT_EQ(*m->page_flags({page * kPageSize}), page == 2 || page == 3 ? kPageDirty : 0) << page;
  EXPECT_EQ(m->page({0x2000})[0xfff], 0xab);
  EXPECT_EQ(m->page({0x2000})[0xffe], 0);
  EXPECT_EQ(m->page({0x4000})[0], 0);
  ASSERT_TRUE(m->write({0x5000}, bytes.data(), 0));
  EXPECT_EQ(*m->page_flags({0x5000}), 0);
}

TEST(Memory, ClearingDirtyFlagsKeepsTheOthers) {
  const auto m = make(kMiB);
  *m->page_flags({0x3000}) = kPageDirty | kPageCode;
  *m->page_flags({0x4000}) = kPageCode;
  m->clear_dirty(kPageDirtySum);
  EXPECT_EQ(*m->page_flags({0x3000}), kPageCode | kPageDirtySave | kPageWritten);
  EXPECT_EQ(*m->page_flags({0x4000}), kPageCode);
}

TEST(Memory, ARangeMayRunFromFirmwareIntoHighRam) {
  const auto m = make(4 * kGiB, 64 << 10);
  const uint64_t value = 0x1122334455667788;
  ASSERT_TRUE(m->write({4 * kGiB - 4}, &value, sizeof value));
  uint64_t back = 0;
  ASSERT_TRUE(m->read({4 * kGiB - 4}, &back, sizeof back));
  EXPECT_EQ(back, value);
  EXPECT_EQ(m->page({4 * kGiB})[0], 0x44);
  EXPECT_EQ(*m->page_flags({4 * kGiB}), kPageDirty);
}

TEST(Memory, ARangePartlyOutsideIsRefusedAndNothingChanges) {
  const auto m = make(kMiB);
  const std::vector<uint8_t> bytes(8, 1);
  std::vector<uint8_t> back(8, 7);
  for (const uint64_t gpa : {kMiB - 4, kMiB, 3 * kGiB, ~uint64_t{0}, ~uint64_t{0} - 3}) {
    EXPECT_FALSE(m->write({gpa}, bytes.data(), bytes.size())) << gpa;
    EXPECT_FALSE(m->read({gpa}, back.data(), back.size())) << gpa;
  }
  EXPECT_EQ(back, std::vector<uint8_t>(8, 7));
  EXPECT_EQ(m->page({kMiB - 4})[0xffc], 0);
  EXPECT_EQ(*m->page_flags({kMiB - 4}), 0);
  EXPECT_FALSE(m->write({0}, bytes.data(), ~uint64_t{0}));
}

}  // namespace
}  // namespace dejavm
