// What debuggers want of a core file: registers as notes, and the linear addresses that page tables give to memory.
// Sources: <sys/procfs.h> for NT_PRSTATUS and NT_FPREGSET; QEMU's QEMUCPUState, version 1, for crash and drgn; SDM vol.
// 3 ch. 4 for page tables.
#pragma once

#include <span>
#include <vector>

#include "replay/snapshot/elf_core.h"
#include "vmm/state/memory.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

// NT_PRSTATUS and NT_FPREGSET of each vCPU, then QEMU's of each.
std::vector<ElfNote> core_notes(std::span<const VcpuState>);

// The VMCOREINFO note that a Linux guest keeps at the start of one of its pages, if there is one.
bool is_vmcoreinfo(const uint8_t* page);
ElfNote vmcoreinfo(const uint8_t* page);

// Each run of linear addresses that the vCPU's page tables map to consecutive memory: ascending, without offsets.
// Empty with paging off. A guest can write any tables: at most kMaxMappings, found in kMaxTableEntries steps.
inline constexpr size_t kMaxMappings = 60'000, kMaxTableEntries = 4'000'000;
std::vector<ElfLoad> linear_mappings(const VcpuState&, std::span<const MemoryRegion>);

}  // namespace dejavm
