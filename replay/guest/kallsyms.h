// The symbols of a running Linux, from its own tables in guest memory. Where they are, a kernel from 6.0 on tells in
// its VMCOREINFO (Documentation/admin-guide/kdump/vmcoreinfo.rst); their format is that of scripts/kallsyms.c and
// kernel/kallsyms.c.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/result.h"
#include "replay/guest/symbols.h"
#include "vmm/state/memory.h"

namespace dejavm {

struct KernelSymbol {
  uint64_t address = 0;
  char type = 0;  // as nm prints it: T text, D data, ...; small for local
  std::string name;
};

struct GuestKernel {
  std::string release;                // "6.1.0-49-cloud-amd64"
  uint64_t offset = 0;                // from where it was linked to where it runs (KASLR)
  uint64_t text_physical = 0;         // of linear address 0xffffffff80000000
  std::vector<KernelSymbol> symbols;  // in the order of /proc/kallsyms
  // kBadInput, saying what is missing or wrong: no Linux, one that is too old or not far enough in its boot, hostile
  // tables.
  static Result<GuestKernel> find(const GuestMemory&);
  const KernelSymbol* symbol(std::string_view name) const;
};

// For naming addresses: those of its image, where it runs.
Symbols symbols_of(const GuestKernel&);
// "do_exit+0x1c", where the next instruction of a vCPU is, if that is in a Linux kernel whose symbols are in memory;
// else empty.
std::string kernel_place(const GuestMemory&, uint64_t rip);

// Reads memory of the kernel's image by its linear address, without page tables; false: not all of it is there.
bool read_kernel_image(const GuestMemory&, const GuestKernel&, uint64_t address, void* to, uint64_t len_bytes);

}  // namespace dejavm
