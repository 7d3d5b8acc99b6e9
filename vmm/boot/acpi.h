// ACPI tables: in their place, for machines without firmware, or as pieces that firmware puts where it likes.
#pragma once

#include <string>
#include <vector>

#include "vmm/boot/layout.h"

namespace dejavm::boot {

// The ACPI tables, with the RSDP at kAcpiTables, for loaders whose kernels find no firmware's.
void put_acpi_tables(const Target&);

// The tables in a row and the RSDP, with addresses relative to the first table's, and what is to be mended in them once
// that has a place.
struct AcpiTables {
  static constexpr uint64_t kAlignment = 64;
  enum class Part : uint8_t { kTables, kRsdp };
  // An address of `len_bytes` bytes at `offset` of the part: the place of the tables is to be added to it.
  struct Pointer {
    Part part;
    uint32_t offset, len_bytes;
  };
  // The byte at `offset` makes the sum of [start, start + len_bytes) zero; it is zero now.
  struct Checksum {
    Part part;
    uint32_t offset, start, len_bytes;
  };
  std::vector<uint8_t> tables, rsdp;
  std::vector<Pointer> pointers;
  std::vector<Checksum> checksums;
};
AcpiTables make_acpi_tables(const MachineConfig&);

}  // namespace dejavm::boot
