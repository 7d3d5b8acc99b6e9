// Any user-mode instruction on the host's own processor, with all sixteen registers, flags, x87 and SSE state and a
// window of memory, each at the address that the guest has it at.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "tests/vmm/soft/sse/native.h"

namespace dejavm::soft {

// Two pages that instructions may read and write, at an address that nothing else of the process is near.
inline constexpr uint64_t kWindow = 0x10000000, kWindowSize = 0x2000;
// Where the instruction is.
inline constexpr uint64_t kInsnAddress = 0x36540100;

struct UserState {
  FxImage fx;
  std::array<uint64_t, 16> gpr;
  uint64_t rflags, rip;
};

// Executes the bytes once; 0, or the signal (SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS) that they raised; then `state`
// is as the processor left it at the faulting instruction. The window's content is the process's own memory at kWindow.
int run_on_host(std::span<const uint8_t> insn, UserState& state);
// The same with the upper halves of the YMM registers; the host must have AVX.
using YmmHigh = std::array<std::array<uint64_t, 2>, 16>;
int run_on_host(std::span<const uint8_t> insn, UserState& state, YmmHigh& high);

// Whether the process has memory of its own there, wherever it was loaded this time.
bool is_mapped_on_host(uint64_t address);

}  // namespace dejavm::soft
