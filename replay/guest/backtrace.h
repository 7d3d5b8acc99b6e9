// Who called whom, from a vCPU's registers and its stack.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/state/memory.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

struct Backtrace {
  std::vector<uint64_t> addresses;  // linear: of the next instruction, then those to return to
  // Code that keeps no frame pointers: what is on the stack and follows a call, which also finds calls that are over.
  bool guessed = false;
};

Backtrace backtrace(const GuestMemory&, const VcpuState&, size_t at_most);

}  // namespace dejavm
