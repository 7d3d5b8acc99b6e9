// Software interrupts, the interrupt flag, HLT. Source: Intel SDM vol. 2, INT n, CLI, STI, HLT; without VME.
#include "vmm/soft/system/control.h"
#include "vmm/soft/system/deliver.h"

namespace dejavm::soft {
namespace {

// A fault on the way is the instruction's own: it is thrown like any other, with c.rip at the instruction.
void software_interrupt(Cpu& c, EventType type, uint8_t vector) {
  uint64_t return_rip = c.long64() ? c.next_rip : c.next_rip & 0xffffffff;
  sys::deliver_once(c, {type, vector}, return_rip);
  c.next_rip = c.rip;
}

void check_iopl(const Cpu& c) {
  if (c.protected_mode() && c.cpl > c.iopl()) Cpu::fault(kGP, 0);
}

}  // namespace

void exec_int(Cpu& c, const Decoded& d) {
  if (c.v86()) check_iopl(c);
  software_interrupt(c, EventType::kSoftware, static_cast<uint8_t>(d.imm));
}

// A trap that a stack segment load before held back is lost, as it is with a fault; those of the other interrupts come
// after them.
void exec_int1(Cpu& c, const Decoded&) {
  software_interrupt(c, EventType::kIcebp, kDB);
  c.s.pending_debug = 0;
}
void exec_int3(Cpu& c, const Decoded&) { software_interrupt(c, EventType::kSoftwareException, kBP); }

void exec_into(Cpu& c, const Decoded&) {
  if (c.long64()) Cpu::fault(kUD);
  if (c.flag(kOF_)) software_interrupt(c, EventType::kSoftwareException, kOF);
}

void exec_cli(Cpu& c, const Decoded&) {
  check_iopl(c);
  c.other_flags &= ~uint64_t{kIF};
}

void exec_sti(Cpu& c, const Decoded&) {
  check_iopl(c);
  if (!c.flag(kIF)) c.s.sti_shadow = true;
  c.other_flags |= kIF;
}

void exec_hlt(Cpu& c, const Decoded&) {
  sys::require_cpl0(c);
  c.s.activity = Activity::kHalted;
}

}  // namespace dejavm::soft
