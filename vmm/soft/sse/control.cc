// MXCSR in memory, and EMMS.
#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {

void exec_ldmxcsr(Cpu& c, const Decoded& d) {
  check_sse(c);
  const uint32_t v = c.load<uint32_t>(d.seg, c.effective_address(d));
  if (v >> 16) Cpu::fault(kGP, 0);
  c.s.fpu.mxcsr = v;
}

void exec_stmxcsr(Cpu& c, const Decoded& d) {
  check_sse(c);
  c.store<uint32_t>(d.seg, c.effective_address(d), c.s.fpu.mxcsr);
}

void exec_emms(Cpu& c, const Decoded&) {
  check_mmx(c);
  c.s.fpu.fsw &= static_cast<uint16_t>(~kFswTop);
  c.s.fpu.ftw = 0;
}

}  // namespace dejavm::soft
