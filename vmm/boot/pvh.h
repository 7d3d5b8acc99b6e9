// ELF kernels with the PVH note.
#pragma once

#include "vmm/boot/layout.h"

namespace dejavm::boot {

bool is_pvh(std::span<const uint8_t> image);
Result<void> load_pvh(const Target&, std::span<const uint8_t> image);

}  // namespace dejavm::boot
