// MMX registers as the mantissas of the x87 registers (SDM vol. 1, 9.2 and 9.6.2).
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

inline constexpr uint16_t kFswTop = 0x3800;

inline uint64_t mmx_read(const Cpu& c, unsigned n) { return c.s.fpu.st_mantissa[n & 7]; }

// A write sets the exponent to all ones, TOP to 0 and all tags to valid.
inline void mmx_write(Cpu& c, unsigned n, uint64_t v) {
  FpuState& f = c.s.fpu;
  f.st_mantissa[n & 7] = v;
  f.st_exponent[n & 7] = 0xffff;
  f.fsw &= static_cast<uint16_t>(~kFswTop);
  f.ftw = 0xff;
}

}  // namespace dejavm::soft
