// Moves, extensions, flags, stack frames. Source: Intel SDM vol. 2.
#include "vmm/soft/integer/flags.h"

namespace dejavm::soft {

void exec_mov(Cpu& c, const Decoded& d) { c.write_operand(d, 0, c.read_operand(d, 1)); }
void exec_movnti(Cpu& c, const Decoded& d) { exec_mov(c, d); }
void exec_movzx(Cpu& c, const Decoded& d) { c.write_operand(d, 0, c.read_operand(d, 1)); }
void exec_movsx(Cpu& c, const Decoded& d) {
  c.write_operand(d, 0, static_cast<uint64_t>(sign_extend(c.read_operand(d, 1), d.operands[1].size)));
}
void exec_movsxd(Cpu& c, const Decoded& d) { exec_movsx(c, d); }
void exec_lea(Cpu& c, const Decoded& d) { c.write_operand(d, 0, c.effective_address(d)); }

void exec_setcc(Cpu& c, const Decoded& d) { c.write_operand(d, 0, c.condition(d.cc)); }
// The source is read and, with 32 bits, the upper half cleared whether the condition holds or not.
void exec_cmovcc(Cpu& c, const Decoded& d) {
  const uint64_t v = c.read_operand(d, 1);
  c.write_operand(d, 0, c.condition(d.cc) ? v : c.read_operand(d, 0));
}

void exec_cbw(Cpu& c, const Decoded&) { c.set_reg(kRax, 2, static_cast<uint64_t>(sign_extend(c.r[kRax], 1))); }
void exec_cwde(Cpu& c, const Decoded&) { c.set_reg(kRax, 4, static_cast<uint64_t>(sign_extend(c.r[kRax], 2))); }
void exec_cdqe(Cpu& c, const Decoded&) { c.set_reg(kRax, 8, static_cast<uint64_t>(sign_extend(c.r[kRax], 4))); }
void exec_cwd(Cpu& c, const Decoded&) { c.set_reg(kRdx, 2, c.r[kRax] & sign_of(2) ? ~uint64_t{0} : 0); }
void exec_cdq(Cpu& c, const Decoded&) { c.set_reg(kRdx, 4, c.r[kRax] & sign_of(4) ? ~uint64_t{0} : 0); }
void exec_cqo(Cpu& c, const Decoded&) { c.set_reg(kRdx, 8, c.r[kRax] & sign_of(8) ? ~uint64_t{0} : 0); }

void exec_lahf(Cpu& c, const Decoded&) { c.set_reg_high(kRax, (c.arith_flags() & 0xd5) | 2); }
void exec_sahf(Cpu& c, const Decoded&) { c.set_arith(0xd5, c.reg_high(kRax)); }
void exec_salc(Cpu& c, const Decoded&) { c.set_reg(kRax, 1, c.cf() ? 0xff : 0); }
void exec_cmc(Cpu& c, const Decoded&) { c.set_arith(kCF, when(!c.cf(), kCF)); }
void exec_clc(Cpu& c, const Decoded&) { c.set_arith(kCF, 0); }
void exec_stc(Cpu& c, const Decoded&) { c.set_arith(kCF, kCF); }
void exec_cld(Cpu& c, const Decoded&) { c.other_flags &= ~uint64_t{kDF_}; }
void exec_std(Cpu& c, const Decoded&) { c.other_flags |= kDF_; }

void exec_xlat(Cpu& c, const Decoded& d) {
  const uint64_t offset = (c.r[kRbx] + c.reg(kRax, 1)) & mask_of(d.addr_size);
  c.set_reg(kRax, 1, c.load_sized(d.seg, offset, 1));
}

void exec_push(Cpu& c, const Decoded& d) {
  const bool imm = d.operands[0].kind == OperandKind::kImm;
  c.push(d.op_size, imm ? d.imm : c.read_operand(d, 0));
}

// A memory destination is addressed with the stack pointer after the pop.
void exec_pop(Cpu& c, const Decoded& d) {
  const uint64_t sp = c.r[kRsp];
  const uint64_t v = c.pop(d.op_size);
  if (d.operands[0].kind != OperandKind::kMem) return c.write_operand(d, 0, v);
  try {
    c.write_operand(d, 0, v);
  } catch (...) {
    c.r[kRsp] = sp;
    throw;
  }
}

void exec_pusha(Cpu& c, const Decoded& d) {
  const unsigned size = d.op_size, width = c.stack_size();
  const uint64_t sp = c.reg(kRsp, width);
  std::array<uint64_t, 8> at;
  for (unsigned n = 0; n < 8; ++n) {
    at[n] = c.linear(kSs, (sp - size * (n + 1)) & mask_of(width), size, Access::kWrite);
    c.probe_write(at[n], size);
  }
  for (unsigned n = 0; n < 8; ++n) c.write_linear(at[n], &c.r[n], size);
  c.set_reg(kRsp, width, sp - 8 * size);
}

void exec_popa(Cpu& c, const Decoded& d) {
  const unsigned size = d.op_size, width = c.stack_size();
  const uint64_t sp = c.reg(kRsp, width);
  std::array<uint64_t, 8> v;
  for (unsigned n = 0; n < 8; ++n) v[n] = c.load_sized(kSs, (sp + size * n) & mask_of(width), size);
  for (unsigned n = 0; n < 8; ++n)
    if (7 - n != kRsp) c.set_reg(7 - n, size, v[n]);
  c.set_reg(kRsp, width, sp + 8 * size);
}

void exec_pushf(Cpu& c, const Decoded& d) {
  if (c.v86() && c.iopl() < 3) Cpu::fault(kGP, 0);
  c.push(d.op_size, c.rflags() & ~uint64_t{kVM | kRF});
}

void exec_popf(Cpu& c, const Decoded& d) {
  if (c.v86() && c.iopl() < 3) Cpu::fault(kGP, 0);
  uint64_t may = kArithFlags | kTF | kDF_ | kNT | kAC_ | kID;
  if (!c.v86() && c.cpl == 0) may |= kIOPL;
  if (c.v86() || c.cpl <= c.iopl()) may |= kIF;
  if (d.op_size == 2) may &= 0xffff;
  else may |= kRF;  // reads as set in no image that PUSHF made; cleared below
  const uint64_t image = c.pop(d.op_size) & ~uint64_t{kRF};
  c.set_rflags((c.rflags() & ~may) | (image & may));
}

void exec_leave(Cpu& c, const Decoded& d) {
  const unsigned width = c.stack_size();
  const uint64_t frame = c.reg(kRbp, width);
  const uint64_t v = c.load_sized(kSs, frame, d.op_size);
  c.set_reg(kRsp, width, frame + d.op_size);
  c.set_reg(kRbp, d.op_size, v);
}

// ENTER alloc, level: pushes RBP, the level-1 enclosing frame pointers and the new one. All is read and checked first;
// then each pointer is read anew as it is pushed, for the pushes may overlap what is read. The new frame pointer is the
// whole stack pointer after the first push: on a 16-bit stack the upper half of ESP comes with it.
void exec_enter(Cpu& c, const Decoded& d) {
  const unsigned size = d.op_size, width = c.stack_size(), level = d.imm2 & 31;
  const uint64_t sp = c.reg(kRsp, width), bp = c.reg(kRbp, width);
  const uint64_t frame = (c.since(2) ? c.r[kRsp] & ~mask_of(width) : 0) | ((sp - size) & mask_of(width));
  std::array<uint64_t, 33> value;
  unsigned count = 0;
  value[count++] = c.r[kRbp];
  for (unsigned n = 1; n < level; ++n) value[count++] = c.load_sized(kSs, (bp - size * n) & mask_of(width), size);
  if (level > 0) value[count++] = frame;
  const uint64_t last = (sp - size * count - (d.imm & 0xffff)) & mask_of(width);
  c.probe_write(c.linear(kSs, last, size, Access::kWrite), size);
  std::array<uint64_t, 33> at;
  for (unsigned n = 0; n < count; ++n) {
    at[n] = c.linear(kSs, (sp - size * (n + 1)) & mask_of(width), size, Access::kWrite);
    c.probe_write(at[n], size);
  }
  for (unsigned n = 0; n < count; ++n) {
    if (n >= 1 && n < level) value[n] = c.load_sized(kSs, (bp - size * n) & mask_of(width), size);
    c.write_linear(at[n], &value[n], size);
  }
  c.set_reg(kRbp, size, frame);
  c.set_reg(kRsp, width, last);
}

void exec_bswap(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const uint64_t v = c.read_operand(d, 0);
  // 16 bits is undefined and gives zero, as processors do (docs/cpu.md).
  c.write_operand(d, 0, size == 8 ? __builtin_bswap64(v) : size == 4 ? __builtin_bswap32(static_cast<uint32_t>(v)) : 0);
}

}  // namespace dejavm::soft
