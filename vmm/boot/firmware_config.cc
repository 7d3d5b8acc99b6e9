#include "vmm/boot/firmware_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "vmm/board/address_map.h"
#include "vmm/boot/acpi.h"
#include "vmm/boot/bytes.h"

namespace dejavm::boot {
namespace {

constexpr std::string_view kTablesFile = "etc/acpi/tables", kRsdpFile = "etc/acpi/rsdp";
constexpr size_t kCommandBytes = 128;
enum Command : uint32_t { kAllocate = 1, kAddPointer = 2, kAddChecksum = 3 };
enum Zone : uint8_t { kHigh = 1, kBelow1MiB = 2 };

Bytes file_name(std::string_view name) { return Bytes{}.text(name).zeros(Fwcfg::kNameBytes - name.size()); }
std::string_view file_of(AcpiTables::Part part) { return part == AcpiTables::Part::kTables ? kTablesFile : kRsdpFile; }

void command(Bytes& out, Command what, const Bytes& operands) {
  out.u32(what).append(operands.v).zeros(kCommandBytes - 4 - operands.v.size());
}

// Entries of the memory map: start, length, type.
Bytes e820(const MachineConfig& config) {
  const uint64_t low_end = std::min(config.memory_bytes, kLowRamLimit);
  Bytes out;
  out.u64(0).u64(low_end).u32(static_cast<uint32_t>(MapType::kRam));
  if (config.memory_bytes > low_end)
    out.u64(kFourGiB).u64(config.memory_bytes - low_end).u32(static_cast<uint32_t>(MapType::kRam));
  out.u64(address_map::kPciConfig).u64(address_map::kPciConfigBytes).u32(static_cast<uint32_t>(MapType::kReserved));
  return out;
}

// The disks in their order, as SeaBIOS names PCI devices: a line each, and a zero at the end.
std::string boot_order(const MachineConfig& config) {
  std::string out;
  unsigned next_nvme = address_map::kFirstDiskSlot, next_virtio = address_map::kFirstVirtioDiskSlot;
  for (const DiskConfig& disk : config.disks) {
    const bool nvme = disk.controller == DiskController::kNvme;
    out += fmt::format("/pci@i0cf8/{}@{:x}\n", nvme ? "nvme" : "scsi", nvme ? next_nvme++ : next_virtio++);
  }
  if (!out.empty()) out.back() = 0;
  return out;
}

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// The commands by which firmware places the ACPI tables, as file etc/table-loader has them.
std::vector<uint8_t> table_loader(const AcpiTables& acpi) {
  Bytes out;
  command(out, kAllocate, file_name(kTablesFile).u32(AcpiTables::kAlignment).u8(kHigh));
  command(out, kAllocate, file_name(kRsdpFile).u32(16).u8(kBelow1MiB));
  for (const AcpiTables::Pointer& p : acpi.pointers)
    command(out, kAddPointer,
            file_name(file_of(p.part))
                .append(file_name(kTablesFile).v)
                .u32(p.offset)
                .u8(static_cast<uint8_t>(p.len_bytes)));
  for (const AcpiTables::Checksum& c : acpi.checksums)
    command(out, kAddChecksum, file_name(file_of(c.part)).u32(c.offset).u32(c.start).u32(c.len_bytes));
  return out.v;
}

}  // namespace

void fill_firmware_config(const MachineConfig& config, Fwcfg::State& s) {
  constexpr uint32_t kTraditional = 1, kDma = 2;
  const AcpiTables acpi = make_acpi_tables(config);
  const auto vcpus = static_cast<uint16_t>(config.vcpus);
  const std::string order = boot_order(config);
  bool room = Fwcfg::add(s, Fwcfg::kSignature, bytes_of("QEMU"));
  room = room && Fwcfg::add(s, Fwcfg::kId, Bytes{}.u32(kTraditional | kDma).v);
  room = room && Fwcfg::add(s, Fwcfg::kRamBytes, Bytes{}.u64(config.memory_bytes).v);
  room = room && Fwcfg::add(s, Fwcfg::kCpus, Bytes{}.u16(vcpus).v);
  room = room && Fwcfg::add(s, Fwcfg::kMaxCpus, Bytes{}.u16(vcpus).v);
  room = room && Fwcfg::add(s, Fwcfg::kBootMenu, Bytes{}.u16(0).v);  // none: it waits for seconds
  const std::vector<uint8_t> loader = table_loader(acpi), map = e820(config).v;
  const std::vector<uint8_t> console_port = Bytes{}.u64(address_map::kCom1).v;
  std::vector<Fwcfg::File> files = {{kRsdpFile, acpi.rsdp},
                                    {kTablesFile, acpi.tables},
                                    {"etc/table-loader", loader},
                                    {"etc/e820", map},
                                    {"etc/sercon-port", console_port}};
  if (!order.empty()) files.push_back({"bootorder", bytes_of(order)});
  CHECK(room && Fwcfg::add_files(s, files));
}

}  // namespace dejavm::boot
