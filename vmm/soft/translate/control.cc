// Generated code by instruction: conditions, stack, branches.
#include <cstddef>

#include "vmm/soft/blocks/hot.h"
#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg;
using Xbyak::Reg32;
using Xbyak::Reg64;

namespace {

bool fits32(uint64_t v) { return static_cast<int64_t>(v) == static_cast<int32_t>(v); }

}  // namespace

Emitter::Done Emitter::conditional(const Decoded& d) {
  const Operand& a = d.operands[0];
  if (d.op == Op::k_setcc) {
    if (is_mem(a) && has_address(d)) {
      effective_address(d, true);
      probe(true, 1);
      set_if(condition(d.cc, true), byte[rax]);
      return Done::kYes;
    }
    if (!is_gpr(a)) return Done::kNo;
    const unsigned cc = condition(d.cc, false);
    const Reg to = pinned(a.reg) ? host(a.reg, 1) : scratch(2, 1);
    set_if(cc, to);
    write_guest(a.reg, 1, to);
    return Done::kYes;
  }
  const Operand& b = d.operands[1];
  if (a.size < 4) return Done::kNo;
  Reg from;
  if (is_mem(b) && has_address(d)) {
    effective_address(d, true);
    probe(false, a.size);
    mov(scratch(2, a.size), at(rax, a.size));
    from = scratch(2, a.size);
  } else if (is_gpr(b)) {
    from = in_register(b.reg, a.size, 2);
  } else {
    return Done::kNo;
  }
  const unsigned cc = condition(d.cc, false);
  const Reg to = in_register(a.reg, a.size, 1);
  move_if(cc, to, from);
  write_guest(a.reg, a.size, to);
  return Done::kYes;
}

void Emitter::set_if(unsigned cc, const Xbyak::Operand& to) {
  switch (cc) {
    case 0: seto(to); break;
    case 1: setno(to); break;
    case 2: setb(to); break;
    case 3: setae(to); break;
    case 4: sete(to); break;
    case 5: setne(to); break;
    case 6: setbe(to); break;
    case 7: seta(to); break;
    case 8: sets(to); break;
    case 9: setns(to); break;
    case 10: setp(to); break;
    case 11: setnp(to); break;
    case 12: setl(to); break;
    case 13: setge(to); break;
    case 14: setle(to); break;
    default: setg(to); break;
  }
}

void Emitter::move_if(unsigned cc, const Reg& to, const Reg& from) {
  switch (cc) {
    case 0: cmovo(to, from); break;
    case 1: cmovno(to, from); break;
    case 2: cmovb(to, from); break;
    case 3: cmovae(to, from); break;
    case 4: cmove(to, from); break;
    case 5: cmovne(to, from); break;
    case 6: cmovbe(to, from); break;
    case 7: cmova(to, from); break;
    case 8: cmovs(to, from); break;
    case 9: cmovns(to, from); break;
    case 10: cmovp(to, from); break;
    case 11: cmovnp(to, from); break;
    case 12: cmovl(to, from); break;
    case 13: cmovge(to, from); break;
    case 14: cmovle(to, from); break;
    default: cmovg(to, from); break;
  }
}

Emitter::Done Emitter::exchange(const Decoded& d) {
  const Operand &a = d.operands[0], &b = d.operands[1];
  switch (d.op) {
    case Op::k_nop:
    case Op::k_pause: return Done::kYes;
    case Op::k_cdqe: movsxd(Reg64(host(kRax, 8).getIdx()), Reg32(host(kRax, 4).getIdx())); return Done::kYes;
    case Op::k_cwde: movsx(host(kRax, 4), host(kRax, 2)); return Done::kYes;
    case Op::k_cdq:
    case Op::k_cqo: {
      const unsigned size = d.op == Op::k_cdq ? 4 : 8;
      block_->host_flags = false;
      mov(host(kRdx, size), host(kRax, size));
      sar(host(kRdx, size), static_cast<int>(8 * size - 1));
      return Done::kYes;
    }
    case Op::k_bswap:
      if (a.size < 4 || !pinned(a.reg)) return Done::kNo;
      if (a.size == 8) bswap(Reg64(host(a.reg, 8).getIdx()));
      else bswap(Reg32(host(a.reg, 4).getIdx()));
      return Done::kYes;
    case Op::k_xchg:
      if (is_gpr(a) && is_gpr(b) && a.reg != b.reg) {
        mov(scratch(0, 8), in_register(a.reg, 8, 0));
        const Reg from = in_register(b.reg, a.size, 2);
        write_guest(a.reg, a.size, from);
        if (a.size == 4) mov(eax, eax);
        write_guest(b.reg, a.size, scratch(0, a.size));
        return Done::kYes;
      }
      if (is_mem(a) && is_gpr(b) && has_address(d)) {
        effective_address(d, true);
        probe(true, a.size);
        mov(scratch(1, a.size), at(rax, a.size));
        mov(at(rax, a.size), in_register(b.reg, a.size, 2));
        write_guest(b.reg, a.size, scratch(1, a.size));
        return Done::kYes;
      }
      return Done::kNo;
    default: return Done::kNo;
  }
}

