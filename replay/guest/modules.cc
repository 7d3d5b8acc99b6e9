#include "replay/guest/modules.h"

#include <elf.h>

#include <fmt/format.h>

#include "replay/guest/linear.h"

namespace dejavm {
namespace {

constexpr size_t kMaxModules = 1000;
constexpr size_t kMaxSymbols = 200'000;  // of all together
constexpr size_t kLongestName = 128;
constexpr size_t kModuleNameBytes = 56;

// Offsets of members, in bytes.
struct Layout {
  uint32_t list = 0;
  uint32_t name = 0;
  uint32_t kallsyms = 0;
  uint32_t symtab = 0;
  uint32_t num_symtab = 0;
  uint32_t strtab = 0;
};

bool find(const Btf& btf, std::string_view type, std::initializer_list<std::pair<const char*, uint32_t*>> wanted) {
  const auto members = btf.members(type);
  for (const auto& [name, to] : wanted) {
    const auto found = members.find(name);
    if (found == members.end()) return false;
    *to = found->second;
  }
  return true;
}

class Modules {
 public:
  Modules(const GuestMemory& memory, const VcpuState& s, const Layout& layout)
      : memory_(memory), state_(s), layout_(layout) {}

  std::vector<ModuleSymbol> all(uint64_t head) const {
    std::vector<ModuleSymbol> out;
    uint64_t entry = 0;
    bool there = get_linear(memory_, state_, head, entry);
    for (size_t n = 0; there && entry != head && n < kMaxModules; ++n) {
      add(entry - layout_.list, out);
      there = get_linear(memory_, state_, entry, entry);
    }
    return out;
  }

 private:
  std::string text_at(uint64_t linear, size_t at_most) const {
    std::string out;
    char one = 0;
    while (out.size() < at_most && get_linear(memory_, state_, linear + out.size(), one) && one != 0)
      out += one >= 0x20 && one < 0x7f ? one : '?';
    return out;
  }
  void add(uint64_t module, std::vector<ModuleSymbol>& out) const {
    uint64_t tables = 0;
    uint64_t symtab = 0;
    uint64_t strtab = 0;
    uint32_t count = 0;
    if (!get_linear(memory_, state_, module + layout_.kallsyms, tables) ||
        !get_linear(memory_, state_, tables + layout_.symtab, symtab) ||
        !get_linear(memory_, state_, tables + layout_.num_symtab, count) ||
        !get_linear(memory_, state_, tables + layout_.strtab, strtab))
      return;
    const std::string name = text_at(module + layout_.name, kModuleNameBytes);
    for (size_t n = 0; n < count && out.size() < kMaxSymbols && n < kMaxSymbols; ++n) {
      Elf64_Sym symbol{};
      if (!get_linear(memory_, state_, symtab + n * sizeof symbol, symbol)) return;
      const unsigned type = ELF64_ST_TYPE(symbol.st_info);
      if (symbol.st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_OBJECT)) continue;
      out.push_back({symbol.st_value, fmt::format("{} [{}]", text_at(strtab + symbol.st_name, kLongestName), name)});
    }
  }

  const GuestMemory& memory_;
  const VcpuState& state_;
  const Layout& layout_;
};

}  // namespace

std::vector<ModuleSymbol> module_symbols(const GuestMemory& memory, const VcpuState& s, const GuestKernel& kernel) {
  const KernelSymbol* head = kernel.symbol("modules");
  const auto btf = Btf::read(memory, kernel);
  Layout layout;
  if (head == nullptr || !btf ||
      !find(*btf, "module", {{"list", &layout.list}, {"name", &layout.name}, {"kallsyms", &layout.kallsyms}}) ||
      !find(*btf, "mod_kallsyms",
            {{"symtab", &layout.symtab}, {"num_symtab", &layout.num_symtab}, {"strtab", &layout.strtab}}))
    return {};
  return Modules(memory, s, layout).all(head->address);
}

}  // namespace dejavm
