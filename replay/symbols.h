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
  bool empty() const { return all_.empty(); }
  // The kernel runs this far from where it was linked (KASLR); 0 at first.
  void set_offset(uint64_t offset) { offset_ = offset; }
  // "do_syscall_64+0x1c", or empty where nothing near is known.
  std::string name(uint64_t address) const;
  // Where a symbol was linked; 0 if unknown.
  uint64_t linked(const std::string& name) const;

 private:
  struct Symbol {
    uint64_t address;
    std::string name;
  };
  std::vector<Symbol> all_;  // ascending
  uint64_t offset_ = 0;
};

}  // namespace dejavm
