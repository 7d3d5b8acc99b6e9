// Guest SSE arithmetic on the host's SSE unit, bit by bit and flag by flag: the guest's rounding, DAZ and FTZ,
// the flags that the operation raised, and #XM where one of them is unmasked. Sources: SDM vol. 1, 11.5
// (exceptions), 10.2.3 (MXCSR), appendix E; unmasked cases measured on hardware (docs/fpu.md, "SSE").
//
// Operations are volatile inline assembly, so that operand order (which NaN wins), folding and position between the
// MXCSR accesses are ours. They must be repeatable: read inputs, write outputs, nothing else.
#pragma once

#include "vmm/soft/cpu.h"
#include "vmm/soft/sse/operands.h"

namespace dejavm::soft::sse {

enum Mxcsr : uint32_t {
  kIE = 1,
  kDE = 2,
  kZE = 4,
  kOE = 8,
  kUE = 16,
  kPE = 32,
  kDAZ = 64,
  kMaskShift = 7,
  kAllMasked = 0x1f80,
  kRoundShift = 13,
  kRoundMask = 0x6000,
  kFTZ = 0x8000
};
inline constexpr uint32_t kMxcsrFlags = 0x3f, kPreComputation = kIE | kDE | kZE, kPostComputation = kOE | kUE | kPE;
inline constexpr uint32_t kMxcsrControls = kDAZ | kRoundMask | kFTZ;

inline uint32_t host_mxcsr() {
  uint32_t v;
  asm volatile("stmxcsr %0" : "=m"(v));
  return v;
}
inline void set_host_mxcsr(uint32_t v) { asm volatile("ldmxcsr %0" : : "m"(v)); }

inline uint32_t unmasked_flags(const Cpu& c) { return ~(c.s.fpu.mxcsr >> kMaskShift) & kMxcsrFlags; }
inline bool default_controls(const Cpu& c) { return (c.s.fpu.mxcsr & ~kMxcsrFlags) == kAllMasked; }
// After an operation under default controls: the host's controls were the default too, and whatever flags it has, old
// or new, the guest has already. Then the guest's MXCSR is right as it is.
inline bool nothing_new(const Cpu& c) { return ((host_mxcsr() ^ kAllMasked) & ~(c.s.fpu.mxcsr & kMxcsrFlags)) == 0; }

// Adds flags to the guest's MXCSR. Faults when one is unmasked: #XM, or #UD without CR4.OSXMMEXCPT.
// An unmasked invalid, denormal or divide-by-zero stops the operation before overflow, underflow and precision exist.
void raise(Cpu& c, uint32_t flags);

// Runs `op` with the guest's controls and every exception masked; returns its flags.
template <class Op>
uint32_t run_masked(uint32_t controls, Op& op) {
  const uint32_t host = host_mxcsr();
  set_host_mxcsr((controls & kMxcsrControls) | kAllMasked);
  op();
  const uint32_t flags = host_mxcsr() & kMxcsrFlags;
  set_host_mxcsr(host & ~kMxcsrFlags);
  return flags;
}

// For operations that can neither overflow nor underflow. `ignored`: flags that this instruction does not report.
template <class Op>
void fp_run(Cpu& c, Op op, uint32_t ignored = 0) {
  if (default_controls(c)) {
    op();
    if (nothing_new(c)) return;
  }
  raise(c, run_masked(c.s.fpu.mxcsr, op) & ~ignored);
}

// What a lane of an arithmetic operation computes. kNarrow: the source's double to single.
enum class Lane : uint8_t { kAdd, kSub, kMul, kDiv, kNarrow };
struct Arithmetic {
  void (*run)(__m128i& a, const __m128i& b);  // a = a op b
  Lane even, odd;                             // by lane number
  uint8_t lanes;
  bool wide;  // double operands
};
__m128i arithmetic_slow(Cpu& c, const Arithmetic& op, __m128i a, __m128i b);

// a op b, with all that the guest's MXCSR asks for. Op has static run() and static constexpr Arithmetic kArithmetic.
template <class Op>
__m128i arithmetic(Cpu& c, __m128i a, __m128i b) {
  if (default_controls(c)) {
    __m128i r = a;
    Op::run(r, b);
    if (nothing_new(c)) return r;
  }
  return arithmetic_slow(c, Op::kArithmetic, a, b);
}

}  // namespace dejavm::soft::sse

// struct name: the packed or scalar instruction `insn` as an Arithmetic.
#define DEJAVM_ARITHMETIC(name, insn, even, odd, lanes, wide)                                          \
  struct name {                                                                                        \
    static void run(__m128i& a, const __m128i& b) { asm volatile(insn " %1, %0" : "+x"(a) : "x"(b)); } \
    static constexpr Arithmetic kArithmetic{run, Lane::even, Lane::odd, lanes, wide};                  \
  }
