#include "replay/guest/symbols.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "replay/store/file_io.h"

namespace dejavm {
namespace {

constexpr uint64_t kNear = 1 << 20;  // beyond the last symbol nothing has its name

template <class T>
bool get(const std::vector<uint8_t>& in, uint64_t offset, T& value) {
  if (offset > in.size() || in.size() - offset < sizeof(T)) return false;
  std::memcpy(&value, in.data() + offset, sizeof(T));
  return true;
}

}  // namespace

Result<Symbols> Symbols::load(const std::string& path) {
  auto source = open_file(path);
  if (!source) return source.error();
  std::vector<uint8_t> bytes((*source)->size());
  if (auto done = (*source)->read_at(0, bytes); !done) return done.error();
  Symbols s;
  auto bad = [&](const char* why) { return Error{ErrorKind::kHost, fmt::format("{}: {}", path, why)}; };
  if (bytes.size() >= SELFMAG && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0) {
    Elf64_Ehdr e;
    if (!get(bytes, 0, e) || e.e_ident[EI_CLASS] != ELFCLASS64) return bad("an ELF file, but not one of 64 bits");
    for (unsigned i = 0; i < e.e_shnum; ++i) {
      Elf64_Shdr table, strings;
      if (!get(bytes, e.e_shoff + uint64_t{i} * sizeof table, table)) return bad("its section headers are cut off");
      if (table.sh_type != SHT_SYMTAB) continue;
      if (!get(bytes, e.e_shoff + uint64_t{table.sh_link} * sizeof strings, strings))
        return bad("its section headers are cut off");
      for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= table.sh_size; at += sizeof(Elf64_Sym)) {
        Elf64_Sym x;
        if (!get(bytes, table.sh_offset + at, x)) return bad("its symbol table is cut off");
        const unsigned type = ELF64_ST_TYPE(x.st_info);
        if (x.st_shndx == SHN_UNDEF || type == STT_SECTION || type == STT_FILE || x.st_name == 0) continue;
        const uint64_t name = strings.sh_offset + x.st_name;
        if (name >= bytes.size()) continue;
        const auto end = std::find(bytes.begin() + static_cast<ptrdiff_t>(name), bytes.end(), 0);
        s.all_.push_back({x.st_value, std::string(bytes.begin() + static_cast<ptrdiff_t>(name), end)});
      }
    }
    if (s.all_.empty()) return bad("has no symbols");
  } else {
    const char* p = reinterpret_cast<const char*>(bytes.data());
    const char* const end = p + bytes.size();
    while (p < end) {  // "ffffffff81000000 T _text"
      const char* const line_end = std::find(p, end, '\n');
      uint64_t address = 0;
      const char* q = p;
      for (; q < line_end && std::isxdigit(static_cast<unsigned char>(*q)); ++q)
        address = address << 4 | static_cast<uint64_t>(*q <= '9' ? *q - '0' : (*q | 0x20) - 'a' + 10);
      if (q - p < 8 || line_end - q < 4 || q[0] != ' ' || q[2] != ' ')
        return bad("neither an ELF file nor a System.map");
      s.all_.push_back({address, std::string(q + 3, line_end)});
      p = line_end + 1;
    }
  }
  std::stable_sort(s.all_.begin(), s.all_.end(),
                   [](const Symbol& a, const Symbol& b) { return a.address < b.address; });
  for (const Symbol& x : s.all_)
    if (x.name == "entry_SYSCALL_64") s.entry_ = x.address;
  return s;
}

Symbols Symbols::of(const std::vector<std::pair<uint64_t, std::string>>& symbols) {
  Symbols s;
  for (const auto& [address, name] : symbols) s.all_.push_back({address, name});
  std::stable_sort(s.all_.begin(), s.all_.end(),
                   [](const Symbol& a, const Symbol& b) { return a.address < b.address; });
  const auto end = std::unique(s.all_.begin(), s.all_.end(),
                               [](const Symbol& a, const Symbol& b) { return a.address == b.address; });
  s.all_.erase(end, s.all_.end());
  return s;
}

std::string Symbols::name(uint64_t address) const {
  const uint64_t linked = address - offset_;
  const auto after =
      std::upper_bound(all_.begin(), all_.end(), linked, [](uint64_t a, const Symbol& s) { return a < s.address; });
  if (after == all_.begin()) return {};
  const Symbol& s = *std::prev(after);
  if (linked - s.address > kNear) return {};
  return linked == s.address ? s.name : fmt::format("{}+{:#x}", s.name, linked - s.address);
}

void Symbols::set_linux_entry(uint64_t lstar) {
  if (entry_ && lstar) offset_ = lstar - entry_;
}

}  // namespace dejavm
