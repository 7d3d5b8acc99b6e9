// A driver of the virtio block device, with split and packed rings, in memory of the test's own.
#include "devices/virtioblk.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace dejavm {
namespace {

constexpr uint64_t kBar = pci::region(virtio::kBar), kConfig = kBar + virtio::kDeviceAt;
constexpr uint64_t kRing = 0x1000, kDriver = 0x3000, kDevice = 0x4000, kTable = 0x5000, kHeader = 0x6000,
                   kStatus = 0x6100, kData = 0x8000;
constexpr uint16_t kSize = 8;
constexpr uint64_t kDiskBytes = 1 << 20;

struct Buffer {
  uint64_t address;
  uint32_t len_bytes;
  bool writable;
};

class Driver {
 public:
  Virtioblk::State s{};
  std::vector<uint8_t> memory = std::vector<uint8_t>(1 << 20), disk = std::vector<uint8_t>(kDiskBytes);
  uint64_t now = 0;
  unsigned flushes = 0;
  bool packed, events, read_only;

  explicit Driver(bool use_packed, bool use_events = false, bool is_read_only = false)
      : packed(use_packed), events(use_events), read_only(is_read_only) {
    Virtioblk::set_disk(s, kDiskBytes, 512, "SER", read_only);
    Virtioblk::reset(s);
    std::mt19937_64 random(1);
    for (uint8_t& byte : disk) byte = static_cast<uint8_t>(random());
    write(0x04, 2, 6);
    common(0x14, 1, 3);
    common(0x0c, 4, (1u << 28) | (events ? 1u << 29 : 0) | (1 << 9) | (1 << 13) | (1 << 14));
    common(0x08, 4, 1);
    common(0x0c, 4, packed ? 5 : 1);
    common(0x14, 1, 11);
    EXPECT_EQ(get(kBar + 0x14, 1), 11u);
    common(0x16, 2, 0);
    common(0x18, 2, kSize);
    common(0x20, 4, kRing);
    common(0x28, 4, kDriver);
    common(0x30, 4, kDevice);
    common(0x1c, 2, 1);
    common(0x14, 1, 15);
  }

  void write(uint64_t at, unsigned size, uint64_t value) { Virtioblk::write(s, {now}, at, size, value); }
  void common(uint64_t at, unsigned size, uint64_t value) { write(kBar + at, size, value); }
  uint64_t get(uint64_t at, unsigned size) { return Virtioblk::read(s, {now}, at, size); }
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

  void step(const Transfer& t) {
    const bool in_memory = t.address + t.len_bytes <= memory.size();
    uint8_t* const place = in_memory ? &memory[t.address] : nullptr;
    std::vector<uint8_t> bytes;
    switch (t.kind) {
      case Transfer::Kind::kRead:
        if (in_memory) bytes.assign(place, place + t.len_bytes);
        break;
      case Transfer::Kind::kWrite:
        if (in_memory) std::copy(t.bytes.begin(), t.bytes.end(), place);
        break;
      case Transfer::Kind::kFromDisk:
        if (in_memory) std::memcpy(place, &disk[t.disk_offset], t.len_bytes);
        break;
      case Transfer::Kind::kToDisk:
        if (in_memory) std::memcpy(&disk[t.disk_offset], place, t.len_bytes);
        break;
      case Transfer::Kind::kFlushDisk: ++flushes; break;
      default: std::memset(&disk[t.disk_offset], 0, t.disk_bytes); break;
    }
    Virtioblk::transferred(s, {now}, in_memory, bytes);
  }
  void notify_and_run() {
    write(kBar + virtio::kNotifyAt, 2, 0);
    for (unsigned n = 0; n < 20 && Virtioblk::next_event(s) != kNever; ++n) {
      now = Virtioblk::next_event(s).value;
      Virtioblk::advance(s, {now});
      for (Transfer t; Virtioblk::next_transfer(s, t);) {
        ASSERT_EQ(Virtioblk::invalid(s), nullptr);
        step(t);
      }
    }
    EXPECT_EQ(Virtioblk::invalid(s), nullptr);
  }

