// What the manuals leave undefined, where processors differ and ours has its own choice (docs/cpu.md).
#pragma once

#include <cstdint>

#include "vmm/soft/decode.h"

namespace dejavm::soft {

// Arithmetic flags that are undefined after the instruction; rcx: before it, for shift counts.
uint64_t undefined_flags(const Decoded& d, uint64_t rcx);
// SHLD and SHRD of 16 bits by more than 16.
bool destination_is_undefined(const Decoded& d, uint64_t rcx);

}  // namespace dejavm::soft
