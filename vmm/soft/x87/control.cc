// x87 control instructions. The FN forms do not wait: they work with an exception pending. Source: SDM vol. 2.
#include "vmm/soft/x87/state.h"

namespace dejavm::soft {

using namespace x87;

void exec_fnclex(Cpu& c, const Decoded&) {
  check_x87(c, false);
  c.s.fpu.fsw &= static_cast<uint16_t>(~(kExceptions | kStackFault | kES | kBusy));
}

void exec_fninit(Cpu& c, const Decoded&) {
  check_x87(c, false);
  FpuState& f = c.s.fpu;
  f.fcw = 0x37f;
  f.fsw = 0;
  f.ftw = 0;
  f.fip = f.fdp = f.fop = 0;
}

void exec_fldcw(Cpu& c, const Decoded& d) {
  check_x87(c, true);
  set_fcw(c.s.fpu, c.load<uint16_t>(d.seg, c.effective_address(d)));
}

void exec_fnstcw(Cpu& c, const Decoded& d) {
  check_x87(c, false);
  c.store<uint16_t>(d.seg, c.effective_address(d), c.s.fpu.fcw);
}

void exec_fnstsw(Cpu& c, const Decoded& d) {
  check_x87(c, false);
  if (d.has_mem) c.store<uint16_t>(d.seg, c.effective_address(d), c.s.fpu.fsw);
  else c.set_reg(kRax, 2, c.s.fpu.fsw);
}

// TS matters to FWAIT only together with MP, and EM not at all.
void exec_fwait(Cpu& c, const Decoded&) {
  if ((c.s.cr0 & kCr0MP) && (c.s.cr0 & kCr0TS)) Cpu::fault(kNM);
  if ((c.s.fpu.fsw & kES) && (c.s.cr0 & kCr0NE)) Cpu::fault(kMF);
}

// 8087 and 80287 leftovers: nothing since the 80387.
void exec_fneni(Cpu& c, const Decoded&) { check_x87(c, false); }
void exec_fndisi(Cpu& c, const Decoded&) { check_x87(c, false); }
void exec_fnsetpm(Cpu& c, const Decoded&) { check_x87(c, false); }

}  // namespace dejavm::soft
