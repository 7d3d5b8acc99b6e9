// What the string instructions have in common, those that reach ports too. Source: Intel SDM vol. 2. One call of a
// plain function is one iteration; a repeated operation with iterations left stays at its own address, so that it is
// one retired instruction per iteration and interrupts and limits come between any two. With a count of zero it does
// nothing and is one instruction.
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

// RSI or RDI by one element.
inline void step(Cpu& c, const Decoded& d, unsigned reg) {
  const uint64_t size = d.op_size;
  c.set_reg(reg, d.addr_size, c.r[reg] + (c.flag(kDF_) ? uint64_t{0} - size : size));
}

// Runs one iteration and decides whether the instruction is finished. `body` returns false when CMPS or SCAS must stop.
template <class Body>
void iterate(Cpu& c, const Decoded& d, Body body) {
  if (d.rep == Rep::kNone) {
    body();
    return;
  }
  const uint64_t count = c.reg(kRcx, d.addr_size);
  if (count == 0) return;
  const bool go_on = body();
  c.set_reg(kRcx, d.addr_size, count - 1);
  if (count != 1 && go_on) c.next_rip = c.rip;
}

}  // namespace dejavm::soft
