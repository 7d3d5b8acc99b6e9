#include "tests/vmm/soft/sse/native.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstring>

#include "devices/core/result.h"

namespace dejavm::soft {
namespace {

sigjmp_buf trap_exit;
FxImage trap_image;

void on_signal(int signal, siginfo_t*, void* context) {
  std::memcpy(&trap_image, static_cast<ucontext_t*>(context)->uc_mcontext.fpregs, sizeof trap_image);
  siglongjmp(trap_exit, signal);
}

}  // namespace

// void dejavm_native_call(NativeState* rdi, const void* code rsi, FxImage* host rdx)
static_assert(offsetof(NativeState, rax) == 512 && offsetof(NativeState, rflags) == 552);
asm(R"(
  .pushsection .text
  .type dejavm_native_call, @function
dejavm_native_call:
  push %rbx
  push %rbp
  push %r12
  mov %rdi, %rbx
  mov %rsi, %rbp
  mov %rdx, %r12
  fxsave64 (%r12)
  fxrstor64 (%rbx)
  mov 512(%rbx), %rax
  mov 520(%rbx), %rcx
  mov 528(%rbx), %rdx
  mov 536(%rbx), %rsi
  mov 544(%rbx), %rdi
  push 552(%rbx)
  popfq
  call *%rbp
  pushfq
  pop 552(%rbx)
  mov %rax, 512(%rbx)
  mov %rcx, 520(%rbx)
  mov %rdx, 528(%rbx)
  mov %rsi, 536(%rbx)
  mov %rdi, 544(%rbx)
  fxsave64 (%rbx)
  fxrstor64 (%r12)
  cld
  pop %r12
  pop %rbp
  pop %rbx
  ret
  .size dejavm_native_call, . - dejavm_native_call
  .popsection
)");
extern "C" void dejavm_native_call(NativeState*, const void* code, FxImage* host);

namespace {

void call(NativeState* state, const void* code) {
  FxImage host;
  dejavm_native_call(state, code, &host);
}

int call_trapping(NativeState* state, const void* code) {
  static struct sigaction action, fpe_before, segv_before;
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGFPE, &action, &fpe_before);
  sigaction(SIGSEGV, &action, &segv_before);
  const int signal = sigsetjmp(trap_exit, 1);
  if (signal == 0) call(state, code);
  sigaction(SIGFPE, &fpe_before, nullptr);
  sigaction(SIGSEGV, &segv_before, nullptr);
  return signal;
}

}  // namespace

Native::Native() {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  code_ = static_cast<uint8_t*>(page);
  void* pages = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  arena_ = static_cast<uint8_t*>(pages);
  CHECK(mprotect(arena_ + 4096, 4096, PROT_NONE) == 0);
}

Native::~Native() {
  munmap(code_, 4096);
  munmap(arena_, 8192);
}

uint64_t Native::memory_address() const { return reinterpret_cast<uint64_t>(arena_) + 4096 - kWindowBytes; }

int Native::run(std::span<const uint8_t> insn, NativeState& state, bool may_fault) {
  std::memcpy(code_, insn.data(), insn.size());
  code_[insn.size()] = 0xc3;
  uint8_t* memory = arena_ + 4096 - kWindowBytes;
  std::memcpy(memory, state.memory.data(), kWindowBytes);
  int signal = 0;
  if (may_fault || (~state.fx.mxcsr & 0x1f80)) signal = call_trapping(&state, code_);
  else call(&state, code_);
  if (signal) std::memcpy(&state.fx, &trap_image, offsetof(FxImage, reserved1));
  std::memcpy(state.memory.data(), memory, kWindowBytes);
  return signal;
}

}  // namespace dejavm::soft
