// The DSDT in ACPI machine language (ACPI 6.5, chapter 20; resource descriptors 6.4; device ids 5.6.7 and PNP's list).
// It names the processors, the devices at a PC's fixed addresses, and the sleep type that powers the machine off.
#include <algorithm>
#include <cstdio>
#include <string>
#include <tuple>
#include <vector>

#include "devices/core/result.h"
#include "vmm/board/devices.h"
#include "vmm/boot/bytes.h"

namespace dejavm::boot {
namespace {

constexpr uint8_t kNameOp = 0x08, kBytePrefix = 0x0a, kWordPrefix = 0x0b, kDwordPrefix = 0x0c, kStringPrefix = 0x0d,
                  kScopeOp = 0x10, kBufferOp = 0x11, kPackageOp = 0x12, kExtPrefix = 0x5b, kDeviceOp = 0x82;

// PkgLength (20.2.4): counts itself. Its first byte tells how many follow.
Bytes with_package_length(const Bytes& content) {
  Bytes out;
  size_t extra = 0;
  while (content.v.size() + 1 + extra >= (extra ? size_t{1} << (4 + 8 * extra) : 64)) ++extra;
  CHECK(extra <= 3);
  const size_t len = content.v.size() + 1 + extra;
  out.u8(static_cast<uint8_t>(extra ? extra << 6 | (len & 0xf) : len));
  for (size_t n = 0; n < extra; ++n) out.u8(static_cast<uint8_t>(len >> (4 + 8 * n)));
  return out.append(content.v);
}

Bytes integer(uint32_t x) {
  Bytes b;
  if (x <= 1) return b.u8(static_cast<uint8_t>(x));  // ZeroOp, OneOp
  if (x <= 0xff) return b.u8(kBytePrefix).u8(static_cast<uint8_t>(x));
  if (x <= 0xffff) return b.u8(kWordPrefix).u16(static_cast<uint16_t>(x));
  return b.u8(kDwordPrefix).u32(x);
}

Bytes text(std::string_view s) { return Bytes{}.u8(kStringPrefix).text(s).u8(0); }

// A name is exactly four characters, filled up with underscores.
Bytes name(std::string_view seg, const Bytes& value) {
  CHECK(seg.size() == 4);
  return Bytes{}.u8(kNameOp).text(seg).append(value.v);
}

Bytes package(std::initializer_list<uint32_t> elements) {
  Bytes b;
  b.u8(static_cast<uint8_t>(elements.size()));
  for (uint32_t e : elements) b.append(integer(e).v);
  return Bytes{}.u8(kPackageOp).append(with_package_length(b).v);
}

Bytes buffer(const Bytes& content) {
  const Bytes b = integer(static_cast<uint32_t>(content.v.size())).append(content.v);
  return Bytes{}.u8(kBufferOp).append(with_package_length(b).v);
}

Bytes device(std::string_view seg, const Bytes& content) {
  CHECK(seg.size() == 4);
  const Bytes b = Bytes{}.text(seg).append(content.v);
  return Bytes{}.u8(kExtPrefix).u8(kDeviceOp).append(with_package_length(b).v);
}

// Three letters of five bits each, then four hexadecimal digits; most significant first (19.3.4, EISAID).
Bytes eisa_id(const char* id) {
  const auto letter = [&](int n) { return static_cast<uint32_t>(id[n] - '@'); };
  const uint32_t digits = static_cast<uint32_t>(std::stoul(id + 3, nullptr, 16));
  return Bytes{}.u8(kDwordPrefix).u32(__builtin_bswap32(letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | digits));
}

// Resource descriptors (6.4.2.5, 6.4.2.1, 6.4.3.4, 6.4.2.9).
Bytes io(uint16_t port, uint8_t len) { return Bytes{}.u8(0x47).u8(1).u16(port).u16(port).u8(1).u8(len); }
Bytes irq(unsigned line) { return Bytes{}.u8(0x22).u16(static_cast<uint16_t>(1u << line)); }
Bytes memory(uint32_t start, uint32_t len) { return Bytes{}.u8(0x86).u16(9).u8(1).u32(start).u32(len); }
Bytes end_tag() { return Bytes{}.u8(0x79).u8(0); }

Bytes with_resources(std::string_view seg, const char* id, const Bytes& resources) {
  Bytes list = resources;
  list.append(end_tag().v);
  return device(seg, name("_HID", eisa_id(id)).append(name("_CRS", buffer(list)).v));
}

Bytes io(const PortRange& range) { return io(range.first, static_cast<uint8_t>(range.count)); }

Bytes legacy_device(const AcpiDevice& d) {
  Bytes resources;
  for (const PortRange& range : d.ports) resources.append(io(range).v);
  if (d.memory.len_bytes != 0)
    resources.append(memory(static_cast<uint32_t>(d.memory.first), static_cast<uint32_t>(d.memory.len_bytes)).v);
  if (d.irq != kNoIrq) resources.append(irq(d.irq).v);
  return with_resources(d.name, d.id, resources);
}

// The board's, in the DSDT's order.
std::vector<AcpiDevice> board_devices() {
  std::vector<AcpiDevice> out;
  std::apply([&](const auto&... row) { (out.insert(out.end(), row.acpi.begin(), row.acpi.end()), ...); },
             kBoardDevices);
  std::ranges::stable_sort(out, {}, &AcpiDevice::order);
  return out;
}

// What the operating system must leave alone: ACPI registers, system control ports, reset.
Bytes reserved_ports() {
  std::vector<PortRange> ranges;
  std::apply([&](const auto&... row) { (ranges.insert(ranges.end(), row.reserved.begin(), row.reserved.end()), ...); },
             kBoardDevices);
  std::ranges::sort(ranges, {}, &PortRange::first);
  Bytes resources;
  for (const PortRange& range : ranges) resources.append(io(range).v);
  return with_resources("SYSR", "PNP0C02", resources);
}

Bytes processor(uint32_t n) {
  char seg[8];
  std::snprintf(seg, sizeof seg, "C%03X", n & 0xfff);
  return device(seg, name("_HID", text("ACPI0007")).append(name("_UID", integer(n)).v));
}

}  // namespace

std::vector<uint8_t> dsdt_definition_block(uint32_t vcpus) {
  CHECK(vcpus <= 0x1000);
  Bytes devices;
  devices.text("_SB_");
  for (uint32_t n = 0; n < vcpus; ++n) devices.append(processor(n).v);
  for (const AcpiDevice& d : board_devices()) devices.append(legacy_device(d).v);
  devices.append(reserved_ports().v);
  Bytes block = name("_S5_", package({5, 5, 0, 0}));  // SLP_TYPa, SLP_TYPb, two reserved
  block.u8(kScopeOp).append(with_package_length(devices).v);
  return block.v;
}

}  // namespace dejavm::boot
