// What SeaBIOS does, and what it must not be able to do. SeaBIOS itself: tests/tools/boot_test.py.
#include "devices/fwcfg.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace dejavm {
namespace {

constexpr uint64_t kControl = 0x100, kTo = 0x1000;

struct Machine {
  Fwcfg::State s{};
  std::vector<uint8_t> memory = std::vector<uint8_t>(1 << 20, 0xcc);
  uint64_t now = 0, events = 0;

  Machine() {
    EXPECT_TRUE(Fwcfg::add(s, Fwcfg::kSignature, bytes("QEMU")));
    const Fwcfg::File files[] = {{"etc/one", bytes("first")}, {"two", bytes("second file")}};
    EXPECT_TRUE(Fwcfg::add_files(s, files));
  }
  static std::span<const uint8_t> bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  }
  void select(uint16_t key) { Fwcfg::write(s, {now}, 0, 2, key); }
  std::string read(unsigned count) {
    std::string out;
    while (count-- != 0) out += static_cast<char>(Fwcfg::read(s, {now}, 1, 1));
    return out;
  }
  void put(uint64_t at, uint32_t value) {
    const uint32_t word = __builtin_bswap32(value);
    std::memcpy(&memory[at], &word, 4);
  }
  // A transfer; what its control word says at the end.
  uint32_t transfer(uint32_t control, uint32_t len_bytes, uint64_t to = kTo) {
    put(kControl, control);
    put(kControl + 4, len_bytes);
    put(kControl + 8, static_cast<uint32_t>(to >> 32));
    put(kControl + 12, static_cast<uint32_t>(to));
    Fwcfg::write(s, {now}, 4, 4, 0);
    Fwcfg::write(s, {now}, 8, 4, __builtin_bswap32(kControl));
    run();
    uint32_t word;
    std::memcpy(&word, &memory[kControl], 4);
    return __builtin_bswap32(word);
  }
  void run() {
    for (;;) {
      for (Transfer t; Fwcfg::next_transfer(s, t);) {
        const bool in_memory = t.address < memory.size() && t.len_bytes <= memory.size() - t.address;
        std::vector<uint8_t> content;
        if (in_memory && t.kind == Transfer::Kind::kRead)
          content.assign(&memory[t.address], &memory[t.address] + t.len_bytes);
        if (in_memory && t.kind == Transfer::Kind::kWrite) std::ranges::copy(t.bytes, &memory[t.address]);
        Fwcfg::transferred(s, {now}, in_memory, content);
        ASSERT_EQ(Fwcfg::invalid(s), nullptr);
      }
      if (Fwcfg::next_event(s) == kNever) return;
      now = Fwcfg::next_event(s).value;
      Fwcfg::advance(s, {now});
      ++events;
    }
  }
  std::string at(uint64_t address, size_t count) const {
    return {reinterpret_cast<const char*>(&memory[address]), count};
  }
};

TEST(FwcfgTest, ItemsAreReadByteByByteAndEndInZeros) {
  Machine m;
  m.select(0);
  EXPECT_EQ(m.read(6), std::string("QEMU\0\0", 6));
  m.select(0x19);
  EXPECT_EQ(m.read(4), std::string("\0\0\0\2", 4));
  EXPECT_EQ(m.read(8 + 7), std::string("\0\0\0\5\0\x20\0\0etc/one", 15));
  m.select(0x21);
  EXPECT_EQ(m.read(12), std::string("second file\0", 12));
  m.select(0x55);
  EXPECT_EQ(m.read(2), std::string(2, '\0'));
  EXPECT_EQ(Fwcfg::read(m.s, {0}, 4, 4), 0x554d4551u);
  EXPECT_EQ(Fwcfg::read(m.s, {0}, 8, 4), 0x47464320u);
}

TEST(FwcfgTest, WhereThereIsNothingAnAccessReadsAsOnes) {
  Machine m;
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{2}, uint64_t{12}, ~uint64_t{0}, ~uint64_t{0} - 3, ~uint64_t{0} - 7})
    EXPECT_EQ(Fwcfg::read(m.s, {0}, offset, 8), ~uint64_t{0}) << offset;
  EXPECT_EQ(Fwcfg::read(m.s, {0}, 8, 8), ~uint64_t{0}) << "beyond its end";
}

TEST(FwcfgTest, TransfersSelectSkipAndRead) {
  Machine m;
  EXPECT_EQ(m.transfer(0x0021'0008 | 4, 7), 0u);
  EXPECT_EQ(m.transfer(2, 6), 0u);
  EXPECT_EQ(m.at(kTo, 7), std::string("file\0\0\xcc", 7));
  EXPECT_EQ(m.transfer(0x0020'000a, 5), 0u);
  EXPECT_EQ(m.at(kTo, 5), "first");
  EXPECT_EQ(m.transfer(2, 0), 0u);
}

TEST(FwcfgTest, WhatCannotBeDoneEndsWithTheErrorBit) {
  Machine m;
  EXPECT_EQ(m.transfer(0x0020'0008 | 16, 4), 1u);                // a write
  EXPECT_EQ(m.transfer(0x0020'000a, 4, uint64_t{1} << 40), 1u);  // to where there is nothing
  Fwcfg::write(m.s, {m.now}, 4, 4, 0xffffffff);                  // the control structure itself
  Fwcfg::write(m.s, {m.now}, 8, 4, 0);
  m.run();
  EXPECT_EQ(m.s.phase, Fwcfg::Phase::kIdle);
  EXPECT_EQ(m.transfer(0x0020'000a, 5), 0u);
}

TEST(FwcfgTest, ALargeReadTakesItsTimeInSlices) {
  Machine m;
  EXPECT_EQ(m.transfer(0x0020'000a, 0x40000), 0u);
  EXPECT_EQ(m.events, 4u);
  EXPECT_EQ(m.at(kTo, 7), std::string("first\0\0", 7));
  EXPECT_EQ(m.memory[kTo + 0x3ffff], 0);
  EXPECT_EQ(m.memory[kTo + 0x40000], 0xcc);
}

TEST(FwcfgTest, WhatDoesNotFitIsRefused) {
  Fwcfg::State s{};
  const std::vector<uint8_t> half(Fwcfg::kContentBytes / 2 + 1);
  EXPECT_TRUE(Fwcfg::add(s, 1, half));
  EXPECT_FALSE(Fwcfg::add(s, 2, half));
  const std::string long_name(Fwcfg::kNameBytes, 'n');
  const Fwcfg::File too_long[] = {{long_name, {}}};
  EXPECT_FALSE(Fwcfg::add_files(s, too_long));
  const std::vector<Fwcfg::File> too_many(Fwcfg::kItems, {"n", {}});
  EXPECT_FALSE(Fwcfg::add_files(s, too_many));
}

}  // namespace
}  // namespace dejavm