  // Makes the chain available as the next one, directly or by an indirect table.
  void offer(const std::vector<Buffer>& chain, bool indirect) {
    const uint64_t table = indirect ? kTable : kRing;
    const unsigned first = packed && !indirect ? place_ : 0;
    for (unsigned n = 0; n < chain.size(); ++n) {
      const bool last = n + 1 == chain.size();
      const unsigned slot = indirect ? n : (first + n) % kSize;
      const bool wrap = packed && !indirect && first + n >= kSize ? !wrap_ : wrap_;
      unsigned flags = (chain[n].writable ? 2u : 0) | (!last && !(packed && indirect) ? 1u : 0);
      if (packed && !indirect) flags |= wrap ? 0x80u : 0x8000u;
      describe(table + 16 * slot, chain[n].address, chain[n].len_bytes, flags, n + 1, packed);
    }
    const auto table_bytes = static_cast<uint32_t>(16 * chain.size());
    if (indirect)
      describe(kRing + 16 * (packed ? place_ : 0), kTable, table_bytes,
               4u | (!packed ? 0
                     : wrap_ ? 0x80u
                             : 0x8000u),
               0, packed);
    const unsigned used = indirect ? 1 : static_cast<unsigned>(chain.size());
    if (packed) {
      place_ += used;
      if (place_ >= kSize) {
        place_ -= kSize;
        wrap_ = !wrap_;
      }
    } else {
      put<uint16_t>(kDriver + 4 + 2 * (offered_ % kSize), 0);
      put<uint16_t>(kDriver + 2, ++offered_);
    }
  }
  // A request; its status.
  unsigned request(uint32_t type, uint64_t sector, const std::vector<Buffer>& data, bool indirect = false) {
    put<uint32_t>(kHeader, type);
    put<uint64_t>(kHeader + 8, sector);
    put<uint8_t>(kStatus, 0xee);
    std::vector<Buffer> chain = {{kHeader, 16, false}};
    chain.insert(chain.end(), data.begin(), data.end());
    chain.push_back({kStatus, 1, true});
    const unsigned first = place_;
    offer(chain, indirect);
    notify_and_run();
    written = packed ? at<uint32_t>(kRing + 16 * first + 8) : at<uint32_t>(kDevice + 8 + 8 * ((offered_ - 1) % kSize));
    return at<uint8_t>(kStatus);
  }
  uint32_t written = 0;

