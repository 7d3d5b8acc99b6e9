// Operands: random bits with the values at which MMX and SSE operations change their minds mixed in.
#pragma once

#include <array>
#include <cstdint>

#include "devices/core/split_mix.h"
#include "tests/vmm/soft/sse/forms.h"
#include "tests/vmm/soft/sse/native.h"

namespace dejavm::soft {

class Random {
 public:
  explicit Random(uint64_t seed) : numbers_{seed} {}
  uint64_t next() { return numbers_.next(); }
  unsigned below(unsigned n) { return static_cast<unsigned>(next() % n); }

 private:
  SplitMix64 numbers_;
};

using Bits128 = std::array<uint64_t, 2>;
uint32_t random_single(Random&);
uint64_t random_double(Random&);
Bits128 random_vector(Random&, Data);

// Registers, flags and memory with values fit for `data`; MXCSR with the given exception masks (bits 12:7), random
// rounding, DAZ, FTZ and sticky flags.
NativeState random_state(Random&, Data, uint32_t mxcsr_masks);

}  // namespace dejavm::soft
