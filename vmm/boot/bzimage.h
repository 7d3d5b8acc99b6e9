// Linux's bzImage.
#pragma once

#include "vmm/boot/layout.h"

namespace dejavm::boot {

bool is_bzimage(std::span<const uint8_t> image);
Result<void> load_bzimage(const Target&, std::span<const uint8_t> image);

}  // namespace dejavm::boot
