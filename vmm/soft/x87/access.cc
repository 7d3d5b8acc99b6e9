// Whether x87, MMX and SSE instructions may execute now (SDM vol. 3, 2.5 and table 2-2; vol. 1, 8.7).
#include "vmm/soft/x87/state.h"

namespace dejavm::soft {

// FERR# leads nowhere in this machine: while CR0.NE is clear a pending exception is not reported.
void check_x87(Cpu& c, bool waiting) {
  if (c.s.cr0 & (kCr0EM | kCr0TS)) Cpu::fault(kNM);
  if (waiting && (c.s.fpu.fsw & x87::kES) && (c.s.cr0 & kCr0NE)) Cpu::fault(kMF);
}

void check_mmx(Cpu& c) {
  if (c.s.cr0 & kCr0EM) Cpu::fault(kUD);
  if (c.s.cr0 & kCr0TS) Cpu::fault(kNM);
  if ((c.s.fpu.fsw & x87::kES) && (c.s.cr0 & kCr0NE)) Cpu::fault(kMF);
}

void check_sse(Cpu& c) {
  if ((c.s.cr0 & kCr0EM) || !(c.s.cr4 & kCr4OSFXSR)) Cpu::fault(kUD);
  if (c.s.cr0 & kCr0TS) Cpu::fault(kNM);
}

}  // namespace dejavm::soft
