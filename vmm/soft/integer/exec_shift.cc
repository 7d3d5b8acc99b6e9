// Shifts and rotates. Source: Intel SDM vol. 2. A shift by 0 leaves the flags and still writes its destination (a
// 32-bit register is zero-extended). What the manual leaves undefined is fixed in docs/cpu.md.
#include "vmm/soft/integer/flags.h"

namespace dejavm::soft {
namespace {

unsigned masked_count(uint64_t count, unsigned size) { return static_cast<unsigned>(count & (size == 8 ? 63 : 31)); }

// compute(a, n, bits, size, flags) -> result, for n > 0.
template <class F>
void shift(Cpu& c, const Decoded& d, F compute) {
  const unsigned size = d.operands[0].size;
  const unsigned n = masked_count(c.read_operand(d, 1), size);
  const uint64_t a = c.read_operand_for_update(d, 0);
  uint64_t flags = c.arith_flags();
  const uint64_t r = n == 0 ? a : compute(a, n, 8 * size, size, flags) & mask_of(size);
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, flags);
}

bool bit(uint64_t v, unsigned n) { return n < 64 && ((v >> n) & 1); }
uint64_t left(uint64_t v, unsigned n) { return n < 64 ? v << n : 0; }
uint64_t right(uint64_t v, unsigned n) { return n < 64 ? v >> n : 0; }

uint64_t carry_overflow(uint64_t flags, bool carry, bool overflow) {
  return (flags & ~(kCF | kOF_)) | when(carry, kCF) | when(overflow, kOF_);
}

// The two highest bits differ.
bool top_bits_differ(uint64_t r, unsigned bits) { return bit(r, bits - 1) != bit(r, bits - 2); }

}  // namespace

void exec_shl(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t a, unsigned n, unsigned bits, unsigned size, uint64_t& f) {
    const uint64_t r = left(a, n) & mask_of(size);
    const bool carry = n <= bits && bit(a, bits - n);
    f = szp(r, size) | when(carry, kCF) | when(bit(r, bits - 1) != carry, kOF_);
    return r;
  });
}
void exec_shr(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t a, unsigned n, unsigned bits, unsigned size, uint64_t& f) {
    const uint64_t r = right(a, n);
    f = szp(r, size) | when(bit(a, n - 1), kCF) | when(top_bits_differ(r, bits), kOF_);
    return r;
  });
}
void exec_sar(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t a, unsigned n, unsigned, unsigned size, uint64_t& f) {
    const int64_t v = sign_extend(a, size);
    const uint64_t r = static_cast<uint64_t>(v >> n) & mask_of(size);
    f = szp(r, size) | when((v >> (n - 1)) & 1, kCF);
    return r;
  });
}

void exec_rol(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t a, unsigned n, unsigned bits, unsigned size, uint64_t& f) {
    n %= bits;
    const uint64_t r = (left(a, n) | right(a, bits - n)) & mask_of(size);
    f = carry_overflow(f, r & 1, bit(r, bits - 1) != bit(r, 0));
    return r;
  });
}
void exec_ror(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t a, unsigned n, unsigned bits, unsigned size, uint64_t& f) {
    n %= bits;
    const uint64_t r = (right(a, n) | left(a, bits - n)) & mask_of(size);
    f = carry_overflow(f, bit(r, bits - 1), top_bits_differ(r, bits));
    return r;
  });
}

// Rotates of bits + 1 bits, the carry being the highest.
void exec_rcl(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t a, unsigned n, unsigned bits, unsigned size, uint64_t& f) {
    n %= bits + 1;
    const uint64_t carry_in = f & kCF;
    const uint64_t r = n == 0 ? a : (left(a, n) | (carry_in << (n - 1)) | right(a, bits + 1 - n)) & mask_of(size);
    const bool carry = n == 0 ? carry_in != 0 : bit(a, bits - n);
    f = carry_overflow(f, carry, bit(r, bits - 1) != carry);
    return r;
  });
}
void exec_rcr(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t a, unsigned n, unsigned bits, unsigned size, uint64_t& f) {
    n %= bits + 1;
    const uint64_t carry_in = f & kCF;
    const uint64_t r = n == 0 ? a : (right(a, n) | (carry_in << (bits - n)) | left(a, bits + 1 - n)) & mask_of(size);
    const bool carry = n == 0 ? carry_in != 0 : bit(a, n - 1);
    f = carry_overflow(f, carry, top_bits_differ(r, bits));
    return r;
  });
}

namespace {

// Double shifts. A 16-bit count of 17 to 31 goes on with the destination's own bits, as if it followed the source.
template <bool kLeft>
void double_shift(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size, bits = 8 * size;
  const unsigned n = masked_count(c.read_operand(d, 2), size);
  const uint64_t src = c.read_operand(d, 1);
  const uint64_t a = c.read_operand_for_update(d, 0);
  if (n == 0) {
    c.write_operand(d, 0, a);
    return;
  }
  uint64_t r;
  bool carry;
  if (size == 2) {
    const uint64_t wide = (a << 32) | (src << 16) | a;
    r = (kLeft ? (wide << n) >> 32 : wide >> n) & 0xffff;
    carry = kLeft ? bit(wide, 48 - n) : bit(wide, n - 1);
  } else {
    r = (kLeft ? left(a, n) | right(src, bits - n) : right(a, n) | left(src, bits - n)) & mask_of(size);
    carry = kLeft ? bit(a, bits - n) : bit(a, n - 1);
  }
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, szp(r, size) | when(carry, kCF) | when((a ^ r) & sign_of(size), kOF_));
}

}  // namespace

void exec_shld(Cpu& c, const Decoded& d) { double_shift<true>(c, d); }
void exec_shrd(Cpu& c, const Decoded& d) { double_shift<false>(c, d); }

}  // namespace dejavm::soft
