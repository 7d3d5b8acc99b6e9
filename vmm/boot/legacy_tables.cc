// What systems without ACPI ask: MultiProcessor Specification 1.4, chapter 4, and the PCI IRQ routing table (PCI BIOS'
// $PIR, as Microsoft describes it). Both in the BIOS area from 0xf0000, where they are searched for.
#include "vmm/boot/legacy_tables.h"

#include "vmm/board/address_map.h"
#include "vmm/boot/bytes.h"

namespace dejavm::boot {
namespace {

using namespace address_map;

constexpr uint64_t kTables = 0xf0000;
constexpr uint8_t kPciBus = 0, kIsaBus = 1, kPciDevices = 32;
constexpr unsigned kIsaIrqs = 16;

enum class Interrupt : uint8_t { kVectored = 0, kNmi = 1, kExtInt = 3 };
constexpr uint16_t kConforming = 0, kHighLevel = 0xd, kLowLevel = 0xf;

// The MP configuration table's entries (4.3).
class MpEntries {
 public:
  void processor(uint8_t id) {
    constexpr uint8_t kVersion = 0x14, kEnabled = 1, kBootstrap = 2;
    constexpr uint32_t kFpuAndApic = 0x201;
    ++count;
    bytes.u8(0).u8(id).u8(kVersion).u8(id == 0 ? kEnabled | kBootstrap : kEnabled).u32(0).u32(kFpuAndApic).zeros(8);
  }
  void bus(uint8_t id, std::string_view type) {
    ++count;
    bytes.u8(1).u8(id).text(type);
  }
  void io_apic(uint8_t id) {
    constexpr uint8_t kVersion = 0x20, kEnabled = 1;
    ++count;
    bytes.u8(2).u8(id).u8(kVersion).u8(kEnabled).u32(kIoApic);
  }
  // `kind` 3: to a pin of the I/O APIC; 4: to LINT0 or LINT1 of a local one.
  void interrupt(uint8_t kind, Interrupt what, uint16_t flags, uint8_t from, uint8_t irq, uint8_t to, uint8_t pin) {
    ++count;
    bytes.u8(kind).u8(static_cast<uint8_t>(what)).u16(flags).u8(from).u8(irq).u8(to).u8(pin);
  }
  Bytes bytes;
  uint16_t count = 0;
};

MpEntries mp_entries(uint32_t vcpus) {
  constexpr uint8_t kIo = 3, kLocal = 4, kAllProcessors = 0xff;
  const auto apic = static_cast<uint8_t>(vcpus);
  MpEntries out;
  for (uint32_t n = 0; n < vcpus; ++n) out.processor(static_cast<uint8_t>(n));
  out.bus(kPciBus, "PCI   ");
  out.bus(kIsaBus, "ISA   ");
  out.io_apic(apic);
  out.interrupt(kIo, Interrupt::kExtInt, kConforming, kIsaBus, 0, apic, 0);
  for (uint8_t irq = 0; irq < kIsaIrqs; ++irq) {
    if (irq == kCascadeIrq) continue;
    const uint8_t pin = irq == kTimerIrq ? kTimerPin : irq;
    out.interrupt(kIo, Interrupt::kVectored, irq == kSciIrq ? kHighLevel : kConforming, kIsaBus, irq, apic, pin);
  }
  for (uint8_t device = 0; device < kPciDevices; ++device)
    out.interrupt(kIo, Interrupt::kVectored, kLowLevel, kPciBus, static_cast<uint8_t>(device << 2), apic,
                  kPciFirstPin + device % 4);
  out.interrupt(kLocal, Interrupt::kExtInt, kConforming, kIsaBus, 0, kAllProcessors, 0);
  out.interrupt(kLocal, Interrupt::kNmi, kConforming, kIsaBus, 0, kAllProcessors, 1);
  return out;
}

Bytes mp_table(uint32_t vcpus) {  // 4.2
  constexpr size_t kHeaderBytes = 44, kChecksum = 7;
  const MpEntries entries = mp_entries(vcpus);
  Bytes b;
  b.text("PCMP").u16(static_cast<uint16_t>(kHeaderBytes + entries.bytes.v.size())).u8(4).u8(0);
  b.text("DEJAVM  ").text("PC          ").u32(0).u16(0).u16(entries.count).u32(kLocalApic).u32(0);
  b.append(entries.bytes.v);
  b.v[kChecksum] = checksum(b.v);
  return b;
}

Bytes mp_pointer(uint64_t table) {  // 4.1
  constexpr size_t kChecksum = 10;
  Bytes b;
  b.text("_MP_").u32(static_cast<uint32_t>(table)).u8(1).u8(4).u8(0).zeros(5);
  b.v[kChecksum] = checksum(b.v);
  return b;
}

// A link whose upper half is all ones is wired to the IRQ in its lower half, for Linux; for others there is a choice of
// one.
Bytes irq_routing() {
  constexpr size_t kHeaderBytes = 32, kEntryBytes = 16, kChecksum = 31;
  constexpr uint8_t kWired = 0xf0;
  Bytes b;
  b.text("$PIR").u16(0x100).u16(static_cast<uint16_t>(kHeaderBytes + kEntryBytes * kPciDevices));
  b.u8(0).u8(0).u16(0).u32(0).u32(0).zeros(11).u8(0);
  for (uint8_t device = 0; device < kPciDevices; ++device) {
    const uint8_t irq = device % 2 == 0 ? kPciEvenIrq : kPciOddIrq;
    b.u8(0).u8(static_cast<uint8_t>(device << 3));
    b.u8(static_cast<uint8_t>(kWired | irq)).u16(static_cast<uint16_t>(1u << irq)).zeros(9);
    b.u8(0).u8(0);
  }
  b.v[kChecksum] = checksum(b.v);
  return b;
}

}  // namespace

void put_legacy_tables(const Target& t) {
  if (t.config.revision < 4) return;
  constexpr uint64_t kPointerBytes = 16;
  const Bytes routing = irq_routing();
  const uint64_t routing_at = kTables + kPointerBytes;
  const uint64_t table_at = (routing_at + routing.v.size() + 15) & ~uint64_t{15};
  const Bytes table = mp_table(t.config.vcpus);
  CHECK(table_at + table.v.size() <= kMiB);
  t.put(kTables, mp_pointer(table_at).v);
  t.put(routing_at, routing.v);
  t.put(table_at, table.v);
}

}  // namespace dejavm::boot
