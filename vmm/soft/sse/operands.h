// Operands of the MMX and SSE operations. One operation serves the MMX and the XMM form; an MMX operand is the low
// half of a 128-bit value here. Memory widths and alignment are the operation's (SDM vol. 2, each entry), never the
// decoder's: 16-byte operands of legacy SSE must be aligned (SDM vol. 1, 10.4.1.1 and table 14-19), or #GP(0).
#pragma once

#include <smmintrin.h>

#include "vmm/soft/cpu.h"
#include "vmm/soft/x87/mmx_state.h"

namespace dejavm::soft::sse {

inline __m128i get_xmm(const Cpu& c, unsigned n) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(&c.s.fpu.xmm[n]));
}
inline void set_xmm(Cpu& c, unsigned n, __m128i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(&c.s.fpu.xmm[n]), v); }
inline __m128i low_half(uint64_t v) { return _mm_cvtsi64_si128(static_cast<long long>(v)); }
inline uint64_t low_half(__m128i v) { return static_cast<uint64_t>(_mm_cvtsi128_si64(v)); }

inline bool is_mmx(const Decoded& d, unsigned k) { return d.operands[k].kind == OperandKind::kMmx; }
inline bool is_mem(const Decoded& d, unsigned k) { return d.operands[k].kind == OperandKind::kMem; }
inline bool is_imm(const Decoded& d, unsigned k) { return d.operands[k].kind == OperandKind::kImm; }
inline uint8_t imm8(const Decoded& d) { return static_cast<uint8_t>(d.imm); }
inline bool rex_w(const Decoded& d) { return d.rex & 8; }

// #UD, #NM and, for MMX, #MF, by the kind of operand k.
inline void check(Cpu& c, const Decoded& d, unsigned k) {
  if (is_mmx(d, k)) check_mmx(c);
  else check_sse(c);
}

inline uint64_t aligned_address(Cpu& c, const Decoded& d, Access access) {
  return c.aligned_linear(d.seg, c.effective_address(d), 16, access);
}
inline __m128i load_aligned(Cpu& c, const Decoded& d) {
  __m128i v;
  c.read_linear(aligned_address(c, d, Access::kRead), &v, 16);
  return v;
}
inline void store_aligned(Cpu& c, const Decoded& d, __m128i v) {
  c.write_linear(aligned_address(c, d, Access::kWrite), &v, 16);
}
// N bytes from memory without alignment rule, zero-extended.
template <unsigned N>
__m128i load_low(Cpu& c, const Decoded& d) {
  __m128i v = _mm_setzero_si128();
  c.read_linear(c.linear(d.seg, c.effective_address(d), N, Access::kRead), &v, N);
  return v;
}
template <class T>
void store_mem(Cpu& c, const Decoded& d, T v) {
  c.store<T>(d.seg, c.effective_address(d), v);
}

// Operand k as a vector: XMM register, or 16 aligned bytes of memory.
inline __m128i source(Cpu& c, const Decoded& d, unsigned k) {
  return is_mem(d, k) ? load_aligned(c, d) : get_xmm(c, d.operands[k].reg);
}
// Operand k: XMM register (whole), or N bytes of memory.
template <unsigned N>
__m128i source_low(Cpu& c, const Decoded& d, unsigned k) {
  return is_mem(d, k) ? load_low<N>(c, d) : get_xmm(c, d.operands[k].reg);
}
// Operand k: MMX register, or N bytes of memory.
template <unsigned N = 8>
__m128i mmx_source(Cpu& c, const Decoded& d, unsigned k) {
  return is_mem(d, k) ? load_low<N>(c, d) : low_half(mmx_read(c, d.operands[k].reg));
}

// The arithmetic flags, of which AF is always cleared.
inline void set_flags(Cpu& c, bool cf, bool pf, bool zf, bool sf, bool of) {
  c.arith = Cpu::arith_of((cf ? uint64_t{kCF} : 0) | (pf ? uint64_t{kPF_} : 0) | (zf ? uint64_t{kZF} : 0) |
                          (sf ? uint64_t{kSF} : 0) | (of ? uint64_t{kOF_} : 0));
}

// What every MMX instruction but EMMS does to the x87 state, writing or not (SDM vol. 1, 9.6.2): TOP = 0, all
// tags valid.
inline void enter_mmx(Cpu& c) {
  c.s.fpu.fsw &= static_cast<uint16_t>(~0x3800);
  c.s.fpu.ftw = 0xff;
}

// op1 = f(op1, op2), by f for XMM and by g, of which the low half counts, for MMX.
template <class F, class G>
void packed(Cpu& c, const Decoded& d, F f, G g) {
  if (is_mmx(d, 0)) {
    check_mmx(c);
    const __m128i b = mmx_source(c, d, 1);
    mmx_write(c, d.operands[0].reg, low_half(g(low_half(mmx_read(c, d.operands[0].reg)), b)));
  } else {
    check_sse(c);
    const __m128i b = source(c, d, 1);
    set_xmm(c, d.operands[0].reg, f(get_xmm(c, d.operands[0].reg), b));
  }
}
// The same where each 64-bit half is computed alike.
template <class F>
void packed(Cpu& c, const Decoded& d, F f) {
  packed(c, d, f, f);
}

// op1 = f(op1, op2) with XMM registers only; the source is N bytes wide in memory (16: aligned).
template <unsigned N = 16, class F>
void xmm_op(Cpu& c, const Decoded& d, F f) {
  check_sse(c);
  __m128i b;
  if constexpr (N == 16) b = source(c, d, 1);
  else b = source_low<N>(c, d, 1);
  set_xmm(c, d.operands[0].reg, f(get_xmm(c, d.operands[0].reg), b));
}

// A vector as an array of lanes, for what is clearer one lane at a time.
template <class T>
struct Lanes {
  T v[16 / sizeof(T)];
  Lanes() = default;
  explicit Lanes(__m128i x) { std::memcpy(v, &x, 16); }
  explicit operator __m128i() const {
    __m128i x;
    std::memcpy(&x, v, 16);
    return x;
  }
  T& operator[](unsigned i) { return v[i]; }
  T operator[](unsigned i) const { return v[i]; }
};

}  // namespace dejavm::soft::sse

// Defines exec_<op> as packed() or xmm_op() of an intrinsic whose result is fully defined.
#define DEJAVM_PACKED(op, intrinsic)                                         \
  void exec_##op(Cpu& c, const Decoded& d) {                                 \
    sse::packed(c, d, [](__m128i a, __m128i b) { return intrinsic(a, b); }); \
  }
#define DEJAVM_XMM(op, intrinsic)                                            \
  void exec_##op(Cpu& c, const Decoded& d) {                                 \
    sse::xmm_op(c, d, [](__m128i a, __m128i b) { return intrinsic(a, b); }); \
  }
