#include "vmm/boot/elf_file.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

namespace dejavm::boot {
namespace {

template <class Header, class Program>
Result<Elf> read_class(const std::string& name, std::span<const uint8_t> image) {
  const auto bad = [&](std::string why) { return Error{ErrorKind::kBadInput, name + ": " + std::move(why)}; };
  if (image.size() < sizeof(Header)) return bad("the ELF header is cut off");
  const Header h = get<Header>(image, 0);
  if (h.e_machine != EM_386 && h.e_machine != EM_X86_64)
    return bad("ELF machine " + std::to_string(h.e_machine) + " is not an x86 processor");
  if (h.e_phnum && h.e_phentsize < sizeof(Program))
    return bad("ELF program headers of " + std::to_string(h.e_phentsize) + " bytes are too short");
  const uint64_t table = h.e_phoff, table_bytes = uint64_t{h.e_phnum} * h.e_phentsize;
  if (table > image.size() || table_bytes > image.size() - table)
    return bad("the ELF program headers at " + hex(table) + " lie outside the file; is it cut off?");
  Elf elf{h.e_entry, {}};
  for (uint64_t n = 0; n < h.e_phnum; ++n) {
    const Program p = get<Program>(image, table + n * h.e_phentsize);
    const Segment s{p.p_type == PT_LOAD, p.p_type == PT_NOTE, p.p_offset, p.p_filesz,
                    p.p_vaddr,           p.p_paddr,           p.p_memsz,  p.p_align};
    if (!s.load && !s.note) continue;
    if (s.offset > image.size() || s.file_bytes > image.size() - s.offset)
      return bad("ELF segment " + std::to_string(n) + " (" + hex(s.file_bytes) + " bytes at " + hex(s.offset) +
                 ") lies outside the file; is it cut off?");
    if (s.load && s.file_bytes > s.len_bytes)
      return bad("ELF segment " + std::to_string(n) + " is longer in the file than in memory");
    elf.segments.push_back(s);
  }
  return elf;
}

}  // namespace

bool is_elf(std::span<const uint8_t> image) {
  return image.size() >= SELFMAG && !std::memcmp(image.data(), ELFMAG, SELFMAG);
}

Result<Elf> read_elf(const std::string& name, std::span<const uint8_t> image) {
  if (image.size() >= EI_NIDENT && is_elf(image) && image[EI_DATA] == ELFDATA2LSB) {
    if (image[EI_CLASS] == ELFCLASS32) return read_class<Elf32_Ehdr, Elf32_Phdr>(name, image);
    if (image[EI_CLASS] == ELFCLASS64) return read_class<Elf64_Ehdr, Elf64_Phdr>(name, image);
  }
  return Error{ErrorKind::kBadInput, name + ": not a 32-bit or 64-bit little-endian ELF file"};
}

Result<uint64_t> put_segments(const Target& t, std::span<const uint8_t> image, const Elf& elf, uint64_t lowest) {
  std::vector<Segment> loads;
  for (const Segment& s : elf.segments)
    if (s.load && s.len_bytes) loads.push_back(s);
  if (loads.empty()) return t.bad("there is no segment to load");
  std::sort(loads.begin(), loads.end(), [](const Segment& a, const Segment& b) { return a.start < b.start; });
  uint64_t end = 0, low_end = 0;
  for (const Segment& s : loads) {
    if (!usable(t.ram(), s.start, s.len_bytes, lowest))
      return t.host("a segment wants " + hex(s.len_bytes) + " bytes of memory from " + hex(s.start) +
                    ", which this machine does not have free (" + hex(lowest) + "-" + hex(kLowRamEnd) + ", " +
                    hex(kMiB) + "-" + hex(low_ram_end(t.ram())) + "); give the machine more memory, or link the " +
                    "kernel at 0x100000 or above");
    if (s.start < end) return t.bad("two segments overlap at " + hex(s.start));
    t.put(s.start, image.subspan(s.offset, s.file_bytes));
    end = s.start + s.len_bytes;
    if (s.start < kFourGiB) low_end = end;
  }
  return low_end;
}

const Segment* segment_at(const Elf& elf, uint64_t gpa) {
  for (const Segment& s : elf.segments)
    if (s.load && gpa >= s.start && gpa - s.start < s.len_bytes) return &s;
  return nullptr;
}

std::optional<uint64_t> pvh_entry(const Elf& elf, std::span<const uint8_t> image) {
  constexpr uint32_t kPhys32Entry = 18;
  constexpr std::string_view kOwner("Xen\0", 4);
  for (const Segment& s : elf.segments) {
    if (!s.note) continue;
    const uint64_t align = s.align == 8 ? 8 : 4;
    const auto aligned = [&](uint64_t n) { return (n + align - 1) & ~(align - 1); };
    std::span<const uint8_t> notes = image.subspan(s.offset, s.file_bytes);
    while (notes.size() >= sizeof(Elf32_Nhdr)) {
      const Elf32_Nhdr note = get<Elf32_Nhdr>(notes, 0);
      const uint64_t desc = aligned(sizeof note + uint64_t{note.n_namesz}), next = aligned(desc + note.n_descsz);
      if (desc + note.n_descsz > notes.size()) break;
      const auto* owner = reinterpret_cast<const char*>(notes.data() + sizeof note);
      if (std::string_view(owner, note.n_namesz) == kOwner && note.n_type == kPhys32Entry) {
        if (note.n_descsz == 4) return get<uint32_t>(notes, desc);
        if (note.n_descsz == 8) return get<uint64_t>(notes, desc);
      }
      notes = notes.subspan(std::min<uint64_t>(next, notes.size()));
    }
  }
  return std::nullopt;
}

}  // namespace dejavm::boot
