// The ELF core file around a snapshot: header, program headers and notes, as bytes. It knows nothing of machines.
// Sources: System V gABI ch. 4, 5; psABI for x86-64; <elf.h> for the structures.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/result.h"
#include "replay/store/cbor.h"

namespace dejavm {

struct ElfNote {
  std::string name;  // without its final zero
  uint32_t type = 0;
  Bytes desc;
  bool operator==(const ElfNote&) const = default;
};

// One PT_LOAD: memory at a linear and a physical address. file_bytes is 0 (zeros) or len_bytes.
struct ElfLoad {
  uint64_t linear = 0, physical = 0, len_bytes = 0, offset = 0, file_bytes = 0;
  uint32_t flags = 7;  // PF_X 1, PF_W 2, PF_R 4
  bool operator==(const ElfLoad&) const = default;
};

inline constexpr uint64_t kElfDataAlignment = 4096;

// What lies before the data: file header, program headers (PT_NOTE, then the loads), notes, and, for more than 65534
// program headers, the section header that holds their number.
struct ElfLayout {
  uint64_t program_headers = 0, notes = 0, notes_len = 0;
  uint64_t data = 0;  // where memory begins: the end of the notes, aligned
};
ElfLayout elf_layout(size_t loads, uint64_t notes_len);
uint64_t note_bytes(const ElfNote&);
void append_note(Bytes&, const ElfNote&);
// Everything before layout.data but the notes, which the caller appends.
Bytes elf_head(const ElfLayout&, std::span<const ElfLoad>);

struct ElfNoteRef {
  std::string_view name;
  uint32_t type = 0;
  uint64_t offset = 0;  // of its header from the start of the file
  std::span<const uint8_t> desc;
};
struct ElfView {
  ElfLayout layout;
  std::vector<ElfLoad> loads;
  std::vector<ElfNoteRef> notes;
};
// The number of bytes before the data of the file that begins with `start` (at least 64 bytes, or all there are), or
// why it is no snapshot. `file_bytes` bounds it.
Result<uint64_t> elf_head_bytes(std::span<const uint8_t> start, uint64_t file_bytes);
// Refuses everything that elf_head and append_note would not write. `head`: all of elf_head_bytes.
Result<ElfView> parse_elf_head(std::span<const uint8_t> head);

}  // namespace dejavm
