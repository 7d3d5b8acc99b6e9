// Multiboot kernels.
#pragma once

#include "vmm/boot/layout.h"

namespace dejavm::boot {

bool is_multiboot(std::span<const uint8_t> image);
Result<void> load_multiboot(const Target&, std::span<const uint8_t> image);

}  // namespace dejavm::boot
