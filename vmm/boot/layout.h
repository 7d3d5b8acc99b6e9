// Where the loaders put things, and the processor states in which kernels start. Below 1 MiB, all in RAM:
//   0x00500  GDT                      0x07000  Linux's zero page, PVH's or Multiboot's information structure
//   0x09000  page tables (24 KiB)     0x10000  command line (64 KiB)     0x20000  lists: memory map, modules (64 KiB)
//   0x9fc00  reserved, as a PC's extended BIOS data area, video memory and ROM are; ACPI tables from 0xe0000
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/boot/boot.h"

namespace dejavm::boot {

inline constexpr uint64_t kGdt = 0x500, kInfo = 0x7000, kPageTables = 0x9000, kCommandLine = 0x10000, kLists = 0x20000,
                          kLowUsedEnd = 0x30000, kLowRamEnd = 0x9fc00, kAcpiTables = 0xe0000, kMiB = 1 << 20,
                          kLowRamLimit = uint64_t{3} << 30, kFourGiB = uint64_t{4} << 30;
inline constexpr uint64_t kMaxCommandLineBytes = 0xffff;  // without the terminating zero
inline constexpr uint16_t kBootCs = 0x10, kBootDs = 0x18, kBootTr = 0x20;

// Memory types as E820, PVH and Multiboot number them.
enum class MapType : uint32_t { kRam = 1, kReserved = 2 };
struct MapEntry {
  uint64_t start, len_bytes;
  MapType type;
};
// Ascending, without overlaps.
std::vector<MapEntry> memory_map(uint64_t ram_bytes);
// End of the RAM that starts at 1 MiB and stays below 4 GiB.
uint64_t low_ram_end(uint64_t ram_bytes);
// Whether a kernel may have [start, start + len_bytes): RAM in one piece, from `lowest` on: by default clear of the
// loader's own area.
bool usable(uint64_t ram_bytes, uint64_t start, uint64_t len_bytes, uint64_t lowest = kLowUsedEnd);

// What the loaders work on. `name` is the kernel's path, for messages.
struct Target {
  const BootSource& source;
  const MachineConfig& config;
  GuestMemory& memory;
  VcpuState& vcpu;
  std::string name;

  Error bad(std::string why) const { return {ErrorKind::kBadInput, name + ": " + std::move(why)}; }
  Error host(std::string why) const { return {ErrorKind::kHost, name + ": " + std::move(why)}; }
  uint64_t ram() const { return memory.ram_bytes(); }
  // Into a range known to be RAM.
  void put(uint64_t gpa, std::span<const uint8_t> bytes) const;
  template <class T>
  void put_object(uint64_t gpa, const T& object) const {
    put(gpa, {reinterpret_cast<const uint8_t*>(&object), sizeof object});
  }
};

// The command line and its terminating zero; `max_bytes` is the protocol's limit.
Result<void> put_command_line(const Target&, uint64_t max_bytes, uint64_t at = kCommandLine);

struct Initrd {
  uint64_t start = 0, len_bytes = 0;  // both 0: none
};
// The initrd, page-aligned, as high as possible in [kernel_end, ceiling) of low RAM.
Result<Initrd> put_initrd(const Target&, uint64_t kernel_end, uint64_t ceiling);

// Flat segments, interrupts off, nothing in the general registers; with 4 GiB mapped onto themselves for long mode.
void enter_long_mode(const Target&, uint64_t rip);
void enter_protected_mode(const Target&, uint32_t eip);

// Unsigned little-endian number at an offset the caller has checked.
template <class T>
T get(std::span<const uint8_t> bytes, uint64_t offset) {
  CHECK(offset <= bytes.size() && bytes.size() - offset >= sizeof(T));
  T value;
  __builtin_memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
std::string hex(uint64_t value);

}  // namespace dejavm::boot
