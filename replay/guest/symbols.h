// Names for addresses, from a System.map or the symbol table of an ELF file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/core/result.h"

namespace dejavm {

class Symbols {
 public:
  static Result<Symbols> load(const std::string& path);
  // In any order; of several at one address the first is kept as the name.
  static Symbols of(const std::vector<std::pair<uint64_t, std::string>>& symbols);
  void add(const Symbols&);  // as linked, or where they run
  bool empty() const { return all_.empty(); }
  // A Linux kernel may run elsewhere than where it was linked (KASLR): its entry point for SYSCALL, which IA32_LSTAR
  // holds (0: not yet), tells how far.
  void set_linux_entry(uint64_t lstar);
  // "do_syscall_64+0x1c", or empty where nothing near is known.
  std::string name(uint64_t address) const;

 private:
  struct Symbol {
    uint64_t address;
    std::string name;
  };
  std::vector<Symbol> all_;          // ascending
  uint64_t entry_ = 0, offset_ = 0;  // entry_: where SYSCALL's was linked
};

}  // namespace dejavm
