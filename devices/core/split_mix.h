// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): numbers that look random, the
// same everywhere.
#pragma once

#include <cstdint>

namespace dejavm {

struct SplitMix64 {
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15;  // 2^64 divided by the golden ratio
  uint64_t state = 0;

  // Output n (from 0) of a generator that begins with `seed`.
  static constexpr uint64_t output(uint64_t seed, uint64_t n) {
    uint64_t z = seed + (n + 1) * kStep;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  constexpr uint64_t next() {
    const uint64_t value = output(state, 0);
    state += kStep;
    return value;
  }
};

}  // namespace dejavm
