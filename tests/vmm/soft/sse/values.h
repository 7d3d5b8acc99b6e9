// Operands: random bits with the values at which MMX and SSE operations change their minds mixed in.
#pragma once

#include <array>
#include <cstdint>

#include "tests/vmm/soft/sse/forms.h"
#include "tests/vmm/soft/sse/native.h"

namespace dejavm::soft {

class Random {  // SplitMix64
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  unsigned below(unsigned n) { return static_cast<unsigned>(next() % n); }

 private:
  uint64_t state_;
};

using Bits128 = std::array<uint64_t, 2>;
uint32_t random_single(Random&);
uint64_t random_double(Random&);
Bits128 random_vector(Random&, Data);

// Registers, flags and memory with values fit for `data`; MXCSR with the given exception masks (bits 12:7), random
// rounding, DAZ, FTZ and sticky flags.
NativeState random_state(Random&, Data, uint32_t mxcsr_masks);

}  // namespace dejavm::soft
