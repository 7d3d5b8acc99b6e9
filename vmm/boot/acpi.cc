// ACPI 6.5, chapter 5: the tables of a PC. All in the BIOS area from 0xe0000, where the RSDP is searched
// for (5.2.5.1); addresses are those at which the board has its devices.
#include "vmm/boot/acpi.h"

#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "vmm/board/address_map.h"
#include "vmm/boot/bytes.h"

namespace dejavm::boot {
namespace {

#include "pci.hex"  // pci_aml_code

constexpr uint64_t kAcpiEnd = kMiB;
using namespace address_map;
constexpr uint8_t kCenturyIndex = 0x32, kResetValue = 6;

constexpr uint32_t kHeaderBytes = 36, kHeaderChecksum = 9;

// 5.2.6: header and content; the checksum is still missing.
Bytes table(std::string_view signature, uint8_t revision, const Bytes& content) {
  Bytes b;
  b.text(signature).u32(kHeaderBytes + static_cast<uint32_t>(content.v.size())).u8(revision).u8(0);
  b.text("DEJAVM").text("DEJAVM  ").u32(1).text("DJVM").u32(1).append(content.v);
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
  return table("SSDT", 2, Bytes{std::vector<uint8_t>(std::begin(pci_aml_code) + kHeaderBytes, std::end(pci_aml_code))});
}

Bytes rsdp(uint32_t rsdt_at, uint64_t xsdt_at) {  // 5.2.5.3; the checksums are still missing
  return Bytes{}.text("RSD PTR ").u8(0).text("DEJAVM").u8(2).u32(rsdt_at).u32(36).u64(xsdt_at).u8(0).zeros(3);
}

constexpr uint32_t kRsdpV1Bytes = 20, kRsdpBytes = 36, kRsdpChecksum = 8, kRsdpRsdt = 16, kRsdpXsdt = 24,
                   kRsdpExtendedChecksum = 32;
constexpr uint32_t kFadtFacs = 36, kFadtDsdt = 40, kFadtXDsdt = 140;

class Builder {
 public:
  AcpiTables out;

  uint32_t put(const Bytes& b) {
    const auto at = static_cast<uint32_t>((out.tables.size() + 63) & ~size_t{63});  // the FACS needs 64
    out.tables.resize(at);
    out.tables.insert(out.tables.end(), b.v.begin(), b.v.end());
    return at;
  }
  uint32_t put_table(const Bytes& b) {
    const uint32_t at = put(b);
    out.checksums.push_back({Part::kTables, at + kHeaderChecksum, at, static_cast<uint32_t>(b.v.size())});
    return at;
  }
  void pointer(uint32_t offset, uint32_t len_bytes) { out.pointers.push_back({Part::kTables, offset, len_bytes}); }
  void put_rsdp(uint32_t rsdt_at, uint32_t xsdt_at) {
    out.rsdp = rsdp(rsdt_at, xsdt_at).v;
    out.pointers.push_back({Part::kRsdp, kRsdpRsdt, 4});
    out.pointers.push_back({Part::kRsdp, kRsdpXsdt, 8});
    out.checksums.push_back({Part::kRsdp, kRsdpChecksum, 0, kRsdpV1Bytes});
    out.checksums.push_back({Part::kRsdp, kRsdpExtendedChecksum, 0, kRsdpBytes});
  }

 private:
  using Part = AcpiTables::Part;
};

void add_to(std::vector<uint8_t>& bytes, const AcpiTables::Pointer& pointer, uint64_t base) {
  uint64_t value = 0;
  std::memcpy(&value, &bytes[pointer.offset], pointer.len_bytes);
  value += base;
  std::memcpy(&bytes[pointer.offset], &value, pointer.len_bytes);
}

}  // namespace

AcpiTables make_acpi_tables(const MachineConfig& config) {
  Builder b;
  const uint32_t facs_at = b.put(facs());
  const uint32_t dsdt_at = b.put_table(table("DSDT", 2, Bytes{dsdt_definition_block(config.vcpus)}));
  std::vector<uint32_t> listed = {b.put_table(fadt(facs_at, dsdt_at, config.pm_timer_32))};
  b.pointer(listed[0] + kFadtFacs, 4);
  b.pointer(listed[0] + kFadtDsdt, 4);
  b.pointer(listed[0] + kFadtXDsdt, 8);
  listed.push_back(b.put_table(madt(config.vcpus)));
  listed.push_back(b.put_table(hpet()));
  if (config.revision >= 4) {
    listed.push_back(b.put_table(mcfg()));
    listed.push_back(b.put_table(pci_ssdt()));
  }
  Bytes narrow, wide;
  for (const uint32_t at : listed) {
    narrow.u32(at);
    wide.u64(at);
  }
  const uint32_t rsdt_at = b.put_table(table("RSDT", 1, narrow)), xsdt_at = b.put_table(table("XSDT", 1, wide));
  for (uint32_t n = 0; n < listed.size(); ++n) {
    b.pointer(rsdt_at + kHeaderBytes + 4 * n, 4);
    b.pointer(xsdt_at + kHeaderBytes + 8 * n, 8);
  }
  b.put_rsdp(rsdt_at, xsdt_at);
  return std::move(b.out);
}

// The RSDP comes first.
void put_acpi_tables(const Target& t) {
  constexpr uint64_t kTablesAt = kAcpiTables + AcpiTables::kAlignment;
  AcpiTables acpi = make_acpi_tables(t.config);
  const auto part = [&](AcpiTables::Part which) -> std::vector<uint8_t>& {
    return which == AcpiTables::Part::kTables ? acpi.tables : acpi.rsdp;
  };
  for (const AcpiTables::Pointer& pointer : acpi.pointers) add_to(part(pointer.part), pointer, kTablesAt);
  for (const AcpiTables::Checksum& c : acpi.checksums)
    part(c.part)[c.offset] = checksum(std::span(part(c.part)).subspan(c.start, c.len_bytes));
  CHECK(kTablesAt + acpi.tables.size() <= kAcpiEnd);
  t.put(kAcpiTables, acpi.rsdp);
  t.put(kTablesAt, acpi.tables);
}

}  // namespace dejavm::boot
