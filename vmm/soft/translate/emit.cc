#include "vmm/soft/translate/emit.h"

#include <cstddef>

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {
namespace {

using Xbyak::Reg64;

constexpr int kBias = 128;

// The guest's registers in the host's, by the guest's numbers.
constexpr unsigned kNone = 0xff;
constexpr unsigned kPinned[16] = {/*rax*/ 3, /*rcx*/ 9, /*rdx*/ 10, /*rbx*/ 11, /*rsp*/ 14, /*rbp*/ 15, /*rsi*/ 6, /*rdi*/ 7,
                                  /*r8*/ 8, kNone, kNone, kNone, /*r12*/ 12, /*r13*/ 13, kNone, kNone};

}  // namespace

Xbyak::Address Emitter::cpu(size_t offset) const { return ptr[rbp + (static_cast<int>(offset) - kBias)]; }

void Emitter::spill() {
  for (unsigned g = 0; g < 16; ++g)
    if (kPinned[g] != kNone) mov(cpu(offsetof(Cpu, r) + 8 * g), Reg64(static_cast<int>(kPinned[g])));
}
void Emitter::reload() {
  for (unsigned g = 0; g < 16; ++g)
    if (kPinned[g] != kNone) mov(Reg64(static_cast<int>(kPinned[g])), cpu(offsetof(Cpu, r) + 8 * g));
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
  test(eax, eax);
  jnz(leaves);
  reload();
  ret();
  L(leaves);
  add(rsp, 8);
  jmp(exit_, T_NEAR);
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
  mov(eax, work_->code * kSiteInsns + k);
  call(slow_);
}

void Emitter::leave_to(uint64_t rip) {
  mov(rax, rip);
  jmp(leave_, T_NEAR);
}

void Emitter::go_direct(uint64_t rip) {
  const bool links = ((rip ^ work_->rip) & ~uint64_t{0xfff}) == 0;
  if (!links) {
    mov(rax, rip);
    mov(ecx, kNoLink);
    jmp(go_, T_NEAR);
    return;
  }
  Stub& s = stubs_.emplace_back();
  s.kind = Stub::kLink;
  s.rip = rip;
  s.value = static_cast<uint32_t>(links_->size());
  jmp(s.from, T_NEAR);
  links_->push_back({static_cast<uint32_t>(getSize() - 4), 0});
}

bool Emitter::insn(unsigned k) {
  by_helper(k);
  return true;
}

uint32_t Emitter::block(const Work& w, std::vector<LinkSite>& links, uint32_t& dead) {
  work_ = &w;
  links_ = &links;
  stubs_.clear();
  stubs_.reserve(128);
  align(16);
  const auto entry = static_cast<uint32_t>(getSize());
  const auto n = static_cast<unsigned>(w.decoded.size());
  Stub& full = stubs_.emplace_back();
  full.kind = Stub::kFull;
  sub(qword[rbp + (static_cast<int>(offsetof(Cpu, left)) - kBias)], static_cast<int>(n));
  jl(full.from, T_NEAR);
  bool goes_on = true;
  for (unsigned k = 0; k < n && goes_on; ++k) goes_on = insn(k);
  if (goes_on) go_direct(w.rip + w.insns[n].off);
  // Out of line.
  for (Stub& s : stubs_) {
    L(s.from);
    switch (s.kind) {
      case Stub::kSlow:
        mov(eax, s.value);
        call(slow_);
        jmp(s.back, T_NEAR);
        break;
      case Stub::kLink:
        links[s.value].stub = static_cast<uint32_t>(getSize());
        mov(rax, s.rip);
        mov(ecx, s.value);
        jmp(go_, T_NEAR);
        break;
      case Stub::kFull:
        add(qword[rbp + (static_cast<int>(offsetof(Cpu, left)) - kBias)], static_cast<int>(n));
        leave_to(w.rip);
        break;
    }
  }
  dead = static_cast<uint32_t>(getSize());
  mov(rax, w.rip);
  mov(ecx, kNoLink);
  jmp(go_, T_NEAR);
  return entry;
}

}  // namespace dejavm::soft
