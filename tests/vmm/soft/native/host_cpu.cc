#include "tests/vmm/soft/native/host_cpu.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <vector>

#include "devices/core/result.h"
#include "tests/vmm/soft/native/host_cpu_parts.h"

namespace dejavm::soft {
namespace {

constexpr uint64_t kState = kPages + 0x1000;  // UserState; see the assembly
constexpr uint64_t kYmm = kPages + 0x1400;    // sixteen registers
constexpr uint64_t kLinks = kPages + 0x1c00;  // host's stack pointer; where the instruction goes on

sigjmp_buf back;
UserState* trapped;
YmmHigh* trapped_high;  // nullptr: not asked for

void on_signal(int signal, siginfo_t*, void* context) {
  const auto& m = static_cast<ucontext_t*>(context)->uc_mcontext;
  static constexpr int kOrder[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  std::memcpy(&trapped->fx, m.fpregs, offsetof(FxImage, reserved1));
  for (unsigned n = 0; n < 16; ++n) trapped->gpr[n] = static_cast<uint64_t>(m.gregs[kOrder[n]]);
  // The extended area's AVX component, if the processor saves one (SDM vol. 1, 13.4.2).
  if (trapped_high != nullptr) {
    const auto* area = reinterpret_cast<const uint8_t*>(m.fpregs);
    uint64_t in_use;
    std::memcpy(&in_use, area + 512, 8);
    if (in_use & 4) std::memcpy(trapped_high, area + 576, sizeof *trapped_high);
    else *trapped_high = {};
  }
  trapped->rip = static_cast<uint64_t>(m.gregs[REG_RIP]);
  trapped->rflags = static_cast<uint64_t>(m.gregs[REG_EFL]);
  siglongjmp(back, signal);
}

static_assert(offsetof(UserState, gpr) == 512 && offsetof(UserState, rflags) == 640);
asm(R"(
  .pushsection .text
  .globl dejavm_host_enter, dejavm_host_leave
dejavm_host_enter:
  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
  mov %rsp, 0x36541c00
  fxrstor64 0x36541000
  cmpb $0, 0x36541c20
  je 1f
  vmovdqu 0x36541400, %ymm0; vmovdqu 0x36541420, %ymm1; vmovdqu 0x36541440, %ymm2; vmovdqu 0x36541460, %ymm3; vmovdqu 0x36541480, %ymm4; vmovdqu 0x365414a0, %ymm5; vmovdqu 0x365414c0, %ymm6; vmovdqu 0x365414e0, %ymm7; vmovdqu 0x36541500, %ymm8; vmovdqu 0x36541520, %ymm9; vmovdqu 0x36541540, %ymm10; vmovdqu 0x36541560, %ymm11; vmovdqu 0x36541580, %ymm12; vmovdqu 0x365415a0, %ymm13; vmovdqu 0x365415c0, %ymm14; vmovdqu 0x365415e0, %ymm15;
1:
  push 0x36541280
  popfq
  mov 0x36541200, %rax; mov 0x36541208, %rcx; mov 0x36541210, %rdx; mov 0x36541218, %rbx
  mov 0x36541228, %rbp; mov 0x36541230, %rsi; mov 0x36541238, %rdi; mov 0x36541240, %r8
  mov 0x36541248, %r9; mov 0x36541250, %r10; mov 0x36541258, %r11; mov 0x36541260, %r12
  mov 0x36541268, %r13; mov 0x36541270, %r14; mov 0x36541278, %r15; mov 0x36541220, %rsp
  jmp *0x36541c10
dejavm_host_leave:
  mov %rax, 0x36541200; mov %rcx, 0x36541208; mov %rdx, 0x36541210; mov %rbx, 0x36541218
  mov %rsp, 0x36541220; mov %rbp, 0x36541228; mov %rsi, 0x36541230; mov %rdi, 0x36541238
  mov %r8, 0x36541240; mov %r9, 0x36541248; mov %r10, 0x36541250; mov %r11, 0x36541258
  mov %r12, 0x36541260; mov %r13, 0x36541268; mov %r14, 0x36541270; mov %r15, 0x36541278
  mov 0x36541c00, %rsp
  pushfq
  pop 0x36541280
  cmpb $0, 0x36541c20
  je 1f
  vmovdqu %ymm0, 0x36541400; vmovdqu %ymm1, 0x36541420; vmovdqu %ymm2, 0x36541440; vmovdqu %ymm3, 0x36541460; vmovdqu %ymm4, 0x36541480; vmovdqu %ymm5, 0x365414a0; vmovdqu %ymm6, 0x365414c0; vmovdqu %ymm7, 0x365414e0; vmovdqu %ymm8, 0x36541500; vmovdqu %ymm9, 0x36541520; vmovdqu %ymm10, 0x36541540; vmovdqu %ymm11, 0x36541560; vmovdqu %ymm12, 0x36541580; vmovdqu %ymm13, 0x365415a0; vmovdqu %ymm14, 0x365415c0; vmovdqu %ymm15, 0x365415e0;
  vzeroupper
1:
  fxsave64 0x36541000
  fninit
  ldmxcsr 0x36541c18
  cld
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
  ret
  .popsection
)");
extern "C" void dejavm_host_enter();
extern "C" void dejavm_host_leave();

void* map(uint64_t at, uint64_t len, int protection) {
  void* p =
      mmap(reinterpret_cast<void*>(at), len, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  CHECK(p == reinterpret_cast<void*>(at));
  return p;
}

void prepare() {
  map(kPages, 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC);
  map(kWindow, kWindowSize, PROT_READ | PROT_WRITE);
  auto* links = reinterpret_cast<uint64_t*>(kLinks);
  links[1] = reinterpret_cast<uint64_t>(dejavm_host_leave);
  links[2] = kInsnAddress;
  links[3] = 0x1f80;
  static uint8_t stack[64 << 10];
  stack_t alternate{stack, 0, sizeof stack};
  CHECK(sigaltstack(&alternate, nullptr) == 0);
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int s : {SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS}) sigaction(s, &action, nullptr);
}

}  // namespace

bool is_mapped_on_host(uint64_t address) {
  constexpr uint64_t kPage = 4096;
  return msync(reinterpret_cast<void*>(address & ~(kPage - 1)), kPage, MS_ASYNC) == 0;
}

int run_on_host(std::span<const uint8_t> insn, UserState& state, YmmHigh& high) {
  UserState dummy{};
  dummy.fx.fcw = 0x37f;
  dummy.fx.mxcsr = 0x1f80;
  static const bool prepared = (run_on_host(std::vector<uint8_t>{0x90}, dummy), true);
  CHECK(prepared);
  auto* live = reinterpret_cast<uint64_t*>(kYmm);
  for (unsigned n = 0; n < 16; ++n) {
    std::memcpy(live + 4 * n, &state.fx.xmm[n], 16);
    std::memcpy(live + 4 * n + 2, &high[n], 16);
  }
  auto* wanted = reinterpret_cast<uint64_t*>(kLinks) + 4;
  *wanted = 1;
  trapped_high = &high;
  const int signal = run_on_host(insn, state);
  *wanted = 0;
  trapped_high = nullptr;
  if (signal != 0) return signal;
  for (unsigned n = 0; n < 16; ++n) std::memcpy(&high[n], live + 4 * n + 2, 16);
  return 0;
}

int run_on_host(std::span<const uint8_t> insn, UserState& state) {
  static constexpr uint8_t kGoOn[] = {0xff, 0x24, 0x25, 0x08, 0x1c, 0x54, 0x36};  // jmp *kLinks[1]
  const int signal = run_prepared(insn, kGoOn, state, dejavm_host_enter);
  if (signal == 0) state.rip = kInsnAddress + insn.size();
  return signal;
}

int run_prepared(std::span<const uint8_t> insn, std::span<const uint8_t> go_on, UserState& state, void (*enter)()) {
  static const bool prepared = (prepare(), true);
  CHECK(prepared);
  auto* code = reinterpret_cast<uint8_t*>(kInsnAddress);
  std::memset(code, 0, 64);  // so that branches find the same in each run
  std::memcpy(code, insn.data(), insn.size());
  std::memcpy(code + insn.size(), go_on.data(), go_on.size());
  auto* live = reinterpret_cast<UserState*>(kState);
  *live = state;
  trapped = &state;
  const int signal = sigsetjmp(back, 0);
  if (signal != 0) {
    // The host's own x87 and SSE control: the guest's were live when the signal came.
    asm volatile("fninit\n\tldmxcsr %0" : : "m"(reinterpret_cast<uint32_t*>(kLinks)[6]));
    return signal;
  }
  enter();
  state = *live;
  return 0;
}

}  // namespace dejavm::soft
