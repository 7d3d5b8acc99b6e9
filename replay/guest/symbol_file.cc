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

// The parts of the file, one after the other.
class SymbolFile {
 public:
  explicit SymbolFile(const GuestKernel& kernel) : kernel_(kernel), sections_(1) {
    area(".text", address("_stext"), address("_etext"), SHF_EXECINSTR);
    area(".init.text", address("_sinittext"), address("_einittext"), SHF_EXECINSTR);
    area(".data", address("_etext"), address("_sinittext"), SHF_WRITE);
    area(".rest", std::max(address("_einittext"), address("_etext")), address("_end"), SHF_WRITE);
    areas_ = sections_.size();
  }

  void frames(Bytes debug_frame) {
    if (!debug_frame.empty()) content(".debug_frame", SHT_PROGBITS, std::move(debug_frame), 8, 0);
  }

  void symbols() {
    // Where each symbol ends: where the next of its area begins.
    std::vector<uint64_t> starts;
    for (const KernelSymbol& s : kernel_.symbols) starts.push_back(s.address);
    std::sort(starts.begin(), starts.end());
    Strings names;
    Bytes table;
    put(table, Elf64_Sym{});
    // Local ones come first, as the format demands.
    uint32_t locals = 1;
    for (const bool global : {false, true}) {
      for (const KernelSymbol& s : kernel_.symbols) {
        if (is_global(s) != global) continue;
        put(table, symbol(s, starts, names));
        locals += global ? 0 : 1;
      }
    }
    const uint32_t section = content(".symtab", SHT_SYMTAB, std::move(table), 8, sizeof(Elf64_Sym));
    sections_[section].head.sh_info = locals;
    const uint32_t strings = content(".strtab", SHT_STRTAB, names.take(), 1, 0);
    sections_[section].head.sh_link = strings;
  }

  Bytes finish() {
    Strings names;
    for (Section& s : sections_) s.head.sh_name = s.name.empty() ? 0 : names.add(s.name);
    const uint32_t own_name = names.add(".shstrtab");
    const uint32_t section_names = content(".shstrtab", SHT_STRTAB, names.take(), 1, 0);
    sections_[section_names].head.sh_name = own_name;
    Elf64_Ehdr head = file_header(section_names);
    Bytes out(sizeof head);
    for (Section& s : sections_) {
      out.resize((out.size() + 7) & ~size_t{7});
      s.head.sh_offset = s.head.sh_type == SHT_NULL ? 0 : out.size();
      out.insert(out.end(), s.content.begin(), s.content.end());
    }
    out.resize((out.size() + 7) & ~size_t{7});
    head.e_shoff = out.size();
    for (const Section& s : sections_) put(out, s.head);
    std::memcpy(out.data(), &head, sizeof head);
    return out;
  }

 private:
  static bool is_global(const KernelSymbol& s) { return s.type >= 'A' && s.type <= 'Z'; }

  uint64_t address(std::string_view name) const {
    const KernelSymbol* s = kernel_.symbol(name);
    return s != nullptr ? s->address : 0;
  }

  // A part of the kernel's memory, without its content.
  void area(const char* name, uint64_t start, uint64_t end, uint64_t flags) {
    if (start == 0 || end <= start) return;
    Section s{name, {}, {}};
    s.head.sh_type = SHT_NOBITS;
    s.head.sh_flags = SHF_ALLOC | flags;
    s.head.sh_addr = start;
    s.head.sh_size = end - start;
    s.head.sh_addralign = 1;
    sections_.push_back(std::move(s));
  }

  uint32_t content(const char* name, uint32_t type, Bytes bytes, uint64_t align, uint64_t entry) {
    Section s{name, {}, std::move(bytes)};
    s.head.sh_type = type;
    s.head.sh_size = s.content.size();
    s.head.sh_addralign = align;
    s.head.sh_entsize = entry;
    sections_.push_back(std::move(s));
    return static_cast<uint32_t>(sections_.size() - 1);
  }

  Elf64_Sym symbol(const KernelSymbol& s, const std::vector<uint64_t>& starts, Strings& names) const {
    Elf64_Sym out{};
    out.st_name = names.add(s.name);
    const unsigned type = is_code(s.type) ? STT_FUNC : STT_OBJECT;
    out.st_info = static_cast<unsigned char>(ELF64_ST_INFO(is_global(s) ? STB_GLOBAL : STB_LOCAL, type));
    out.st_shndx = SHN_ABS;
    out.st_value = s.address;
    for (size_t n = 1; n < areas_; ++n) {
      const Elf64_Shdr& head = sections_[n].head;
      if (s.address - head.sh_addr >= head.sh_size) continue;
      out.st_shndx = static_cast<uint16_t>(n);
      const auto next = std::upper_bound(starts.begin(), starts.end(), s.address);
      const uint64_t end = head.sh_addr + head.sh_size;
      out.st_size = (next != starts.end() ? std::min(*next, end) : end) - s.address;
    }
    return out;
  }

  Elf64_Ehdr file_header(uint32_t section_names) const {
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
    e.e_shnum = static_cast<uint16_t>(sections_.size());
    e.e_shstrndx = static_cast<uint16_t>(section_names);
    return e;
  }

  const GuestKernel& kernel_;
  std::vector<Section> sections_;
  size_t areas_ = 0;
};

}  // namespace

Bytes symbol_file(const GuestKernel& kernel, const GuestMemory& memory) {
  SymbolFile file(kernel);
  file.frames(debug_frame(kernel, memory));
  file.symbols();
  return file.finish();
}

}  // namespace dejavm
