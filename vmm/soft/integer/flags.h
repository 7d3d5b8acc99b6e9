// Arithmetic flags of integer results. Source: Intel SDM vol. 1, 3.4.3.1. Values are zero-extended to 64 bits; size in
// bytes. What is undefined there is fixed in docs/cpu.md.
#pragma once

#include <bit>

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

constexpr uint64_t mask_of(unsigned size) { return size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * size)) - 1; }
constexpr uint64_t sign_of(unsigned size) { return uint64_t{1} << (8 * size - 1); }
constexpr int64_t sign_extend(uint64_t v, unsigned size) {
  return static_cast<int64_t>(v << (64 - 8 * size)) >> (64 - 8 * size);
}

constexpr uint64_t when(bool holds, uint64_t flags) { return holds ? flags : 0; }

constexpr uint64_t szp(uint64_t r, unsigned size) {
  r &= mask_of(size);
  return when(r & sign_of(size), kSF) | when(r == 0, kZF) | when(!(std::popcount(r & 0xff) & 1), kPF_);
}

// r = a + b + carry, truncated by the caller or not.
constexpr uint64_t add_flags(uint64_t a, uint64_t b, uint64_t r, unsigned size) {
  const uint64_t carries = (a & b) | ((a | b) & ~r);
  return szp(r, size) | when(carries & sign_of(size), kCF) | when(carries & 8, kAF) |
         when((a ^ r) & (b ^ r) & sign_of(size), kOF_);
}

// r = a - b - borrow.
constexpr uint64_t sub_flags(uint64_t a, uint64_t b, uint64_t r, unsigned size) {
  const uint64_t borrows = (~a & b) | ((~a | b) & r);
  return szp(r, size) | when(borrows & sign_of(size), kCF) | when(borrows & 8, kAF) |
         when((a ^ b) & (a ^ r) & sign_of(size), kOF_);
}

}  // namespace dejavm::soft
