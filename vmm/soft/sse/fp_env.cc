#include "vmm/soft/sse/fp_env.h"

namespace dejavm::soft::sse {
namespace {

// Operands of lane i of x, alone: other lanes hold the filler.
__m128i only_lane(__m128i x, unsigned i, bool wide, uint64_t filler) {
  if (wide) {
    Lanes<uint64_t> v(x);
    v[i ^ 1] = filler;
    return static_cast<__m128i>(v);
  }
  Lanes<uint32_t> v(x);
  for (unsigned k = 0; k < 4; ++k)
    if (k != i) v[k] = static_cast<uint32_t>(filler);
  return static_cast<__m128i>(v);
}

// One lane on the x87 unit: the precision control rounds to the lane's precision, while the exponent has 15 bits, as
// good as unbounded here. The status word tells whether that rounding was inexact.
#define DEJAVM_X87(load, insn, operand)                                       \
  asm volatile("fnstcw %[old]\n fldcw %[cw]\n fnclex\n " load " %[a]\n " insn \
               " %[b]\n fnstsw %[sw]\n"                                       \
               "fstp %%st(0)\n fnclex\n fldcw %[old]"                         \
               : [old] "=m"(old), [sw] "=m"(status)                           \
               : [cw] "m"(control), [a] "m"(a), [b] "m"(operand)              \
               : "st", "memory")

bool inexact_single(Lane kind, uint16_t control, uint32_t a, uint32_t b) {
  uint16_t old, status = 0;
  switch (kind) {
    case Lane::kAdd: DEJAVM_X87("flds", "fadds", b); break;
    case Lane::kSub: DEJAVM_X87("flds", "fsubs", b); break;
    case Lane::kMul: DEJAVM_X87("flds", "fmuls", b); break;
    case Lane::kDiv: DEJAVM_X87("flds", "fdivs", b); break;
    case Lane::kNarrow: CHECK(false);
  }
  return status & kPE;
}

bool inexact_double(Lane kind, uint16_t control, uint64_t a, uint64_t b) {
  uint16_t old, status = 0;
  const uint32_t one = 0x3f800000;
  switch (kind) {
    case Lane::kAdd: DEJAVM_X87("fldl", "faddl", b); break;
    case Lane::kSub: DEJAVM_X87("fldl", "fsubl", b); break;
    case Lane::kMul: DEJAVM_X87("fldl", "fmull", b); break;
    case Lane::kDiv: DEJAVM_X87("fldl", "fdivl", b); break;
    case Lane::kNarrow:
      a = b;
      DEJAVM_X87("fldl", "fmuls", one);
      break;
  }
  return status & kPE;
}
#undef DEJAVM_X87

// Whether lane i, rounded to its precision with an unbounded exponent, is inexact. Its result overflows or is tiny.
bool inexact_unbounded(const Arithmetic& op, Lane kind, uint32_t mxcsr, __m128i a, __m128i b, unsigned i) {
  const bool wide_result = op.wide && kind != Lane::kNarrow;
  const uint32_t precision = wide_result ? 0x200 : 0;
  const uint32_t rounding = (mxcsr & kRoundMask) >> kRoundShift << 10;
  const uint16_t control = static_cast<uint16_t>(0x7f | precision | rounding);
  if (op.wide) return inexact_double(kind, control, Lanes<uint64_t>(a)[i], Lanes<uint64_t>(b)[i]);
  return inexact_single(kind, control, Lanes<uint32_t>(a)[i], Lanes<uint32_t>(b)[i]);
}

// Overflow, underflow and precision of lane i when overflow or underflow is unmasked (SDM vol. 1, 4.9.1.4-4.9.1.6 and
// 11.5.2): an unmasked overflow or tiny result reports precision for the unbounded exponent, and a tiny result
// underflows even when it is exact.
uint32_t lane_post_flags(const Cpu& c, const Arithmetic& op, __m128i a, __m128i b, unsigned i) {
  const uint32_t controls = c.s.fpu.mxcsr;
  const Lane kind = i & 1 ? op.odd : op.even;
  // 0 + 1, 0 - 1, 0 * 1 and 0 / 1 raise nothing; nor does 1.0 to single.
  const uint64_t one = op.wide ? 0x3ff0000000000000 : 0x3f800000;
  const __m128i la = only_lane(a, i, op.wide, 0), lb = only_lane(b, i, op.wide, one);
  __m128i r;
  auto run = [&] {
    r = la;
    op.run(r, lb);
  };
  const uint32_t masked = run_masked(controls, run) & kPostComputation;
  const uint32_t unmasked = unmasked_flags(c);
  uint32_t decided = 0;
  if (masked & unmasked & kOE) decided = kOE;
  // With FTZ every tiny result sets UE, exact or not.
  else if ((unmasked & kUE) && (run_masked(controls | kFTZ, run) & kUE)) decided = kUE;
  if (!decided) return masked;
  return decided | (inexact_unbounded(op, kind, controls, la, lb, i) ? kPE : 0u);
}

}  // namespace

void raise(Cpu& c, uint32_t flags) {
  const uint32_t unmasked = unmasked_flags(c);
  if (flags & unmasked & kPreComputation) flags &= kPreComputation;
  c.s.fpu.mxcsr |= flags;
  if (flags & unmasked) Cpu::fault(c.s.cr4 & kCr4OSXMMEXCPT ? kXM : kUD);
}

__m128i arithmetic_slow(Cpu& c, const Arithmetic& op, __m128i a, __m128i b) {
  __m128i r;
  auto run = [&] {
    r = a;
    op.run(r, b);
  };
  uint32_t flags = run_masked(c.s.fpu.mxcsr, run);
  // FTZ acts only while underflow is masked (SDM vol. 1, 10.2.3.3). Otherwise a tiny lane faults, whatever its
  // value here.
  if (unmasked_flags(c) & (kOE | kUE)) {
    flags &= kPreComputation;
    for (unsigned i = 0; i < op.lanes; ++i) flags |= lane_post_flags(c, op, a, b, i);
  }
  raise(c, flags);
  return r;
}

}  // namespace dejavm::soft::sse
