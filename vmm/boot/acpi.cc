// ACPI 6.5, chapter 5: the tables of a PC. All in the BIOS area from 0xe0000, where the RSDP is searched
// for (5.2.5.1); addresses are those at which the board has its devices.
#include "vmm/boot/acpi.h"

#include <iterator>
#include <vector>

#include "vmm/board/address_map.h"
#include "vmm/boot/bytes.h"

namespace dejavm::boot {
namespace {

#include "pci.hex"  // pci_aml_code

constexpr uint64_t kAcpiEnd = kMiB;
using namespace address_map;
constexpr uint8_t kCenturyIndex = 0x32, kResetValue = 6;

// 5.2.6: header, content, and the sum of all bytes zero.
Bytes table(std::string_view signature, uint8_t revision, const Bytes& content) {
  constexpr size_t kHeaderBytes = 36, kChecksum = 9;
  Bytes b;
  b.text(signature).u32(static_cast<uint32_t>(kHeaderBytes + content.v.size())).u8(revision).u8(0);
  b.text("DEJAVM").text("DEJAVM  ").u32(1).text("DJVM").u32(1).append(content.v);
  b.v[kChecksum] = checksum(b.v);
  return b;
}

// Generic Address Structure (5.2.3.2). Access size 1 byte = 1, 2 = 2, 4 = 3.
Bytes address(bool io, uint8_t bits, uint8_t access, uint64_t where) {
  return Bytes{}.u8(io).u8(bits).u8(0).u8(access).u64(where);
}

Bytes facs() { return Bytes{}.text("FACS").u32(64).zeros(24).u8(2).zeros(31); }  // 5.2.10

Bytes fadt(uint32_t facs_at, uint32_t dsdt_at, bool pm_timer_32) {  // 5.2.9
  constexpr uint16_t kLegacyDevices = 1, kHas8042 = 2, kNoVga = 4;
  constexpr uint32_t kWbinvd = 1, kProcC1 = 1 << 2, kNoFixedSleepButton = 1 << 5, kNoFixedRtcWake = 1 << 6,
                     kPmTimer32 = 1 << 8, kResetRegister = 1 << 10;
  constexpr uint16_t kNoC2 = 101, kNoC3 = 1001;  // latencies that say so, in microseconds
  constexpr size_t kGasBytes = 12;
  Bytes b;
  b.u32(facs_at).u32(dsdt_at).u8(0).u8(0).u16(kSciIrq);
  b.u32(0).zeros(4);  // no SMI command: the machine is in ACPI mode from the start
  b.u32(kPm1Event).u32(0).u32(kPm1Control).u32(0).u32(0).u32(kPmTimer).u32(0).u32(0);
  b.u8(4).u8(2).u8(0).u8(4).u8(0).u8(0).u8(0).u8(0);
  b.u16(kNoC2).u16(kNoC3).u16(0).u16(0).u8(0).u8(0).u8(0).u8(0).u8(kCenturyIndex);
  b.u16(kLegacyDevices | kHas8042 | kNoVga).u8(0);
  b.u32(kWbinvd | kProcC1 | kNoFixedSleepButton | kNoFixedRtcWake | (pm_timer_32 ? kPmTimer32 : 0) | kResetRegister);
  b.append(address(true, 8, 1, kResetControl).v).u8(kResetValue).u16(0).u8(5);  // minor version 5
  b.u64(0).u64(dsdt_at);
  b.append(address(true, 32, 2, kPm1Event).v).zeros(kGasBytes).append(address(true, 16, 2, kPm1Control).v);
  b.zeros(2 * kGasBytes).append(address(true, 32, 3, kPmTimer).v).zeros(2 * kGasBytes);
  b.zeros(2 * kGasBytes).text("DEJAVM").zeros(2);
  return table("FACP", 6, b);
}

Bytes madt(uint32_t vcpus) {  // 5.2.12
  constexpr uint32_t kPcatCompatible = 1, kEnabled = 1;
  constexpr uint16_t kConforming = 0, kActiveHighLevel = 0xd;
  constexpr uint8_t kAllProcessors = 0xff;
  Bytes b;
  b.u32(uint32_t{kLocalApic}).u32(kPcatCompatible);
  for (uint32_t n = 0; n < vcpus; ++n) {
    if (n < 255) b.u8(0).u8(8).u8(static_cast<uint8_t>(n)).u8(static_cast<uint8_t>(n)).u32(kEnabled);
    else b.u8(9).u8(16).u16(0).u32(n).u32(kEnabled).u32(n);
  }
  b.u8(1).u8(12).u8(0).u8(0).u32(kIoApic).u32(0);
  b.u8(2).u8(10).u8(0).u8(0).u32(kTimerPin).u16(kConforming);  // the timer's IRQ 0 comes at pin 2
  b.u8(2).u8(10).u8(0).u8(kSciIrq).u32(kSciIrq).u16(kActiveHighLevel);
  b.u8(4).u8(6).u8(kAllProcessors).u16(kConforming).u8(1);  // NMI at LINT1
  return table("APIC", 5, b);
}

Bytes hpet() {  // IA-PC HPET 1.0a, 3.2.4
  // As GCAP_ID's low half: Intel, legacy replacement, 64-bit counter, three timers, revision 1.
  constexpr uint32_t kBlockId = 0x8086a201;
  constexpr uint16_t kMinTicks = 128;
  return table("HPET", 1, Bytes{}.u32(kBlockId).append(address(false, 64, 0, kHpet).v).u8(0).u16(kMinTicks).u8(0));
}

Bytes mcfg() {  // PCI Firmware Specification 3.2, 4.1.2: segment 0, bus 0
  return table("MCFG", 1, Bytes{}.u64(0).u64(kPciConfig).u16(0).u8(0).u8(0).u32(0));
}

// What iasl made of pci.asl, under our own header: which version of iasl it was is of no account.
Bytes pci_ssdt() {
  constexpr size_t kHeaderBytes = 36;
  return table("SSDT", 2, Bytes{std::vector<uint8_t>(std::begin(pci_aml_code) + kHeaderBytes, std::end(pci_aml_code))});
}

Bytes rsdp(uint32_t rsdt_at, uint64_t xsdt_at) {  // 5.2.5.3
  constexpr size_t kV1Bytes = 20, kChecksum = 8, kExtendedChecksum = 32;
  Bytes b;
  b.text("RSD PTR ").u8(0).text("DEJAVM").u8(2).u32(rsdt_at).u32(36).u64(xsdt_at).u8(0).zeros(3);
  b.v[kChecksum] = checksum({b.v.data(), kV1Bytes});
  b.v[kExtendedChecksum] = checksum(b.v);
  return b;
}

}  // namespace

void put_acpi_tables(const Target& t) {
  uint64_t end = kAcpiTables + 64;  // the RSDP comes first, and is written last
  const auto put = [&](const Bytes& b) {
    const uint64_t at = (end + 63) & ~uint64_t{63};  // the FACS needs 64
    end = at + b.v.size();
    CHECK(end <= kAcpiEnd);
    t.put(at, b.v);
    return static_cast<uint32_t>(at);
  };
  const uint32_t facs_at = put(facs());
  const uint32_t dsdt_at = put(table("DSDT", 2, Bytes{dsdt_definition_block(t.config.vcpus)}));
  Bytes narrow, wide;
  std::vector<Bytes> tables = {fadt(facs_at, dsdt_at, t.config.pm_timer_32), madt(t.config.vcpus), hpet()};
  if (t.config.revision >= 4) {
    tables.push_back(mcfg());
    tables.push_back(pci_ssdt());
  }
  for (const Bytes& b : tables) {
    const uint32_t at = put(b);
    narrow.u32(at);
    wide.u64(at);
  }
  const uint32_t rsdt_at = put(table("RSDT", 1, narrow)), xsdt_at = put(table("XSDT", 1, wide));
  t.put(kAcpiTables, rsdp(rsdt_at, xsdt_at).v);
}

}  // namespace dejavm::boot
