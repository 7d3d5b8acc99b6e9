// Reading the guest's memory as a vCPU does, by its page tables, without rights or side effects.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "vmm/state/page_tables.h"

namespace dejavm {

// False: not all of it is there.
inline bool read_linear(const GuestMemory& memory, const VcpuState& s, uint64_t linear, std::span<uint8_t> to) {
  for (uint8_t& byte : to) {
    const auto gpa = translate(memory, s, linear++);
    if (!gpa || !memory.read(Gpa{*gpa}, &byte, 1)) return false;
  }
  return true;
}

template <class T>
bool get_linear(const GuestMemory& memory, const VcpuState& s, uint64_t linear, T& to) {
  std::array<uint8_t, sizeof(T)> bytes{};
  if (!read_linear(memory, s, linear, bytes)) return false;
  std::memcpy(&to, bytes.data(), sizeof to);
  return true;
}

}  // namespace dejavm
