#include "replay/guest/symbol_file.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "replay/guest/orc.h"

namespace dejavm {
namespace {

template <class T>
void put(Bytes& out, const T& v) {
  const auto* p = reinterpret_cast<const uint8_t*>(&v);
  out.insert(out.end(), p, p + sizeof v);
}

// Strings one after the other, each by its place.
class Strings {
 public:
  uint32_t add(std::string_view text) {
    const auto at = static_cast<uint32_t>(bytes_.size());
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    bytes_.push_back(0);
    return at;
  }
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_{0};
};

struct Section {
  std::string name;
  Elf64_Shdr head{};
  Bytes content{};
};

bool is_code(char type) { return type == 't' || type == 'T' || type == 'w' || type == 'W'; }

}  // namespace

Bytes symbol_file(const GuestKernel& kernel, const GuestMemory& memory) {
  auto address = [&](std::string_view name) -> uint64_t {
    const KernelSymbol* s = kernel.symbol(name);
    return s != nullptr ? s->address : 0;
  };
  std::vector<Section> sections(1);
  auto area = [&](const char* name, uint64_t start, uint64_t end, uint64_t flags) {
    if (start == 0 || end <= start) return;
    Section s{name, {}, {}};
    s.head.sh_type = SHT_NOBITS;
    s.head.sh_flags = SHF_ALLOC | flags;
    s.head.sh_addr = start;
    s.head.sh_size = end - start;
    s.head.sh_addralign = 1;
    sections.push_back(std::move(s));
  };
  area(".text", address("_stext"), address("_etext"), SHF_EXECINSTR);
  area(".init.text", address("_sinittext"), address("_einittext"), SHF_EXECINSTR);
  area(".data", address("_etext"), address("_sinittext"), SHF_WRITE);
  area(".rest", std::max(address("_einittext"), address("_etext")), address("_end"), SHF_WRITE);
  const size_t areas = sections.size();

  // Where each symbol ends: where the next of its area begins.
  std::vector<uint64_t> starts;
  for (const KernelSymbol& s : kernel.symbols) starts.push_back(s.address);
  std::sort(starts.begin(), starts.end());
  Strings names;
  Bytes symbols;
  put(symbols, Elf64_Sym{});
  // Local ones come first, as the format demands.
  uint32_t locals = 1;
  for (const bool global : {false, true}) {
    for (const KernelSymbol& s : kernel.symbols) {
      const bool is_global = s.type >= 'A' && s.type <= 'Z';
      if (is_global != global) continue;
      Elf64_Sym out{};
      out.st_name = names.add(s.name);
      out.st_info = static_cast<unsigned char>(
          ELF64_ST_INFO(is_global ? STB_GLOBAL : STB_LOCAL, is_code(s.type) ? STT_FUNC : STT_OBJECT));
      out.st_shndx = SHN_ABS;
      out.st_value = s.address;
      for (size_t n = 1; n < areas; ++n)
        if (s.address - sections[n].head.sh_addr < sections[n].head.sh_size) {
          out.st_shndx = static_cast<uint16_t>(n);
          const auto next = std::upper_bound(starts.begin(), starts.end(), s.address);
          const uint64_t end = sections[n].head.sh_addr + sections[n].head.sh_size;
          out.st_size = (next != starts.end() ? std::min(*next, end) : end) - s.address;
        }
      put(symbols, out);
      locals += global ? 0 : 1;
    }
  }
  auto content = [&](const char* name, uint32_t type, Bytes bytes, uint64_t align, uint64_t entry) {
    Section s{name, {}, std::move(bytes)};
    s.head.sh_type = type;
    s.head.sh_size = s.content.size();
    s.head.sh_addralign = align;
    s.head.sh_entsize = entry;
    sections.push_back(std::move(s));
    return static_cast<uint32_t>(sections.size() - 1);
  };
  if (Bytes frames = debug_frame(kernel, memory); !frames.empty())
    content(".debug_frame", SHT_PROGBITS, std::move(frames), 8, 0);
  const uint32_t table = content(".symtab", SHT_SYMTAB, std::move(symbols), 8, sizeof(Elf64_Sym));
  sections[table].head.sh_info = locals;
  sections[table].head.sh_link = content(".strtab", SHT_STRTAB, names.take(), 1, 0);
  Strings section_names;
  for (Section& s : sections) s.head.sh_name = s.name.empty() ? 0 : section_names.add(s.name);
  const uint32_t name = section_names.add(".shstrtab");
  const uint32_t section_names_at = content(".shstrtab", SHT_STRTAB, section_names.take(), 1, 0);
  sections[section_names_at].head.sh_name = name;

  Elf64_Ehdr e{};
  std::memcpy(e.e_ident, ELFMAG, SELFMAG);
  e.e_ident[EI_CLASS] = ELFCLASS64;
  e.e_ident[EI_DATA] = ELFDATA2LSB;
  e.e_ident[EI_VERSION] = EV_CURRENT;
  e.e_type = ET_EXEC;
  e.e_machine = EM_X86_64;
  e.e_version = EV_CURRENT;
  e.e_ehsize = sizeof e;
  e.e_shentsize = sizeof(Elf64_Shdr);
  e.e_shnum = static_cast<uint16_t>(sections.size());
  e.e_shstrndx = static_cast<uint16_t>(section_names_at);
  Bytes out(sizeof e);
  for (Section& s : sections) {
    out.resize((out.size() + 7) & ~size_t{7});
    s.head.sh_offset = s.head.sh_type == SHT_NULL ? 0 : out.size();
    out.insert(out.end(), s.content.begin(), s.content.end());
  }
  out.resize((out.size() + 7) & ~size_t{7});
  e.e_shoff = out.size();
  for (const Section& s : sections) put(out, s.head);
  std::memcpy(out.data(), &e, sizeof e);
  return out;
}

}  // namespace dejavm
