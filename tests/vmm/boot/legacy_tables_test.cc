// The tables as systems without ACPI read them; offsets from the MultiProcessor Specification 1.4, chapter 4, and from
// Linux's arch/x86/include/asm/pci_x86.h.
#include <map>

#include "tests/vmm/boot/loading.h"
#include "vmm/boot/layout.h"
#include "vmm/boot/legacy_tables.h"

namespace dejavm::boot {
namespace {

struct Legacy : Loading {
  explicit Legacy(uint32_t vcpus = 1, uint32_t revision = kMachineRevision) : Loading(4 << 20) {
    config.vcpus = vcpus;
    config.revision = revision;
    put_legacy_tables({source, config, *memory, vcpu, "name"});
  }
  uint64_t find(uint32_t signature) const {
    for (uint64_t gpa = 0xf0000; gpa < 0x100000; gpa += 16)
      if (at<uint32_t>(gpa) == signature) return gpa;
    return 0;
  }
  uint8_t sum(uint64_t gpa, uint64_t len_bytes) const {
    uint8_t total = 0;
    for (const uint8_t byte : bytes(gpa, len_bytes)) total = static_cast<uint8_t>(total + byte);
    return total;
  }
};

constexpr uint32_t kMp = 0x5f504d5f, kPcmp = 0x504d4350, kPir = 0x52495024;

TEST(LegacyTables, EveryProcessorAndEveryInterruptIsInTheMpTable) {
  const Legacy t(3);
  const uint64_t pointer = t.find(kMp);
  ASSERT_NE(pointer, 0u);
  EXPECT_EQ(t.sum(pointer, 16), 0);
  const uint64_t table = t.at<uint32_t>(pointer + 4);
  EXPECT_EQ(t.at<uint32_t>(table), kPcmp);
  EXPECT_EQ(t.sum(table, t.at<uint16_t>(table + 4)), 0);
  EXPECT_EQ(t.at<uint32_t>(table + 36), 0xfee00000u);
  std::map<int, int> kinds;
  std::map<int, int> isa_pins, pci_pins;
  uint64_t entry = table + 44;
  for (unsigned n = 0; n < t.at<uint16_t>(table + 34); ++n) {
    const int kind = t.at<uint8_t>(entry);
    ++kinds[kind];
    if (kind == 3 && t.at<uint8_t>(entry + 1) == 0) {
      auto& pins = t.at<uint8_t>(entry + 4) == 0 ? pci_pins : isa_pins;
      pins[t.at<uint8_t>(entry + 5)] = t.at<uint8_t>(entry + 7);
    }
    entry += kind == 0 ? 20 : 8;
  }
  EXPECT_EQ(entry, table + t.at<uint16_t>(table + 4));
  EXPECT_EQ(kinds, (std::map<int, int>{{0, 3}, {1, 2}, {2, 1}, {3, 48}, {4, 2}}));
  EXPECT_EQ(isa_pins.size(), 15u);
  EXPECT_EQ(isa_pins[0], 2);
  EXPECT_EQ(isa_pins[4], 4);
  EXPECT_EQ(pci_pins.size(), 32u);
  EXPECT_EQ(pci_pins[31 << 2], 19);
}

TEST(LegacyTables, EachDeviceHasOneIrqInThePirTable) {
  const Legacy t;
  const uint64_t table = t.find(kPir);
  ASSERT_NE(table, 0u);
  EXPECT_EQ(t.at<uint16_t>(table + 4), 0x100);
  const uint16_t len_bytes = t.at<uint16_t>(table + 6);
  EXPECT_EQ(len_bytes, 32 + 16 * 32);
  EXPECT_EQ(t.sum(table, len_bytes), 0);
  for (unsigned device = 0; device < 32; ++device) {
    const uint64_t entry = table + 32 + 16 * device;
    EXPECT_EQ(t.at<uint8_t>(entry + 1), device << 3);
    EXPECT_EQ(t.at<uint16_t>(entry + 3), 1u << (device % 2 ? 10 : 5));
  }
}

TEST(LegacyTables, MachinesOfEarlierRevisionsHaveNone) {
  const Legacy t(1, 3);
  EXPECT_EQ(t.find(kMp), 0u);
  EXPECT_EQ(t.find(kPir), 0u);
}

}  // namespace
}  // namespace dejavm::boot
