// The symbols of a running Linux guest's modules, from its own list of them, by the layouts that its BTF tells.
#pragma once

#include "replay/guest/btf.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

struct ModuleSymbol {
  uint64_t address = 0;
  std::string name;  // "add_one [races]", as the kernel itself prints them
};

// By the page tables of a vCPU that is in this kernel. At most so many modules, and symbols of each, as a sane guest
// has: of hostile tables what can be read. Empty: none, or the kernel does not tell how they are laid out.
std::vector<ModuleSymbol> module_symbols(const GuestMemory&, const VcpuState&, const GuestKernel&);

}  // namespace dejavm
