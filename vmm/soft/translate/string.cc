// Generated code of REP MOVS and REP STOS, of 64-bit code, forwards, within one page each: the host's own.
#include <cstddef>

#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg64;

// Each iteration counts as an instruction. The block has counted one, and none is left to count when the limit comes
// first.
Emitter::Done Emitter::repeat(const Decoded& d) {
  static_assert(kPinned[kRsi] == 6 && kPinned[kRdi] == 7 && kPinned[kRcx] != kNotPinned && kPinned[kRax] != kNotPinned);
  const bool moves = d.op == Op::k_movs;
  if (block_->work.mode32 || d.rep != Rep::kRep || d.addr_size != 8 || d.seg == kFs || d.seg == kGs) return Done::kNo;
  const Reg64 count(static_cast<int>(kPinned[kRcx]));
  const unsigned size = d.op_size;
  Xbyak::Label done;
  block_->host_flags = false;
  test(count, count);
  jz(done, T_NEAR);
  test(cpu(offsetof(Cpu, other_flags), 4), static_cast<uint32_t>(kDF_));
  jnz(slow_stub().from, T_NEAR);
  cmp(count, 4096 / size);
  ja(slow_stub().from, T_NEAR);
  lea(rax, ptr[count - 1]);
  cmp(rax, cpu(offsetof(Cpu, left), 8));
  ja(slow_stub().from, T_NEAR);
  if (moves) {
    lea(rdx, ptr[rsi + count * size - 1]);
    probe_to(rsi, false);
    mov(rax, ptr[rcx + static_cast<int>(offsetof(FastEntry, addend))]);
  }
  lea(rdx, ptr[rdi + count * size - 1]);
  probe_to(rdi, true);
  mov(rdx, ptr[rcx + static_cast<int>(offsetof(FastEntry, addend))]);
  if (moves) add(rsi, rax);
  else mov(rax, host(kRax, 8));
  add(rdi, rdx);
  mov(rcx, count);
  rep();
  switch (size) {
    case 1: moves ? movsb() : stosb(); break;
    case 2: moves ? movsw() : stosw(); break;
    case 4: moves ? movsd() : stosd(); break;
    default: moves ? movsq() : stosq(); break;
  }
  if (moves) sub(rsi, rax);
  sub(rdi, rdx);
  sub(cpu(offsetof(Cpu, left), 8), count);
  add(cpu(offsetof(Cpu, left), 8), 1);
  xor_(count.cvt32(), count.cvt32());
  L(done);
  return Done::kYes;
}

}  // namespace dejavm::soft
