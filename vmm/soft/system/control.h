// Control registers and EFER with the rules of their writes. Source: Intel SDM vol. 3, 2.5, 4.1 and 4.10; vol. 2, MOV
// to control registers.
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft::sys {

// Each throws #GP(0) with nothing changed, else commits, flushes and updates the mode.
void set_cr0(Cpu& c, uint64_t value);
void set_cr3(Cpu& c, uint64_t value);
void set_cr4(Cpu& c, uint64_t value);
void set_efer(Cpu& c, uint64_t value);

inline void require_cpl0(const Cpu& c) {
  if (c.cpl != 0) Cpu::fault(kGP, 0);
}

}  // namespace dejavm::soft::sys