// rax: `below` under the stack pointer.
void Emitter::stack_address(int below) {
  const Reg64 from(host(kRsp, 8).getIdx());
  if (below == 0) mov(scratch(0, width()), host(kRsp, width()));
  else if (block_->work.mode32) lea(eax, ptr[from - below]);
  else lea(rax, ptr[from - below]);
}

Emitter::Done Emitter::stack(const Decoded& d) {
  const Operand& a = d.operands[0];
  const unsigned w = width();
  if (d.op_size != w) return Done::kNo;
  switch (d.op) {
    case Op::k_push:
      if (is_mem(a) && has_address(d)) {
        effective_address(d, true);
        probe(false, w);
        mov(scratch(0, w), at(rax, w));
        mov(slot(kSlotTemp, 8), rax);
        stack_address(static_cast<int>(w));
        probe(true, w);
        mov(rdx, slot(kSlotTemp, 8));
        mov(at(rax, w), scratch(2, w));
        add_rsp(-static_cast<int>(w));
        return Done::kYes;
      }
      if (!is_gpr(a) && !(is_imm(a) && (w == 4 || fits32(d.imm)))) return Done::kNo;
      stack_address(static_cast<int>(w));
      probe(true, w);
      if (is_gpr(a)) mov(at(rax, w), in_register(a.reg, w, 2));
      else mov(at(rax, w), w == 4 ? static_cast<uint32_t>(d.imm) : d.imm);
      add_rsp(-static_cast<int>(w));
      return Done::kYes;
    case Op::k_pop:
      if (!is_gpr(a)) return Done::kNo;
      stack_address(0);
      probe(false, w);
      mov(scratch(2, w), at(rax, w));
      add_rsp(static_cast<int>(w));
      write_guest(a.reg, w, scratch(2, w));
      return Done::kYes;
    case Op::k_leave:
      mov(scratch(0, w), host(kRbp, w));
      probe(false, w);
      mov(host(kRsp, w), host(kRbp, w));
      add_rsp(static_cast<int>(w));
      mov(host(kRbp, w), at(rax, w));
      return Done::kYes;
    default: return Done::kNo;
  }
}

unsigned Emitter::stack_run(unsigned k) {
  const auto& insns = block_->work.decoded;
  const Op op = insns[k].op;
  const unsigned w = width();
  if (op != Op::k_push && op != Op::k_pop) return 0;
  unsigned n = 0;
  while (k + n < insns.size() && n < 8) {
    const Decoded& d = insns[k + n];
    if (d.op != op || d.op_size != w || !is_gpr(d.operands[0]) || d.operands[0].reg == kRsp) break;
    ++n;
  }
  if (n < 2) return 0;
  block_->insn = {.number = k};
  const bool push = op == Op::k_push;
  const int bytes = static_cast<int>(w * n);
  stack_address(push ? bytes : 0);
  probe(push, w * n);
  for (unsigned j = 0; j < n; ++j) {
    const unsigned reg = insns[k + j].operands[0].reg;
    const Xbyak::Address where(8 * w, false, rax + static_cast<int>(w * (push ? n - 1 - j : j)));
    if (push) {
      mov(where, in_register(reg, w, 2));
    } else if (pinned(reg)) {
      mov(host(reg, w), where);
    } else {
      mov(scratch(2, w), where);
      write_guest(reg, w, scratch(2, w));
    }
  }
  add_rsp(push ? -bytes : bytes);
  block_->insn.slow_stub->repeat = n;
  block_->insn.slow_stub->returns = true;
  L(block_->insn.slow_stub->back);
  return n;
}

// To RIP in rax, by the jump cache.
void Emitter::jump_indirect(int undo_rsp) {
  Stub& s = new_stub(Stub::kMiss, block_->work.code * kSiteInsns + block_->insn.number, 0);
  s.undo_rsp = undo_rsp;
  look_up_jump(s.from);
}

void Emitter::look_up_jump(Xbyak::Label& miss) {
  static_assert(sizeof(JumpEntry) == 32);
  mov(rcx, rax);
  shr(rcx, 12);
  xor_(ecx, eax);
  and_(ecx, kJumpEntries - 1);
  shl(ecx, 5);
  add(rcx, cpu(offsetof(Cpu, jumps)));
  cmp(rax, ptr[rcx + static_cast<int>(offsetof(JumpEntry, rip))]);
  jne(miss, T_NEAR);
  mov(rdx, ptr[rcx + static_cast<int>(offsetof(JumpEntry, page_serial))]);
  mov(rdx, ptr[rdx]);
  cmp(rdx, ptr[rcx + static_cast<int>(offsetof(JumpEntry, serial))]);
  jne(miss, T_NEAR);
  jmp(ptr[rcx + static_cast<int>(offsetof(JumpEntry, code))]);
}

