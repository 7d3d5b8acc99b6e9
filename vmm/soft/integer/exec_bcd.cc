// Decimal adjustments, outside 64-bit mode only. Source: Intel SDM vol. 2. Undefined flags: docs/cpu.md.
#include "vmm/soft/integer/flags.h"

namespace dejavm::soft {
namespace {

// kSign: +1 after addition, -1 after subtraction.
template <int kSign>
void adjust_packed(Cpu& c) {
  const uint64_t f = c.arith_flags(), al = c.reg(kRax, 1);
  const bool low = (al & 15) > 9 || (f & kAF), high = al > 0x99 || (f & kCF);
  const uint64_t correction = (low ? 6u : 0u) + (high ? 0x60u : 0u);
  // A borrow out of AL - 6 sets the carry too; a carry out of AL + 6 happens only above 0x99.
  const bool borrow = kSign < 0 && low && al < 6;
  const uint64_t r = (kSign > 0 ? al + correction : al - correction) & 0xff;
  c.set_reg(kRax, 1, r);
  c.set_arith(kArithFlags, szp(r, 1) | when(low, kAF) | when(high || borrow, kCF));
}

template <int kSign>
void adjust_unpacked(Cpu& c) {
  const uint64_t f = c.arith_flags(), ax = c.reg(kRax, 2);
  const bool adjust = (ax & 15) > 9 || (f & kAF);
  const uint64_t changed = kSign > 0 ? ax + 0x106 : ax - 0x106;
  const uint64_t r = (adjust ? changed : ax) & 0xff0f;
  c.set_reg(kRax, 2, r);
  c.set_arith(kArithFlags, szp(r, 1) | when(adjust, kAF | kCF));
}

}  // namespace

void exec_daa(Cpu& c, const Decoded&) { adjust_packed<1>(c); }
void exec_das(Cpu& c, const Decoded&) { adjust_packed<-1>(c); }
void exec_aaa(Cpu& c, const Decoded&) { adjust_unpacked<1>(c); }
void exec_aas(Cpu& c, const Decoded&) { adjust_unpacked<-1>(c); }

void exec_aam(Cpu& c, const Decoded& d) {
  const uint64_t base = d.imm & 0xff, al = c.reg(kRax, 1);
  if (base == 0) Cpu::fault(kDE);
  c.set_reg(kRax, 2, ((al / base) << 8) | (al % base));
  c.set_arith(kArithFlags, szp(al % base, 1));
}

void exec_aad(Cpu& c, const Decoded& d) {
  const uint64_t r = (c.reg(kRax, 1) + c.reg_high(kRax) * (d.imm & 0xff)) & 0xff;
  c.set_reg(kRax, 2, r);
  c.set_arith(kArithFlags, szp(r, 1));
}

}  // namespace dejavm::soft
