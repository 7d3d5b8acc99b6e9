#include "replay/snapshot/elf_core.h"

#include <elf.h>

#include <cstring>

#include <fmt/format.h>

namespace dejavm {
namespace {

constexpr uint64_t kMaxHeadBytes = 256 << 20;

template <class T>
void put(Bytes& out, const T& value) {
  const auto* p = reinterpret_cast<const uint8_t*>(&value);
  out.insert(out.end(), p, p + sizeof(T));
}
template <class T>
T get(std::span<const uint8_t> in, uint64_t offset) {
  T value;
  std::memcpy(&value, in.data() + offset, sizeof(T));
  return value;
}
constexpr uint64_t align(uint64_t v, uint64_t to) { return (v + to - 1) & ~(to - 1); }

Error bad(uint64_t offset, std::string_view why) {
  return {ErrorKind::kBadInput, fmt::format("byte {}: {}", offset, why)};
}

// The file header's only variable: how many program headers there are, the first being PT_NOTE.
Elf64_Ehdr file_header(uint64_t count) {
  Elf64_Ehdr e{};
  std::memcpy(e.e_ident, ELFMAG, SELFMAG);
  e.e_ident[EI_CLASS] = ELFCLASS64;
  e.e_ident[EI_DATA] = ELFDATA2LSB;
  e.e_ident[EI_VERSION] = EV_CURRENT;
  e.e_type = ET_CORE;
  e.e_machine = EM_X86_64;
  e.e_version = EV_CURRENT;
  e.e_phoff = sizeof(Elf64_Ehdr);
  e.e_ehsize = sizeof(Elf64_Ehdr);
  e.e_phentsize = sizeof(Elf64_Phdr);
  e.e_phnum = static_cast<Elf64_Half>(count < PN_XNUM ? count : PN_XNUM);
  if (count >= PN_XNUM) {
    e.e_shoff = sizeof(Elf64_Ehdr) + count * sizeof(Elf64_Phdr);
    e.e_shentsize = sizeof(Elf64_Shdr);
    e.e_shnum = 1;
  }
  return e;
}

Elf64_Shdr count_section(uint64_t count) {
  Elf64_Shdr s{};
  s.sh_info = static_cast<Elf64_Word>(count);
  return s;
}

}  // namespace

ElfLayout elf_layout(size_t loads, uint64_t notes_len) {
  const uint64_t count = loads + 1;
  ElfLayout l;
  l.program_headers = sizeof(Elf64_Ehdr);
  l.notes = l.program_headers + count * sizeof(Elf64_Phdr) + (count >= PN_XNUM ? sizeof(Elf64_Shdr) : 0);
  l.notes_len = notes_len;
  l.data = align(l.notes + notes_len, kElfDataAlignment);
  return l;
}

uint64_t note_bytes(const ElfNote& n) {
  return sizeof(Elf64_Nhdr) + align(n.name.size() + 1, 4) + align(n.desc.size(), 4);
}

void append_note(Bytes& out, const ElfNote& n) {
  put(out, Elf64_Nhdr{static_cast<Elf64_Word>(n.name.size() + 1), static_cast<Elf64_Word>(n.desc.size()), n.type});
  out.insert(out.end(), n.name.begin(), n.name.end());
  out.insert(out.end(), align(n.name.size() + 1, 4) - n.name.size(), 0);
  out.insert(out.end(), n.desc.begin(), n.desc.end());
  out.insert(out.end(), align(n.desc.size(), 4) - n.desc.size(), 0);
}

Bytes elf_head(const ElfLayout& l, std::span<const ElfLoad> loads) {
  const uint64_t count = loads.size() + 1;
  Bytes out;
  put(out, file_header(count));
  put(out, Elf64_Phdr{PT_NOTE, 0, l.notes, 0, 0, l.notes_len, 0, 4});
  for (const ElfLoad& x : loads)
    put(out,
        Elf64_Phdr{PT_LOAD, x.flags, x.offset, x.linear, x.physical, x.file_bytes, x.len_bytes, kElfDataAlignment});
  if (count >= PN_XNUM) put(out, count_section(count));
  return out;
}

Result<uint64_t> elf_head_bytes(std::span<const uint8_t> start, uint64_t file_bytes) {
  constexpr uint64_t kFirst = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
  constexpr uint8_t kZstdMagic[] = {0x28, 0xb5, 0x2f, 0xfd};
  if (start.size() >= sizeof kZstdMagic && std::memcmp(start.data(), kZstdMagic, sizeof kZstdMagic) == 0)
    return Error{ErrorKind::kBadInput, "is packed; 'dejavm snapshot unpack' makes a snapshot of it"};
  if (start.size() < SELFMAG || std::memcmp(start.data(), ELFMAG, SELFMAG) != 0)
    return Error{ErrorKind::kBadInput, "not a dejavm snapshot: it does not begin as an ELF file"};
  if (start.size() < kFirst)
    return Error{ErrorKind::kBadInput, fmt::format("cut off after {} bytes, in its header", start.size())};
  const auto note = get<Elf64_Phdr>(start, sizeof(Elf64_Ehdr));
  if (get<Elf64_Ehdr>(start, 0).e_type != ET_CORE || note.p_type != PT_NOTE)
    return Error{ErrorKind::kBadInput,
                 "not a dejavm snapshot: an ELF file, but not a core file that begins with notes"};
  if (note.p_offset > kMaxHeadBytes || note.p_filesz > kMaxHeadBytes)
    return bad(sizeof(Elf64_Ehdr), "its notes are said to be larger than 256 MiB");
  const uint64_t head = align(note.p_offset + note.p_filesz, kElfDataAlignment);
  if (head > file_bytes)
    return Error{ErrorKind::kBadInput,
                 fmt::format("cut off after {} bytes; its headers and notes alone are {}", file_bytes, head)};
  return head;
}

Result<ElfView> parse_elf_head(std::span<const uint8_t> head) {
  ElfView v;
  if (head.size() < sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr)) return bad(0, "too short");
  const auto e = get<Elf64_Ehdr>(head, 0);
  uint64_t count = e.e_phnum;
  if (count == PN_XNUM) {
    if (e.e_shoff > head.size() || head.size() - e.e_shoff < sizeof(Elf64_Shdr))
      return bad(0, "its section header is outside");
    count = get<Elf64_Shdr>(head, e.e_shoff).sh_info;
    if (count < PN_XNUM) return bad(e.e_shoff, "a number of program headers that needs no section header");
  }
  if (count < 1 || count > head.size() / sizeof(Elf64_Phdr)) return bad(0, fmt::format("{} program headers", count));
  const Elf64_Ehdr expected = file_header(count);
  if (std::memcmp(&e, &expected, sizeof e) != 0) return bad(0, "an ELF header that no snapshot has");
  if (count >= PN_XNUM) {
    const Elf64_Shdr s = get<Elf64_Shdr>(head, e.e_shoff), want = count_section(count);
    if (std::memcmp(&s, &want, sizeof s) != 0) return bad(e.e_shoff, "a section header that no snapshot has");
  }
  const auto note = get<Elf64_Phdr>(head, sizeof(Elf64_Ehdr));
  v.layout = elf_layout(count - 1, note.p_filesz);
  const Elf64_Phdr want{PT_NOTE, 0, v.layout.notes, 0, 0, note.p_filesz, 0, 4};
  if (std::memcmp(&note, &want, sizeof note) != 0 || v.layout.data != head.size())
    return bad(sizeof(Elf64_Ehdr), "the program header of the notes does not fit the file");
  for (uint64_t i = 1; i < count; ++i) {
    const uint64_t at = sizeof(Elf64_Ehdr) + i * sizeof(Elf64_Phdr);
    const auto p = get<Elf64_Phdr>(head, at);
    if (p.p_type != PT_LOAD || p.p_align != kElfDataAlignment || p.p_flags > 7)
      return bad(at, "a program header that no snapshot has");
    v.loads.push_back({p.p_vaddr, p.p_paddr, p.p_memsz, p.p_offset, p.p_filesz, p.p_flags});
  }
  const uint64_t end = v.layout.notes + v.layout.notes_len;
  for (uint64_t at = v.layout.notes; at < end;) {
    const uint64_t left = end - at;
    if (left < sizeof(Elf64_Nhdr)) return bad(at, "the last note is cut off");
    const auto n = get<Elf64_Nhdr>(head, at);
    const uint64_t name_len = align(uint64_t{n.n_namesz}, 4), desc_len = align(uint64_t{n.n_descsz}, 4);
    if (n.n_namesz == 0 || name_len + desc_len > left - sizeof(Elf64_Nhdr))
      return bad(at, "a note is longer than what holds it");
    ElfNoteRef r;
    const auto name = head.subspan(at + sizeof(Elf64_Nhdr), name_len),
               desc = head.subspan(at + sizeof(Elf64_Nhdr) + name_len, desc_len);
    r.name = {reinterpret_cast<const char*>(name.data()), n.n_namesz - 1};
    r.type = n.n_type;
    r.offset = at;
    r.desc = desc.first(n.n_descsz);
    for (uint64_t i = n.n_namesz - 1; i < name_len; ++i)
      if (name[i] != 0) return bad(at, "a note's name does not end in zeros");
    for (uint64_t i = n.n_descsz; i < desc_len; ++i)
      if (desc[i] != 0) return bad(at, "a note's padding is not zero");
    v.notes.push_back(r);
    at += sizeof(Elf64_Nhdr) + name_len + desc_len;
  }
  for (uint64_t i = end; i < head.size(); ++i)
    if (head[i] != 0) return bad(i, "the padding between notes and memory is not zero");
  return v;
}

}  // namespace dejavm
