// The types of a kernel, as its BTF tells (Documentation/bpf/btf.rst). All that is read is within it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "replay/guest/kallsyms.h"

namespace dejavm {

class Btf {
 public:
  // kBadInput, saying why: the kernel has none, or a damaged one. Up to 64 MiB are read.
  static Result<Btf> read(const GuestMemory&, const GuestKernel&);
  static Result<Btf> of(std::vector<uint8_t> bytes);
  // Where in a struct its members are, in bytes; empty: there is none of this name.
  std::map<std::string, uint32_t> members(std::string_view struct_name) const;

 private:
  template <class T>
  bool get(uint64_t at, T& to) const;
  std::string_view name(uint32_t offset) const;
  std::map<std::string, uint32_t> members_at(uint64_t at, uint32_t count, bool has_bit_sizes) const;

  std::vector<uint8_t> bytes_;
  uint64_t types_ = 0;
  uint64_t types_end_ = 0;
  uint64_t strings_ = 0;
};

}  // namespace dejavm
