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

struct Elf32 {
  using Head = Elf32_Ehdr;
  using Section = Elf32_Shdr;
  using Symbol = Elf32_Sym;
};
struct Elf64 {
  using Head = Elf64_Ehdr;
  using Section = Elf64_Shdr;
  using Symbol = Elf64_Sym;
};
using Named = std::vector<std::pair<uint64_t, std::string>>;

template <class Elf>
const char* read_table(const std::vector<uint8_t>& bytes, const typename Elf::Section& table,
                       const typename Elf::Section& strings, Named& out) {
  typename Elf::Symbol x;
  for (uint64_t at = 0; at + sizeof x <= table.sh_size; at += sizeof x) {
    if (!get(bytes, table.sh_offset + at, x)) return "its symbol table is cut off";
    const unsigned type = ELF64_ST_TYPE(x.st_info);  // the same of 32 bits
    if (x.st_shndx == SHN_UNDEF || type == STT_SECTION || type == STT_FILE || x.st_name == 0) continue;
    const uint64_t name = uint64_t{strings.sh_offset} + x.st_name;
    if (name >= bytes.size()) continue;
    const auto begin = bytes.begin() + static_cast<ptrdiff_t>(name);
    out.emplace_back(x.st_value, std::string(begin, std::find(begin, bytes.end(), 0)));
  }
  return nullptr;
}

// What is wrong; nullptr: nothing.
template <class Elf>
const char* read_elf(const std::vector<uint8_t>& bytes, Named& out) {
  typename Elf::Head e;
  if (!get(bytes, 0, e)) return "its header is cut off";
  for (unsigned i = 0; i < e.e_shnum; ++i) {
    typename Elf::Section table;
    typename Elf::Section strings;
    if (!get(bytes, e.e_shoff + uint64_t{i} * sizeof table, table)) return "its section headers are cut off";
    if (table.sh_type != SHT_SYMTAB) continue;
    if (!get(bytes, e.e_shoff + uint64_t{table.sh_link} * sizeof strings, strings))
      return "its section headers are cut off";
    if (const char* why = read_table<Elf>(bytes, table, strings, out)) return why;
  }
  return out.empty() ? "has no symbols" : nullptr;
}

// "ffffffff81000000 T _text"
const char* read_map(const std::vector<uint8_t>& bytes, Named& out) {
  const char* p = reinterpret_cast<const char*>(bytes.data());
  const char* const end = p + bytes.size();
  while (p < end) {
    const char* const line_end = std::find(p, end, '\n');
    uint64_t address = 0;
    const char* q = p;
    for (; q < line_end && std::isxdigit(static_cast<unsigned char>(*q)); ++q)
      address = address << 4 | static_cast<uint64_t>(*q <= '9' ? *q - '0' : (*q | 0x20) - 'a' + 10);
    if (q - p < 8 || line_end - q < 4 || q[0] != ' ' || q[2] != ' ') return "neither an ELF file nor a System.map";
    out.emplace_back(address, std::string(q + 3, line_end));
    p = line_end + 1;
  }
  return nullptr;
}

}  // namespace

Result<Symbols> Symbols::load(const std::string& path) {
  auto source = open_file(path);
  if (!source) return source.error();
  std::vector<uint8_t> bytes((*source)->size());
  if (auto done = (*source)->read_at(0, bytes); !done) return done.error();
  const bool is_elf = bytes.size() > EI_CLASS && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0;
  Named named;
  const char* why = !is_elf                         ? read_map(bytes, named)
                    : bytes[EI_CLASS] == ELFCLASS64 ? read_elf<Elf64>(bytes, named)
                                                    : read_elf<Elf32>(bytes, named);
  if (why != nullptr) return Error{ErrorKind::kHost, fmt::format("{}: {}", path, why)};
  Symbols s;
  for (auto& [address, name] : named) s.all_.push_back({address, std::move(name)});
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

void Symbols::add(const Symbols& other) {
  all_.insert(all_.end(), other.all_.begin(), other.all_.end());
  std::stable_sort(all_.begin(), all_.end(), [](const Symbol& a, const Symbol& b) { return a.address < b.address; });
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