 private:
  void describe(uint64_t where, uint64_t address, uint32_t len_bytes, unsigned flags, unsigned next, bool is_packed) {
    put(where, address);
    put(where + 8, len_bytes);
    put(where + (is_packed ? 14 : 12), static_cast<uint16_t>(flags));
    put(where + (is_packed ? 12 : 14), static_cast<uint16_t>(is_packed ? 7 : next));
  }
  unsigned place_ = 0;
  bool wrap_ = true;
  uint16_t offered_ = 0;
};

class VirtioblkTest : public ::testing::TestWithParam<int> {
 protected:
  bool packed() const { return GetParam() & 1; }
  bool events() const { return GetParam() & 2; }
};
INSTANTIATE_TEST_SUITE_P(Rings, VirtioblkTest, ::testing::Range(0, 4));

TEST_P(VirtioblkTest, ReadsAndWritesThroughBuffersOfAnyShape) {
  Driver d(packed(), events());
  for (unsigned n = 0; n < 20; ++n) {
    const bool indirect = n % 2 != 0;
    const std::vector<Buffer> in = {{kData + n, 100, true}, {kData + 0x1000, 5000, true}, {kData + 0x4000, 20, true}};
    ASSERT_EQ(d.request(0, n, in, indirect), 0u) << n;
    EXPECT_EQ(d.written, 5121u);
    const uint8_t* const content = &d.disk[512 * n];
    EXPECT_EQ(std::memcmp(&d.memory[kData + n], content, 100), 0);
    EXPECT_EQ(std::memcmp(&d.memory[kData + 0x1000], content + 100, 5000), 0);
    EXPECT_EQ(std::memcmp(&d.memory[kData + 0x4000], content + 5100, 20), 0);
    ASSERT_EQ(d.request(1, 1000 + n, {{kData + 0x1000, 300, false}, {kData + 0x2000, 212, false}}, indirect), 0u) << n;
    EXPECT_EQ(d.written, 1u);
    EXPECT_EQ(std::memcmp(&d.disk[512 * (1000 + n)], &d.memory[kData + 0x1000], 300), 0);
    EXPECT_EQ(std::memcmp(&d.disk[512 * (1000 + n) + 300], &d.memory[kData + 0x2000], 212), 0);
    // A split ring's event index stays at 0, which is the first request's; a packed one's suppression is off.
    const bool interrupts = packed() || !events() || n == 0;
    EXPECT_EQ(d.get(kBar + virtio::kIsrAt, 1), interrupts ? 1u : 0u) << n;
  }
}

TEST_P(VirtioblkTest, FlushesTellsItsIdDiscardsAndZeroes) {
  Driver d(packed(), events());
  EXPECT_EQ(d.request(1, 0, {{kData, 512, false}}), 0u);
  EXPECT_TRUE(d.s.unflushed);
  EXPECT_EQ(d.request(4, 0, {}), 0u);
  EXPECT_FALSE(d.s.unflushed);
  EXPECT_EQ(d.flushes, 1u);
  EXPECT_EQ(d.request(8, 0, {{kData, 20, true}}), 0u);
  EXPECT_EQ(d.written, 21u);
  EXPECT_EQ(std::memcmp(&d.memory[kData], "SER\0\0", 5), 0);
  const auto range = [&](unsigned n, uint64_t sector, uint32_t count, uint32_t flags) {
    d.put(kData + 16 * n, sector);
    d.put(kData + 16 * n + 8, count);
    d.put(kData + 16 * n + 12, flags);
  };
  for (const uint32_t type : {11u, 13u}) {
    range(0, 4, 2, 0);
    range(1, 100, 0, 0);
    range(2, 8, 1, 0);
    EXPECT_EQ(d.request(type, 0, {{kData, 20, false}, {kData + 20, 28, false}}), 0u) << type;
    for (const unsigned sector : {4u, 5u, 8u}) EXPECT_EQ(d.disk[512 * sector + 7], 0) << sector;
    EXPECT_NE(std::memcmp(&d.disk[512 * 6], &d.disk[512 * 4], 512), 0);
    range(1, 2047, 2, 0);
    EXPECT_EQ(d.request(type, 0, {{kData, 48, false}}), 1u) << "beyond the disk";
    range(1, 10, 2, 2);
    EXPECT_EQ(d.request(type, 0, {{kData, 48, false}}), 2u) << "a flag that there is not";
    EXPECT_EQ(d.request(type, 0, {{kData, 40, false}}), 1u) << "half a range";
  }
}

TEST_P(VirtioblkTest, RefusesWhatCannotBeAndGoesOn) {
  Driver d(packed(), events());
  EXPECT_EQ(d.request(0, 2047, {{kData, 1024, true}}), 1u) << "beyond the disk";
  EXPECT_EQ(d.request(0, ~uint64_t{0}, {{kData, 512, true}}), 1u);
  EXPECT_EQ(d.request(0, 0, {{kData, 511, true}}), 1u) << "not whole sectors";
  EXPECT_EQ(d.request(99, 0, {{kData, 512, true}}), 2u) << "no such request";
  EXPECT_EQ(d.request(1, 0, {{0xfff00000, 512, false}}), 1u) << "data that are nowhere";
  EXPECT_EQ(d.request(0, 0, {{kData, 512, true}}), 0u);
  Driver fixed(packed(), events(), true);
  EXPECT_EQ(fixed.request(1, 0, {{kData, 512, false}}), 1u) << "a read-only disk";
}

TEST_P(VirtioblkTest, ADriverThatBreaksTheRulesMustReset) {
  const std::vector<std::vector<Buffer>> kBad = {
      {{kHeader, 16, false}},                         // no room for a status
      {{kHeader, 15, false}, {kStatus, 1, true}},     // half a header
      {{kStatus, 1, true}, {kHeader, 16, false}},     // the wrong way round
      {{0xfff00000, 16, false}, {kStatus, 1, true}},  // a header that is nowhere
  };
  for (const auto& chain : kBad) {
    Driver d(packed(), events());
    d.offer(chain, false);
    d.notify_and_run();
    EXPECT_EQ(d.get(kBar + 0x14, 1), 15u | virtio::kNeedsReset);
    EXPECT_EQ(d.get(kBar + virtio::kIsrAt, 1), 2u) << "the configuration has changed";
    d.common(0x14, 1, 0);
    EXPECT_EQ(d.get(kBar + 0x14, 1), 0u);
    EXPECT_EQ(d.get(kBar + 0x1c, 2), 0u) << "no queue is enabled";
  }
}

TEST(Virtioblk, AChainThatGoesRoundForEverIsEnded) {
  Driver d(false);
  d.offer({{kHeader, 16, false}, {kData, 512, true}, {kStatus, 1, true}}, false);
  d.put<uint16_t>(kRing + 32 + 12, 3);  // the last one leads on ...
  d.put<uint16_t>(kRing + 32 + 14, 1);  // ... to the second
  d.notify_and_run();
  EXPECT_TRUE(d.get(kBar + 0x14, 1) & virtio::kNeedsReset);
}

TEST(Virtioblk, NoStateIsDueAfterTheDriverBrokeTheRules) {
  Driver d(false);
  ASSERT_EQ(Virtioblk::invalid(d.s), nullptr);
  d.s.core.due_ns = d.s.core.now_ns + 1;
  ASSERT_EQ(Virtioblk::invalid(d.s), nullptr);
  d.s.core.status |= virtio::kNeedsReset;
  EXPECT_STREQ(Virtioblk::invalid(d.s), "due after the driver broke the rules");
  d.s.core.due_ns = 0;
  EXPECT_EQ(Virtioblk::invalid(d.s), nullptr);
}

TEST(Virtioblk, FeaturesThatAreNotOfferedAreNotAgreedTo) {
  Driver d(false);
  for (const uint64_t high : {0u, 3u, 9u}) {
    d.common(0x14, 1, 0);
    d.common(0x14, 1, 3);
    d.common(0x08, 4, 1);
    d.common(0x0c, 4, high);
    d.common(0x14, 1, 11);
    EXPECT_EQ(d.get(kBar + 0x14, 1), 3u) << high;
  }
}

TEST(Virtioblk, ConfigurationSpaceHasAWindow) {
  Driver d(false);
  d.write(virtio::kWindowCapability + 8, 4, virtio::kDeviceAt);
  d.write(virtio::kWindowCapability + 12, 4, 4);
  EXPECT_EQ(d.get(virtio::kWindowCapability + 16, 4), kDiskBytes / 512);
  EXPECT_EQ(d.get(kConfig, 8), kDiskBytes / 512);
  d.write(virtio::kWindowCapability + 8, 4, 0x14);
  d.write(virtio::kWindowCapability + 12, 4, 1);
  d.write(virtio::kWindowCapability + 16, 1, 0);
  EXPECT_EQ(d.get(kBar + 0x14, 1), 0u) << "the device was reset through it";
}

}  // namespace
}  // namespace dejavm
