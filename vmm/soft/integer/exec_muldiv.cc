// Multiplication and division. Source: Intel SDM vol. 2. Flags that it leaves undefined: docs/cpu.md.
#include "vmm/soft/integer/flags.h"

namespace dejavm::soft {
namespace {

using U128 = unsigned __int128;
using S128 = __int128;

// The double-width accumulator: AX for bytes, else DX:AX, EDX:EAX, RDX:RAX.
U128 read_wide(const Cpu& c, unsigned size) {
  if (size == 1) return c.reg(kRax, 2);
  return (U128{c.reg(kRdx, size)} << (8 * size)) | c.reg(kRax, size);
}
void write_wide(Cpu& c, unsigned size, uint64_t low, uint64_t high) {
  if (size == 1) {
    c.set_reg(kRax, 2, (low & 0xff) | ((high & 0xff) << 8));
    return;
  }
  c.set_reg(kRax, size, low);
  c.set_reg(kRdx, size, high);
}

void product_flags(Cpu& c, uint64_t low, unsigned size, bool overflow) {
  c.set_arith(kArithFlags, szp(low, size) | when(overflow, kCF | kOF_));
}

}  // namespace

void exec_mul(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const U128 p = U128{c.reg(kRax, size)} * c.read_operand(d, 0);
  const uint64_t low = static_cast<uint64_t>(p) & mask_of(size), high = static_cast<uint64_t>(p >> (8 * size));
  write_wide(c, size, low, high);
  product_flags(c, low, size, high != 0);
}

void exec_imul(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const bool wide = d.operand_count == 1;
  const uint64_t a = wide ? c.reg(kRax, size) : c.read_operand(d, d.operand_count == 3 ? 1 : 0);
  const uint64_t b = c.read_operand(d, d.operand_count - 1);
  const S128 p = S128{sign_extend(a, size)} * sign_extend(b, size);
  const uint64_t low = static_cast<uint64_t>(p) & mask_of(size);
  const bool overflow = p != S128{sign_extend(low, size)};
  if (wide) write_wide(c, size, low, static_cast<uint64_t>(p >> (8 * size)));
  else c.write_operand(d, 0, low);
  product_flags(c, low, size, overflow);
}

void exec_div(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const uint64_t divisor = c.read_operand(d, 0);
  if (divisor == 0) Cpu::fault(kDE);
  const U128 a = read_wide(c, size);
  if (a <= ~uint64_t{0}) {
    const uint64_t low = static_cast<uint64_t>(a), q64 = low / divisor;
    if (q64 > mask_of(size)) Cpu::fault(kDE);
    return write_wide(c, size, q64, low % divisor);
  }
  const U128 q = a / divisor;
  if (q > mask_of(size)) Cpu::fault(kDE);
  write_wide(c, size, static_cast<uint64_t>(q), static_cast<uint64_t>(a % divisor));
}

void exec_idiv(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const int64_t divisor = sign_extend(c.read_operand(d, 0), size);
  if (divisor == 0) Cpu::fault(kDE);
  const unsigned unused = 128 - 16 * size;
  const S128 a = static_cast<S128>(read_wide(c, size) << unused) >> unused;
  // Magnitudes: the most negative dividend by -1 must not trap in the host.
  const U128 magnitude = a < 0 ? U128{0} - static_cast<U128>(a) : static_cast<U128>(a);
  const U128 by = divisor < 0 ? U128{0} - static_cast<U128>(S128{divisor}) : static_cast<U128>(divisor);
  const U128 q = magnitude / by, rest = magnitude % by;
  const bool negative = (a < 0) != (divisor < 0);
  if (q > U128{sign_of(size)} - (negative ? 0 : 1)) Cpu::fault(kDE);
  write_wide(c, size, static_cast<uint64_t>(negative ? U128{0} - q : q),
             static_cast<uint64_t>(a < 0 ? U128{0} - rest : rest));
}

}  // namespace dejavm::soft
