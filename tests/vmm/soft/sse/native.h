// One instruction on the host's own processor: vector, x87/MMX and four general registers, flags and 64 bytes of
// memory go in and come out. Memory ends at an unmapped page, so an access beyond the operand would not go
// unnoticed.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace dejavm::soft {

// FXSAVE's 64-bit image.
struct alignas(16) FxImage {
  uint16_t fcw, fsw;
  uint8_t ftw, reserved0;
  uint16_t fop;
  uint64_t fip, fdp;
  uint32_t mxcsr, mxcsr_mask;
  struct {
    uint64_t mantissa;
    uint16_t exponent;
    uint16_t reserved[3];
  } st[8];
  std::array<uint64_t, 2> xmm[16];
  uint8_t reserved1[96];
};
static_assert(sizeof(FxImage) == 512);

inline constexpr unsigned kWindowBytes = 64;

struct NativeState {
  FxImage fx;
  uint64_t rax, rcx, rdx, rsi, rdi, rflags;  // rsi and rdi: addresses into memory(), offsets handled by the caller
  std::array<uint8_t, kWindowBytes> memory;
};

class Native {
 public:
  Native();
  ~Native();
  Native(const Native&) = delete;
  // Where state.memory lives while the instruction runs; 16-byte aligned, its end is unmapped.
  uint64_t memory_address() const;
  // Executes `insn` once; 0, or the signal that it raised: SIGFPE for #XM, SIGSEGV for #GP and #PF. After a
  // signal only fx of the state is as the processor left it. SIGSEGV is caught when `may_fault`.
  int run(std::span<const uint8_t> insn, NativeState& state, bool may_fault = false);

 private:
  uint8_t* code_ = nullptr;   // one RWX page
  uint8_t* arena_ = nullptr;  // one page, the next one inaccessible
};

}  // namespace dejavm::soft