// A direct jump to another page holds while that page's fetch TLB entry is what it was when the jump was linked.
void Emitter::go_across(uint64_t target) {
  Stub& s = new_stub(Stub::kAcross, static_cast<uint32_t>(block_->links.size()), target);
  const size_t index = (target >> 12) & (kFetchTlbEntries - 1);
  mov(rdx, cpu(offsetof(Cpu, fetches)));
  db(0x48);
  db(0xb8);
  dq(~uint64_t{0});  // mov rax, of 64 bits for whatever is patched in
  const auto serial = static_cast<uint32_t>(getSize() - 8);
  cmp(ptr[rdx + static_cast<int>(index * sizeof(FastFetch) + offsetof(FastFetch, serial))], rax);
  jne(s.from, T_NEAR);
  jmp(s.from, T_NEAR);
  block_->links.push_back({static_cast<uint32_t>(getSize() - 4), 0, serial, 0});
}

Emitter::Done Emitter::branch(const Decoded& d, uint64_t target) {
  const unsigned cc = condition(d.cc, false);
  const bool links = ((target ^ block_->work.rip) & ~uint64_t{0xfff}) == 0;
  Stub& s = new_stub(links ? Stub::kLink : Stub::kGo, 0, target);
  s.give_back = static_cast<int>(block_->work.decoded.size() - (block_->insn.number + 1));
  s.unsaved = block_->unsaved;
  jump_if(cc, s.from);
  if (links) {
    s.value = static_cast<uint32_t>(block_->links.size());
    // Where nothing is to be given back, the branch itself is what gets patched.
    block_->links.push_back({s.give_back == 0 ? static_cast<uint32_t>(getSize() - 4) : 0, 0, 0, 0});
  }
  return Done::kYes;
}

Emitter::Done Emitter::near_return(const Decoded& d) {
  const unsigned w = width();
  if (d.operand_count != 0) return Done::kNo;
  stack_address(0);
  probe(false, w);
  mov(scratch(0, w), at(rax, w));
  add_rsp(static_cast<int>(w));
  jump_indirect(static_cast<int>(w));
  return Done::kEnds;
}

// RAX: where an indirect branch goes. That of a call is checked and put aside: if it faults, nothing may have been
// written.
void Emitter::indirect_target(const Decoded& d, bool is_call) {
  const unsigned w = width();
  const Operand& a = d.operands[0];
  if (is_mem(a)) {
    effective_address(d, true);
    probe(false, w);
    mov(scratch(0, w), at(rax, w));
  } else {
    mov(scratch(0, w), in_register(a.reg, w, 0));
  }
  if (!is_call) return;
  mov(rdx, rax);
  shl(rdx, 16);
  sar(rdx, 16);
  cmp(rdx, rax);
  jne(slow_stub().from, T_NEAR);
  mov(slot(kSlotTemp, 8), rax);
}

void Emitter::push_return_address(uint64_t next) {
  const unsigned w = width();
  stack_address(static_cast<int>(w));
  probe(true, w);
  if (w == 4) {
    mov(dword[rax], static_cast<uint32_t>(next));
  } else if (fits32(next)) {
    mov(qword[rax], next);
  } else {
    mov(rdx, next);
    mov(qword[rax], rdx);
  }
  add_rsp(-static_cast<int>(w));
}

Emitter::Done Emitter::control(const Decoded& d) {
  const unsigned w = width();
  const uint64_t next = in_code(block_->work.rip + block_->work.insns[block_->insn.number].off + d.len);
  const uint64_t target = in_code(next + d.imm);
  const Operand& a = d.operands[0];
  if (d.op_size != w) return Done::kNo;
  if (d.op == Op::k_jcc) return branch(d, target);
  if (d.op == Op::k_ret) return near_return(d);
  const bool direct = a.kind == OperandKind::kRel, is_call = d.op == Op::k_call;
  if (!direct) {
    if (a.size != w || !(is_gpr(a) || (is_mem(a) && has_address(d)))) return Done::kNo;
    indirect_target(d, is_call);
  }
  if (is_call) push_return_address(next);
  if (direct) {
    go_direct(target);
    return Done::kEnds;
  }
  if (is_call) mov(rax, slot(kSlotTemp, 8));
  jump_indirect(0);
  return Done::kEnds;
}

}  // namespace dejavm::soft
