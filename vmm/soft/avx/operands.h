// Operands of AVX: 256-bit registers, of which XMM registers are the lower halves, and memory that need not be aligned.
#pragma once

#include <cstring>

#include "vmm/soft/sse/operands.h"

namespace dejavm::soft::avx {

struct Ymm {
  __m128i half[2] = {};
};

// #UD and #NM of an instruction with a VEX prefix that works on vectors (SDM vol. 2, table 2-14 and below).
inline void check_avx(const Cpu& c) {
  constexpr uint64_t kSseAndAvx = 6;
  if (!c.model->extended || c.real_or_v86() || !(c.s.cr4 & kCr4OSXSAVE) || (c.s.xcr0 & kSseAndAvx) != kSseAndAvx)
    Cpu::fault(kUD);
  if (c.s.cr0 & kCr0TS) Cpu::fault(kNM);
}

inline Ymm get_ymm(const Cpu& c, unsigned n) {
  Ymm v{{sse::get_xmm(c, n)}};
  std::memcpy(&v.half[1], &c.avx.ymm_high[n], 16);
  return v;
}
// What is written as 128 bits clears the upper half.
inline void set_ymm(Cpu& c, unsigned n, const Ymm& v, bool wide) {
  sse::set_xmm(c, n, v.half[0]);
  const __m128i high = wide ? v.half[1] : _mm_setzero_si128();
  std::memcpy(c.avx.ymm_high[n].q.data(), &high, 16);
}

inline Ymm load(Cpu& c, const Decoded& d, unsigned bytes) {
  Ymm v;
  c.read_linear(c.linear(d.seg, c.effective_address(d), bytes, Access::kRead), &v, bytes);
  return v;
}
inline void store(Cpu& c, const Decoded& d, const Ymm& v, unsigned bytes) {
  c.write_linear(c.linear(d.seg, c.effective_address(d), bytes, Access::kWrite), &v, bytes);
}
inline Ymm source(Cpu& c, const Decoded& d, unsigned k) {
  const Operand& o = d.operands[k];
  return o.kind == OperandKind::kMem ? load(c, d, o.size) : get_ymm(c, o.reg);
}

// A vector as elements.
template <class T>
struct Elements {
  T v[32 / sizeof(T)];
  Elements() : v{} {}
  explicit Elements(const Ymm& y) { std::memcpy(v, &y, 32); }
  explicit operator Ymm() const {
    Ymm y;
    std::memcpy(&y, v, 32);
    return y;
  }
  T& operator[](unsigned i) { return v[i]; }
  T operator[](unsigned i) const { return v[i]; }
};
template <class T>
unsigned count_of(const Decoded& d) {
  return static_cast<unsigned>((d.vex_256 ? 32 : 16) / sizeof(T));
}

}  // namespace dejavm::soft::avx
