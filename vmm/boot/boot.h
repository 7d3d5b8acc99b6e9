// What a machine does before its first instruction: a kernel, a firmware image or the embedded default guest is put
// into fresh memory, with the tables it expects, and the vCPU is set to the state its boot protocol names.
//
// Kernels are told apart by content:
//   Linux bzImage   boot protocol 2.06 or later (Documentation/arch/x86/boot.rst)
//   ELF with the note XEN_ELFNOTE_PHYS32_ENTRY   PVH (Xen's docs/misc/pvh.pandoc)
//   Multiboot header in the first 8 KiB          Multiboot Specification 0.6.96
// A firmware image starts at the reset vector and gets no tables from us; with it no kernel may be given.
//
// Every file is untrusted. Errors name the file and what is wrong with it (kBadInput), or what the host or the
// machine's size lacks (kHost). After an error the contents of memory and vCPU are of no use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/core/result.h"
#include "vmm/state/config.h"
#include "vmm/state/memory.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm::boot {

inline constexpr uint64_t kMaxFirmwareBytes = 16 << 20;
inline constexpr uint64_t kMaxKernelBytes = 1 << 30;
inline constexpr uint64_t kMaxInitrdBytes = uint64_t{2} << 30;

// `memory` is zero and `vcpu` (number 0) at reset. The caller tells the engine that memory has changed.
Result<void> load(const BootSource&, const MachineConfig&, GuestMemory& memory, VcpuState& vcpu);

// A whole file. More than max_bytes, or an empty file, is an error.
Result<std::vector<uint8_t>> read_file(const std::string& path, uint64_t max_bytes);

}  // namespace dejavm::boot
