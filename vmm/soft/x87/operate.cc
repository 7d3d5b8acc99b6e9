// x87 instructions that compute, load, store and compare: all by run_on_host(). Those whose results vendors compute
// differently are in remainder.cc and transcendental.cc; those that move the unit's state in control.cc, environment.cc
// and xsave.cc. Source: SDM vol. 1, ch. 8; vol. 2.
#include "vmm/soft/x87/state.h"

namespace dejavm::soft {

namespace x87 {

void note_instruction(Cpu& c, const Decoded& d) {
  FpuState& f = c.s.fpu;
  f.fip = c.rip;
  f.fop = static_cast<uint16_t>((d.opcode & 7) << 8 | d.modrm);
  if (d.has_mem) f.fdp = c.effective_address(d);
}

}  // namespace x87

namespace {

using namespace x87;

// What FCOMI and its like do to EFLAGS; FCMOVcc only reads them.
enum class Flags : uint8_t { kKeep, kSet };

void finish(Cpu& c, const Decoded& d, const FpuState& f) {
  c.s.fpu = f;
  note_instruction(c, d);
}

void run_registers(Cpu& c, const Decoded& d, Flags use = Flags::kKeep) {
  check_x87(c, true);
  FpuState f = c.s.fpu;
  uint8_t flags = static_cast<uint8_t>(c.arith >> 8);
  run_on_host(f, static_cast<uint8_t>(d.opcode), d.modrm, nullptr, flags);
  // ZF, PF and CF tell; OF, SF and AF are cleared. So too when an unmasked exception is raised, as on AMD.
  if (use == Flags::kSet) c.arith = static_cast<uint16_t>((flags & 0x45) << 8);
  finish(c, d, f);
}

void run_load(Cpu& c, const Decoded& d) {
  check_x87(c, true);
  uint8_t memory[16] = {};
  const unsigned size = d.operands[0].size;
  c.read_linear(c.linear(d.seg, c.effective_address(d), size, Access::kRead), memory, size);
  FpuState f = c.s.fpu;
  uint8_t flags = 0;
  run_on_host(f, static_cast<uint8_t>(d.opcode), d.modrm & 0x38, memory, flags);
  finish(c, d, f);
}

void run_store(Cpu& c, const Decoded& d) {
  check_x87(c, true);
  uint8_t memory[16] = {};
  const unsigned size = d.operands[0].size;
  const uint64_t linear = c.linear(d.seg, c.effective_address(d), size, Access::kWrite);
  FpuState f = c.s.fpu;
  uint8_t flags = 0;
  // Without a store the address is checked all the same, so that #PF does not depend on the data.
  if (run_on_host(f, static_cast<uint8_t>(d.opcode), d.modrm & 0x38, memory, flags))
    c.write_linear(linear, memory, size);
  else c.probe_write(linear, size);
  finish(c, d, f);
}

void run_load_or_registers(Cpu& c, const Decoded& d) { d.has_mem ? run_load(c, d) : run_registers(c, d); }
void run_store_or_registers(Cpu& c, const Decoded& d) { d.has_mem ? run_store(c, d) : run_registers(c, d); }

}  // namespace

#define DEJAVM_X87_EITHER(op) \
  void exec_##op(Cpu& c, const Decoded& d) { run_load_or_registers(c, d); }
DEJAVM_X87_EITHER(fadd)
DEJAVM_X87_EITHER(fmul)
DEJAVM_X87_EITHER(fcom)
DEJAVM_X87_EITHER(fcomp)
DEJAVM_X87_EITHER(fsub)
DEJAVM_X87_EITHER(fsubr)
DEJAVM_X87_EITHER(fdiv)
DEJAVM_X87_EITHER(fdivr)
DEJAVM_X87_EITHER(fld)
#undef DEJAVM_X87_EITHER

#define DEJAVM_X87_LOAD(op) \
  void exec_##op(Cpu& c, const Decoded& d) { run_load(c, d); }
DEJAVM_X87_LOAD(fiadd)
DEJAVM_X87_LOAD(fimul)
DEJAVM_X87_LOAD(ficom)
DEJAVM_X87_LOAD(ficomp)
DEJAVM_X87_LOAD(fisub)
DEJAVM_X87_LOAD(fisubr)
DEJAVM_X87_LOAD(fidiv)
DEJAVM_X87_LOAD(fidivr)
DEJAVM_X87_LOAD(fild)
DEJAVM_X87_LOAD(fbld)
#undef DEJAVM_X87_LOAD

#define DEJAVM_X87_STORE(op) \
  void exec_##op(Cpu& c, const Decoded& d) { run_store_or_registers(c, d); }
DEJAVM_X87_STORE(fst)
DEJAVM_X87_STORE(fstp)
DEJAVM_X87_STORE(fist)
DEJAVM_X87_STORE(fistp)
DEJAVM_X87_STORE(fisttp)
DEJAVM_X87_STORE(fbstp)
#undef DEJAVM_X87_STORE

#define DEJAVM_X87_REGISTERS(op) \
  void exec_##op(Cpu& c, const Decoded& d) { run_registers(c, d); }
DEJAVM_X87_REGISTERS(faddp)
DEJAVM_X87_REGISTERS(fmulp)
DEJAVM_X87_REGISTERS(fcompp)
DEJAVM_X87_REGISTERS(fsubp)
DEJAVM_X87_REGISTERS(fsubrp)
DEJAVM_X87_REGISTERS(fdivp)
DEJAVM_X87_REGISTERS(fdivrp)
DEJAVM_X87_REGISTERS(fxch)
DEJAVM_X87_REGISTERS(fcmovb)
DEJAVM_X87_REGISTERS(fcmove)
DEJAVM_X87_REGISTERS(fcmovbe)
DEJAVM_X87_REGISTERS(fcmovu)
DEJAVM_X87_REGISTERS(fcmovnb)
DEJAVM_X87_REGISTERS(fcmovne)
DEJAVM_X87_REGISTERS(fcmovnbe)
DEJAVM_X87_REGISTERS(fcmovnu)
DEJAVM_X87_REGISTERS(fucom)
DEJAVM_X87_REGISTERS(fucomp)
DEJAVM_X87_REGISTERS(fucompp)
DEJAVM_X87_REGISTERS(fnop)
DEJAVM_X87_REGISTERS(fchs)
DEJAVM_X87_REGISTERS(fabs)
DEJAVM_X87_REGISTERS(ftst)
DEJAVM_X87_REGISTERS(fxam)
DEJAVM_X87_REGISTERS(fld1)
DEJAVM_X87_REGISTERS(fldl2t)
DEJAVM_X87_REGISTERS(fldl2e)
DEJAVM_X87_REGISTERS(fldpi)
DEJAVM_X87_REGISTERS(fldlg2)
DEJAVM_X87_REGISTERS(fldln2)
DEJAVM_X87_REGISTERS(fldz)
DEJAVM_X87_REGISTERS(fxtract)
DEJAVM_X87_REGISTERS(fdecstp)
DEJAVM_X87_REGISTERS(fincstp)
DEJAVM_X87_REGISTERS(fsqrt)
DEJAVM_X87_REGISTERS(frndint)
DEJAVM_X87_REGISTERS(fscale)
DEJAVM_X87_REGISTERS(ffree)
DEJAVM_X87_REGISTERS(ffreep)
#undef DEJAVM_X87_REGISTERS

#define DEJAVM_X87_FLAGS(op) \
  void exec_##op(Cpu& c, const Decoded& d) { run_registers(c, d, Flags::kSet); }
DEJAVM_X87_FLAGS(fucomi)
DEJAVM_X87_FLAGS(fucomip)
DEJAVM_X87_FLAGS(fcomi)
DEJAVM_X87_FLAGS(fcomip)
#undef DEJAVM_X87_FLAGS

}  // namespace dejavm::soft
