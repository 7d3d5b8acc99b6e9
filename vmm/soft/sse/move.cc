// MOV* of MMX and SSE: SDM vol. 2. Non-temporal forms are plain stores: the engine has no caches.
#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using namespace sse;

using Vec = __m128i;

void load_or_store_aligned(Cpu& c, const Decoded& d) {
  check_sse(c);
  if (is_mem(d, 0)) store_aligned(c, d, get_xmm(c, d.operands[1].reg));
  else set_xmm(c, d.operands[0].reg, source(c, d, 1));
}

void load_or_store_unaligned(Cpu& c, const Decoded& d) {
  check_sse(c);
  if (is_mem(d, 0)) store_mem(c, d, get_xmm(c, d.operands[1].reg));
  else set_xmm(c, d.operands[0].reg, source_low<16>(c, d, 1));
}

// movss, movsd: a load clears the rest of the register, a register move keeps it.
template <class T>
void move_scalar(Cpu& c, const Decoded& d) {
  check_sse(c);
  if (is_mem(d, 0)) {
    store_mem(c, d, static_cast<T>(low_half(get_xmm(c, d.operands[1].reg))));
  } else if (is_mem(d, 1)) {
    set_xmm(c, d.operands[0].reg, load_low<sizeof(T)>(c, d));
  } else {
    std::memcpy(c.s.fpu.xmm[d.operands[0].reg].q.data(), c.s.fpu.xmm[d.operands[1].reg].q.data(), sizeof(T));
  }
}

// movlps, movhps and the like: 8 bytes between memory and one half of a register.
void move_half(Cpu& c, const Decoded& d, unsigned half) {
  check_sse(c);
  if (is_mem(d, 0)) store_mem(c, d, c.s.fpu.xmm[d.operands[1].reg].q[half]);
  else c.s.fpu.xmm[d.operands[0].reg].q[half] = low_half(load_low<8>(c, d));
}

// movd, movq: the low 4 or 8 bytes of a vector register from or to anything else.
void move_low(Cpu& c, const Decoded& d, unsigned size) {
  const Operand& to = d.operands[0];
  const Operand& from = d.operands[1];
  const bool mmx = is_mmx(d, 0) || is_mmx(d, 1);
  if (mmx) check_mmx(c);
  else check_sse(c);
  uint64_t v = 0;
  switch (from.kind) {
    case OperandKind::kMem: v = c.load_sized(d.seg, c.effective_address(d), size); break;
    case OperandKind::kGpr: v = c.reg(from.reg, size); break;
    case OperandKind::kMmx: v = mmx_read(c, from.reg); break;
    default: v = c.s.fpu.xmm[from.reg].q[0]; break;
  }
  switch (to.kind) {
    case OperandKind::kMem: c.store_sized(d.seg, c.effective_address(d), size, v); break;
    case OperandKind::kGpr: c.set_reg(to.reg, size, v); break;
    case OperandKind::kMmx: mmx_write(c, to.reg, v); break;
    default: set_xmm(c, to.reg, low_half(v)); break;
  }
  if (mmx) enter_mmx(c);
}

// Bytes of v whose mask byte has its top bit set go to DS:rDI; the others are not accessed in any way, so an all-zero
// mask cannot fault (SDM leaves that to the implementation). Runs of selected bytes are stored upwards.
void store_masked(Cpu& c, const Decoded& d, Vec v, unsigned mask) {
  const uint64_t start = c.reg(kRdi, d.addr_size);
  const uint64_t wrap = d.addr_size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * d.addr_size)) - 1;
  const Lanes<uint8_t> bytes(v);
  struct Run {
    uint64_t linear;
    unsigned first, len;
  };
  Run runs[16];
  unsigned count = 0;
  for (unsigned i = 0; i < 16;) {
    if (!(mask >> i & 1)) {
      ++i;
      continue;
    }
    const uint64_t offset = (start + i) & wrap;
    unsigned len = 1;
    while (mask >> (i + len) & 1 && offset + len <= wrap && offset + len != 0) ++len;
    runs[count++] = {c.linear(d.seg, offset, len, Access::kWrite), i, len};
    i += len;
  }
  for (unsigned k = 0; k < count && count > 1; ++k) c.probe_write(runs[k].linear, runs[k].len);
  for (unsigned k = 0; k < count; ++k) c.write_linear(runs[k].linear, &bytes.v[runs[k].first], runs[k].len);
}

}  // namespace

void exec_movaps(Cpu& c, const Decoded& d) { load_or_store_aligned(c, d); }
void exec_movapd(Cpu& c, const Decoded& d) { load_or_store_aligned(c, d); }
void exec_movdqa(Cpu& c, const Decoded& d) { load_or_store_aligned(c, d); }
void exec_movntps(Cpu& c, const Decoded& d) { load_or_store_aligned(c, d); }
void exec_movntpd(Cpu& c, const Decoded& d) { load_or_store_aligned(c, d); }
void exec_movntdq(Cpu& c, const Decoded& d) { load_or_store_aligned(c, d); }
void exec_movntdqa(Cpu& c, const Decoded& d) { load_or_store_aligned(c, d); }

