// MOV to and from the debug registers. Source: Intel SDM vol. 3, 17.2.
#include "vmm/soft/mmu.h"
#include "vmm/soft/system/control.h"

namespace dejavm::soft {
namespace {

constexpr uint64_t kDr6Fixed1 = 0xffff0ff0, kDr6Writable = 0xe00f;
constexpr uint64_t kDr7Fixed1 = 0x400, kDr7Writable = 0xffff23ff;
constexpr uint64_t kDr7GD = 1 << 13;

// The register meant: DR4 and DR5 are DR6 and DR7 unless CR4.DE. Checks in the order #UD, #GP, #DB.
unsigned access(Cpu& c, unsigned n) {
  if (n > 7 || ((n == 4 || n == 5) && (c.s.cr4 & kCr4DE))) Cpu::fault(kUD);
  sys::require_cpl0(c);
  if (c.s.dr7 & kDr7GD) {
    c.report_debug(kDr6BD);
    Cpu::fault(kDB);
  }
  return n == 4 || n == 5 ? n + 2 : n;
}

}  // namespace

void exec_mov_from_dr(Cpu& c, const Decoded& d) {
  const unsigned n = access(c, d.operands[1].reg);
  c.set_reg(d.operands[0].reg, c.long64() ? 8 : 4, n == 6 ? c.s.dr6 : n == 7 ? c.s.dr7 : c.s.dr[n]);
}

void exec_mov_to_dr(Cpu& c, const Decoded& d) {
  const unsigned n = access(c, d.operands[0].reg);
  const uint64_t value = c.reg(d.operands[1].reg, c.long64() ? 8 : 4);
  if (n >= 6 && value >> 32) Cpu::fault(kGP, 0);
  if (n == 6) c.s.dr6 = (value & kDr6Writable) | kDr6Fixed1;
  else if (n == 7) c.s.dr7 = (value & kDr7Writable) | kDr7Fixed1;
  else c.s.dr[n] = value;
  forget_fast(c);  // which pages are watched has changed
}

}  // namespace dejavm::soft
