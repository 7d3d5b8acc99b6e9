#include "vmm/soft/translate/emit.h"

#include <cstddef>

#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Reg64;

Xbyak::Address Emitter::cpu(size_t offset, unsigned size) const {
  return Xbyak::Address(8 * size, false, rbp + (static_cast<int>(offset) - kBias));
}

void Emitter::spill() {
  for (unsigned g = 0; g < 16; ++g)
    if (kPinned[g] != kNotPinned) mov(cpu(offsetof(Cpu, r) + 8 * g), Reg64(static_cast<int>(kPinned[g])));
}
void Emitter::reload() {
  for (unsigned g = 0; g < 16; ++g)
    if (kPinned[g] != kNotPinned) mov(Reg64(static_cast<int>(kPinned[g])), cpu(offsetof(Cpu, r) + 8 * g));
}

void Emitter::shared_routines() {
  static constexpr int kSaved[] = {3, 5, 12, 13, 14, 15};
  align(16);
  enter_ = getSize();  // (Cpu*, code)
  for (int r : kSaved) push(Reg64(r));
  sub(rsp, 8);
  lea(rbp, ptr[rdi + kBias]);
  mov(rax, rsi);
  reload();
  jmp(rax);
  // Everything is in Cpu.
  L(exit_);
  add(rsp, 8);
  for (int n = 5; n >= 0; --n) pop(Reg64(kSaved[n]));
  ret();
  // To the run loop, at RIP in rax; the count is exact.
  align(16);
  L(leave_);
  mov(cpu(offsetof(Cpu, rip)), rax);
  spill();
  mov(rax, cpu(offsetof(Cpu, left_end)));
  sub(rax, cpu(offsetof(Cpu, left)));
  mov(cpu(offsetof(Cpu, block_base)), rax);
  jmp(exit_, T_NEAR);
  // Called: the instruction at site eax by its plain function.
  align(16);
  L(slow_);
  spill();
  mov(esi, eax);
  lea(rdi, ptr[rbp - kBias]);
  sub(rsp, 8);
  mov(rax, reinterpret_cast<uint64_t>(helpers_.slow));
  call(rax);
  add(rsp, 8);
  Xbyak::Label leaves;
  cmp(rax, kLeave);
  jae(leaves);
  reload();
  ret();
  L(leaves);
  lea(rsp, ptr[rsp + 8]);
  je(exit_, T_NEAR);
  reload();
  jmp(rax);
  // On to RIP in rax, by link ecx.
  align(16);
  L(go_);
  spill();
  mov(rsi, rax);
  mov(edx, ecx);
  lea(rdi, ptr[rbp - kBias]);
  mov(rax, reinterpret_cast<uint64_t>(helpers_.go));
  call(rax);
  test(rax, rax);
  jz(exit_, T_NEAR);
  reload();
  jmp(rax);
}

void Emitter::by_helper(unsigned k) {
  ++helper_calls_;
  mov(eax, block_->work.code * kSiteInsns + k);
  call(slow_);
}

void Emitter::leave_to(uint64_t target) {
  mov(rax, target);
  jmp(leave_, T_NEAR);
}

void Emitter::go_direct(uint64_t target) {
  const bool links = ((target ^ block_->work.rip) & ~uint64_t{0xfff}) == 0;
  if (!links) return go_across(target);
  Stub& s = new_stub(Stub::kLink, static_cast<uint32_t>(block_->links.size()), target);
  jmp(s.from, T_NEAR);
  block_->links.push_back({static_cast<uint32_t>(getSize() - 4), 0, 0, 0});
}

Xbyak::Address Emitter::left() { return qword[rbp + (static_cast<int>(offsetof(Cpu, left)) - kBias)]; }

void Emitter::go_behind_the_block() {
  go_direct(in_code(block_->work.rip + block_->work.insns[block_->work.decoded.size()].off));
}

// The block's instructions, in line.
void Emitter::body() {
  const auto n = static_cast<unsigned>(block_->work.decoded.size());
  bool goes_on = true;
  for (unsigned k = 0; k < n && goes_on; ++k) {
    if (const unsigned several = stack_run(k); several != 0) {
      k += several - 1;
      continue;
    }
    const Done done = insn(k);
    if (done == Done::kNo) {
      by_helper(k);
      block_->host_flags = false;
    }
    goes_on = done != Done::kEnds;
    if (block_->insn.slow_stub != nullptr && goes_on) {
      block_->insn.slow_stub->flags = block_->host_flags;
      block_->insn.slow_stub->returns = true;
      L(block_->insn.slow_stub->back);
    }
  }
  if (goes_on) go_behind_the_block();
}

void Emitter::stub(Stub& s) {
  L(s.from);
  if (s.unsaved) store_flags(*s.unsaved);
  if (s.give_back != 0) add(left(), s.give_back);
  switch (s.kind) {
    case Stub::kSlow: return slow_stub(s);
    case Stub::kLink: return link_stub(s);
    case Stub::kGo: return go_across(s.target);
    case Stub::kAcross:
      block_->links[s.value].stub = static_cast<uint32_t>(getSize());
      mov(rax, s.target);
      return look_up_jump(new_stub(Stub::kAcrossMiss, s.value, s.target).from);
    case Stub::kAcrossMiss:
      mov(ecx, s.value);
      jmp(go_, T_NEAR);
      return;
    case Stub::kMiss: return miss_stub(s);
    case Stub::kFull: add(left(), static_cast<int>(block_->work.decoded.size())); return leave_to(block_->work.rip);
  }
}

void Emitter::slow_stub(Stub& s) {
  for (unsigned m = 0; m < s.repeat; ++m) {
    mov(eax, s.value + m);
    call(slow_);
  }
  if (s.flags) load_flags();
  if (s.returns) jmp(s.back, T_NEAR);
  else go_behind_the_block();  // of a branch
}

void Emitter::link_stub(const Stub& s) {
  LinkSite& link = block_->links[s.value];
  if (link.jump == 0) {
    // What is patched is a jump behind the addition.
    db(0xe9);
    dd(0);
    link.jump = static_cast<uint32_t>(getSize() - 4);
  }
  link.stub = static_cast<uint32_t>(getSize());
  mov(rax, s.target);
  mov(ecx, s.value);
  jmp(go_, T_NEAR);
}

void Emitter::miss_stub(const Stub& s) {
  Xbyak::Label sound;
  mov(rdx, rax);
  shl(rdx, 16);
  sar(rdx, 16);
  cmp(rdx, rax);
  je(sound);
  if (s.undo_rsp != 0) add_rsp(-s.undo_rsp);
  mov(eax, s.value);
  call(slow_);
  L(sound);
  mov(ecx, kIndirect);
  jmp(go_, T_NEAR);
}

uint32_t Emitter::block(const Work& w, std::vector<LinkSite>& links, uint32_t& dead) {
  BlockContext context{.work = w, .links = links};
  block_ = &context;
  align(16);
  const auto entry = static_cast<uint32_t>(getSize());
  find_wanted_flags();
  sub(left(), static_cast<int>(w.decoded.size()));
  jl(new_stub(Stub::kFull, 0, 0).from, T_NEAR);
  body();
  for (size_t at = 0; at < block_->stubs.size(); ++at)
    stub(block_->stubs[at]);  // out of line; a stub may make more of them
  dead = static_cast<uint32_t>(getSize());
  mov(rax, w.rip);
  mov(ecx, kNoLink);
  jmp(go_, T_NEAR);
  block_ = nullptr;
  return entry;
}

}  // namespace dejavm::soft
