// ELF executables, as far as a loader needs them (System V gABI, chapters 4 and 5): 32- and 64-bit, little-endian, x86.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/boot/layout.h"

namespace dejavm::boot {

struct Segment {
  bool load = false, note = false;  // neither: of no interest
  uint64_t offset = 0, file_bytes = 0;
  uint64_t virtual_start = 0, start = 0, len_bytes = 0, align = 0;
};

struct Elf {
  uint64_t entry = 0;
  std::vector<Segment> segments;  // each lies in the file
};

bool is_elf(std::span<const uint8_t> image);
// `name` is for messages.
Result<Elf> read_elf(const std::string& name, std::span<const uint8_t> image);
// Loads the PT_LOAD segments at their physical addresses, none below `lowest`. Returns where below 4 GiB the last of
// them ends.
Result<uint64_t> put_segments(const Target&, std::span<const uint8_t> image, const Elf&, uint64_t lowest = kLowUsedEnd);
// The loaded segment that holds this physical address; nullptr: none.
const Segment* segment_at(const Elf&, uint64_t gpa);
// The value of XEN_ELFNOTE_PHYS32_ENTRY.
std::optional<uint64_t> pvh_entry(const Elf&, std::span<const uint8_t> image);

}  // namespace dejavm::boot