void exec_movups(Cpu& c, const Decoded& d) { load_or_store_unaligned(c, d); }
void exec_movupd(Cpu& c, const Decoded& d) { load_or_store_unaligned(c, d); }
void exec_movdqu(Cpu& c, const Decoded& d) { load_or_store_unaligned(c, d); }
void exec_lddqu(Cpu& c, const Decoded& d) { load_or_store_unaligned(c, d); }

void exec_movss(Cpu& c, const Decoded& d) { move_scalar<uint32_t>(c, d); }
void exec_movsd_x(Cpu& c, const Decoded& d) { move_scalar<uint64_t>(c, d); }

void exec_movlps(Cpu& c, const Decoded& d) { move_half(c, d, 0); }
void exec_movlpd(Cpu& c, const Decoded& d) { move_half(c, d, 0); }
void exec_movhps(Cpu& c, const Decoded& d) { move_half(c, d, 1); }
void exec_movhpd(Cpu& c, const Decoded& d) { move_half(c, d, 1); }

void exec_movhlps(Cpu& c, const Decoded& d) {
  check_sse(c);
  c.s.fpu.xmm[d.operands[0].reg].q[0] = c.s.fpu.xmm[d.operands[1].reg].q[1];
}
void exec_movlhps(Cpu& c, const Decoded& d) {
  check_sse(c);
  c.s.fpu.xmm[d.operands[0].reg].q[1] = c.s.fpu.xmm[d.operands[1].reg].q[0];
}

void exec_movsldup(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [](Vec, Vec b) { return _mm_shuffle_epi32(b, 0xa0); });
}
void exec_movshdup(Cpu& c, const Decoded& d) {
  xmm_op(c, d, [](Vec, Vec b) { return _mm_shuffle_epi32(b, 0xf5); });
}
void exec_movddup(Cpu& c, const Decoded& d) {
  xmm_op<8>(c, d, [](Vec, Vec b) { return _mm_unpacklo_epi64(b, b); });
}

void exec_movd(Cpu& c, const Decoded& d) { move_low(c, d, rex_w(d) ? 8 : 4); }
void exec_movq(Cpu& c, const Decoded& d) { move_low(c, d, 8); }
void exec_movntq(Cpu& c, const Decoded& d) { move_low(c, d, 8); }

void exec_movq2dq(Cpu& c, const Decoded& d) {
  check_sse(c);
  check_mmx(c);
  set_xmm(c, d.operands[0].reg, low_half(mmx_read(c, d.operands[1].reg)));
  enter_mmx(c);
}
void exec_movdq2q(Cpu& c, const Decoded& d) {
  check_sse(c);
  check_mmx(c);
  mmx_write(c, d.operands[0].reg, c.s.fpu.xmm[d.operands[1].reg].q[0]);
}

void exec_maskmovq(Cpu& c, const Decoded& d) {
  check_mmx(c);
  const unsigned mask = static_cast<unsigned>(_mm_movemask_epi8(low_half(mmx_read(c, d.operands[1].reg))));
  store_masked(c, d, low_half(mmx_read(c, d.operands[0].reg)), mask);
  enter_mmx(c);
}
void exec_maskmovdqu(Cpu& c, const Decoded& d) {
  check_sse(c);
  const unsigned mask = static_cast<unsigned>(_mm_movemask_epi8(get_xmm(c, d.operands[1].reg)));
  store_masked(c, d, get_xmm(c, d.operands[0].reg), mask);
}

void exec_movmskps(Cpu& c, const Decoded& d) {
  check_sse(c);
  const Lanes<uint32_t> v(get_xmm(c, d.operands[1].reg));
  c.set_reg(d.operands[0].reg, 8, v[0] >> 31 | v[1] >> 31 << 1 | v[2] >> 31 << 2 | v[3] >> 31 << 3);
}
void exec_movmskpd(Cpu& c, const Decoded& d) {
  check_sse(c);
  const auto& q = c.s.fpu.xmm[d.operands[1].reg].q;
  c.set_reg(d.operands[0].reg, 8, q[0] >> 63 | q[1] >> 63 << 1);
}
void exec_pmovmskb(Cpu& c, const Decoded& d) {
  check(c, d, 1);
  const unsigned n = d.operands[1].reg;
  const Vec v = is_mmx(d, 1) ? low_half(mmx_read(c, n)) : get_xmm(c, n);
  c.set_reg(d.operands[0].reg, 8, static_cast<unsigned>(_mm_movemask_epi8(v)));
  if (is_mmx(d, 1)) enter_mmx(c);
}

}  // namespace dejavm::soft
