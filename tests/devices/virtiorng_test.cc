// A driver of the virtio entropy device, with a split ring, in memory of the test's own. Linux's:
// tests/tools/virtio_test.sh.
#include "devices/virtiorng.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "devices/core/split_mix.h"

namespace dejavm {
namespace {

constexpr uint64_t kBar = pci::region(virtio::kBar), kRing = 0x1000, kDriver = 0x2000, kDevice = 0x3000, kData = 0x8000;
constexpr uint64_t kSeed = 5;

struct Driver {
  Virtiorng::State s{};
  std::vector<uint8_t> memory = std::vector<uint8_t>(1 << 20);
  uint64_t now = 0;
  uint16_t posted = 0;

  Driver() {
    Virtiorng::set_seed(s, kSeed);
    Virtiorng::reset(s);
    start();
  }
  void start() {
    posted = 0;
    put<uint16_t>(kDriver + 2, 0);
    put<uint16_t>(kDevice + 2, 0);
    write(0x04, 2, 6);
    for (const auto& [at, size, value] :
         std::initializer_list<std::tuple<uint64_t, unsigned, uint64_t>>{{0x14, 1, 3},
                                                                         {0x08, 4, 1},
                                                                         {0x0c, 4, 1},
                                                                         {0x14, 1, 11},
                                                                         {0x18, 2, 8},
                                                                         {0x20, 4, kRing},
                                                                         {0x28, 4, kDriver},
                                                                         {0x30, 4, kDevice},
                                                                         {0x1c, 2, 1},
                                                                         {0x14, 1, 15}})
      write(kBar + at, size, value);
    EXPECT_EQ(status(), 15u);
  }
  void write(uint64_t at, unsigned size, uint64_t value) { Virtiorng::write(s, {now}, at, size, value); }
  uint64_t status() { return Virtiorng::read(s, {now}, kBar + 0x14, 1); }
  template <class T>
  void put(uint64_t at, T value) {
    std::memcpy(&memory[at], &value, sizeof value);
  }
  template <class T>
  T at(uint64_t address) const {
    T value;
    std::memcpy(&value, &memory[address], sizeof value);
    return value;
  }
  void serve() {
    now += virtio::kServiceNs;
    Virtiorng::advance(s, {now});
    for (Transfer t; Virtiorng::next_transfer(s, t);) {
      const bool in_memory = t.address + t.len_bytes <= memory.size();
      std::vector<uint8_t> bytes;
      if (in_memory && t.kind == Transfer::Kind::kRead)
        bytes.assign(&memory[t.address], &memory[t.address] + t.len_bytes);
      if (in_memory && t.kind == Transfer::Kind::kWrite) std::ranges::copy(t.bytes, &memory[t.address]);
      Virtiorng::transferred(s, {now}, in_memory, bytes);
      ASSERT_EQ(Virtiorng::invalid(s), nullptr);
    }
  }
  // One buffer; what the used ring says of it.
  uint32_t ask(uint64_t address, uint32_t len_bytes, bool writable = true) {
    put(kRing, address);
    put(kRing + 8, len_bytes);
    put<uint16_t>(kRing + 12, writable ? 2 : 0);
    put<uint16_t>(kDriver + 4 + 2 * (posted % 8), 0);
    put(kDriver + 2, ++posted);
    write(kBar + virtio::kNotifyAt, 2, 0);
    serve();
    return at<uint16_t>(kDevice + 2) == posted ? at<uint32_t>(kDevice + 4 + 8 * ((posted - 1u) % 8) + 4) : 0;
  }
};

TEST(VirtiorngTest, GivesTheSeedsOutputsInTurnAlsoAfterAReset) {
  Driver d;
  EXPECT_EQ(d.ask(kData, 20), 20u);
  EXPECT_EQ(d.at<uint64_t>(kData), SplitMix64::output(kSeed, 0));
  EXPECT_EQ(d.at<uint64_t>(kData + 8), SplitMix64::output(kSeed, 1));
  EXPECT_EQ(d.at<uint32_t>(kData + 16), static_cast<uint32_t>(SplitMix64::output(kSeed, 2)));
  EXPECT_EQ(d.at<uint32_t>(kData + 20), 0u);
  d.write(kBar + 0x14, 1, 0);
  d.start();
  EXPECT_EQ(d.ask(kData, 8), 8u);
  EXPECT_EQ(d.at<uint64_t>(kData), SplitMix64::output(kSeed, 3));
}

TEST(VirtiorngTest, ALargeRequestIsServedInPartAndInPieces) {
  Driver d;
  EXPECT_EQ(d.ask(kData, 0x20000), Virtiorng::kMaxBytes);
  const uint64_t last = Virtiorng::kMaxBytes / 8 - 1;
  EXPECT_EQ(d.at<uint64_t>(kData + 8 * last), SplitMix64::output(kSeed, last));
  EXPECT_EQ(d.at<uint64_t>(kData + Virtiorng::kMaxBytes), 0u);
}

TEST(VirtiorngTest, AChainWithoutRoomOrOutsideOfMemoryBreaksTheRules) {
  Driver none;
  EXPECT_EQ(none.ask(kData, 64, false), 0u);
  EXPECT_EQ(none.status(), 15u | virtio::kNeedsReset);
  Driver outside;
  EXPECT_EQ(outside.ask(uint64_t{1} << 40, 64), 0u);
  EXPECT_EQ(outside.status(), 15u | virtio::kNeedsReset);
  outside.write(kBar + 0x14, 1, 0);
  outside.start();
  EXPECT_EQ(outside.ask(kData, 64), 64u);
}

}  // namespace
}  // namespace dejavm
