// What AVX and AVX2 have beyond the SSE operations: broadcasts, permutations, masked moves, variable shifts, gathers.
// Source: SDM vol. 2.
#include <algorithm>

#include "vmm/soft/avx/operands.h"

namespace dejavm::soft {
namespace {

using avx::Elements;
using avx::Ymm;

template <class T>
unsigned count(const Decoded& d) {
  return avx::count_of<T>(d);
}
template <class T>
void put(Cpu& c, const Decoded& d, const Elements<T>& v) {
  avx::set_ymm(c, d.operands[0].reg, Ymm(v), d.vex_256);
}

template <class T>
void broadcast(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Elements<T> from(avx::source(c, d, 1));
  Elements<T> to;
  for (unsigned i = 0; i < count<T>(d); ++i) to[i] = from[0];
  put(c, d, to);
}
void broadcast_half(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Ymm v = avx::load(c, d, 16);
  avx::set_ymm(c, d.operands[0].reg, {{v.half[0], v.half[0]}}, true);
}
void insert_half(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Ymm b = avx::source(c, d, 2);
  Ymm v = avx::get_ymm(c, d.operands[1].reg);
  v.half[d.imm & 1] = b.half[0];
  avx::set_ymm(c, d.operands[0].reg, v, true);
}
void extract_half(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Ymm v{{avx::get_ymm(c, d.operands[1].reg).half[d.imm & 1]}};
  if (d.operands[0].kind == OperandKind::kMem) avx::store(c, d, v, 16);
  else avx::set_ymm(c, d.operands[0].reg, v, false);
}
void permute_halves(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Ymm b = avx::source(c, d, 2), a = avx::get_ymm(c, d.operands[1].reg);
  Ymm v;
  for (unsigned n = 0; n < 2; ++n) {
    const unsigned how = static_cast<unsigned>(d.imm >> (4 * n)) & 15;
    if (!(how & 8)) v.half[n] = (how & 2 ? b : a).half[how & 1];
  }
  avx::set_ymm(c, d.operands[0].reg, v, true);
}
// Within each half, by an immediate or by a vector of controls.
template <class T>
void permute_in_halves(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  constexpr unsigned kPerHalf = 16 / sizeof(T);
  const bool by_imm = d.operands[2].kind == OperandKind::kImm;
  const Ymm last = by_imm ? avx::source(c, d, 1) : avx::source(c, d, 2);
  const Elements<T> from(by_imm ? last : avx::get_ymm(c, d.operands[1].reg)), control(last);
  Elements<T> to;
  for (unsigned i = 0; i < count<T>(d); ++i) {
    unsigned which;
    if (by_imm)
      which =
          sizeof(T) == 4 ? static_cast<unsigned>(d.imm >> (2 * (i & 3))) & 3 : static_cast<unsigned>(d.imm >> i) & 1;
    else which = sizeof(T) == 4 ? static_cast<unsigned>(control[i]) & 3 : static_cast<unsigned>(control[i] >> 1) & 1;
    to[i] = from[i / kPerHalf * kPerHalf + which];
  }
  put(c, d, to);
}
// Across the whole register.
void permute_dwords(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Elements<uint32_t> from(avx::source(c, d, 2)), which(avx::get_ymm(c, d.operands[1].reg));
  Elements<uint32_t> to;
  for (unsigned i = 0; i < 8; ++i) to[i] = from[which[i] & 7];
  put(c, d, to);
}
void permute_qwords(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Elements<uint64_t> from(avx::source(c, d, 1));
  Elements<uint64_t> to;
  for (unsigned i = 0; i < 4; ++i) to[i] = from[static_cast<unsigned>(d.imm >> (2 * i)) & 3];
  put(c, d, to);
}
template <class T, class F>
void by_element(Cpu& c, const Decoded& d, F f) {
  avx::check_avx(c);
  const Elements<T> b(avx::source(c, d, 2)), a(avx::get_ymm(c, d.operands[1].reg));
  Elements<T> to;
  for (unsigned i = 0; i < count<T>(d); ++i) to[i] = f(a[i], b[i]);
  put(c, d, to);
}
template <class T>
void shift_left(Cpu& c, const Decoded& d) {
  by_element<T>(c, d, [](T a, T n) { return n < 8 * sizeof(T) ? static_cast<T>(a << n) : T{0}; });
}
template <class T>
void shift_right(Cpu& c, const Decoded& d) {
  by_element<T>(c, d, [](T a, T n) { return n < 8 * sizeof(T) ? static_cast<T>(a >> n) : T{0}; });
}
// The sign of each control element chooses.
template <class T>
void blend(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Elements<T> b(avx::source(c, d, 2)), a(avx::get_ymm(c, d.operands[1].reg)),
      control(avx::get_ymm(c, d.operands[3].reg));
  Elements<T> to;
  for (unsigned i = 0; i < count<T>(d); ++i) to[i] = control[i] >> (8 * sizeof(T) - 1) ? b[i] : a[i];
  put(c, d, to);
}
template <class T>
void test_signs(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const Elements<T> b(avx::source(c, d, 1)), a(avx::get_ymm(c, d.operands[0].reg));
  bool zf = true, cf = true;
  for (unsigned i = 0; i < count<T>(d); ++i) {
    zf = zf && !((a[i] & b[i]) >> (8 * sizeof(T) - 1));
    cf = cf && !((~a[i] & b[i]) >> (8 * sizeof(T) - 1));
  }
  sse::set_flags(c, cf, false, zf, false, false);
}

// Elements whose control has its sign set are moved; of the others memory is not looked at. One that faults does so
// before anything is written.
template <class T>
void masked_move(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const uint64_t at = c.effective_address(d);
  const Elements<T> control(avx::get_ymm(c, d.operands[1].reg));
  auto chosen = [&](unsigned i) { return control[i] >> (8 * sizeof(T) - 1); };
  const uint64_t wrap = d.addr_size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * d.addr_size)) - 1;
  auto place = [&](unsigned i, Access access) {
    return c.linear(d.seg, (at + i * sizeof(T)) & wrap, sizeof(T), access);
  };
  if (d.operands[0].kind == OperandKind::kMem) {
    const Elements<T> from(avx::get_ymm(c, d.operands[2].reg));
    for (const bool really : {false, true})
      for (unsigned i = 0; i < count<T>(d); ++i) {
        if (!chosen(i)) continue;
        if (really) c.write_linear(place(i, Access::kWrite), &from.v[i], sizeof(T));
        else c.probe_write(place(i, Access::kWrite), sizeof(T));
      }
    return;
  }
  Elements<T> to;
  for (unsigned i = 0; i < count<T>(d); ++i)
    if (chosen(i)) c.read_linear(place(i, Access::kRead), &to.v[i], sizeof(T));
  put(c, d, to);
}

// Element by element, each one's control cleared as it comes: a fault in between finds what is done done, and the
// instruction goes on from there (SDM vol. 2, VGATHER). T: of data; I: of the index.
template <class T, class I>
void gather(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  const unsigned to = d.operands[0].reg, control = d.operands[2].reg;
  if (to == control || to == d.index || control == d.index) Cpu::fault(kUD);
  const unsigned bytes = d.vex_256 ? 32 : 16, n = bytes / static_cast<unsigned>(std::max(sizeof(T), sizeof(I)));
  const bool wide_result = n * sizeof(T) > 16;
  Elements<T> mask(avx::get_ymm(c, control)), values(avx::get_ymm(c, to));
  const Elements<I> index(avx::get_ymm(c, d.index));
  for (unsigned i = 0; i < bytes / sizeof(T); ++i)
    mask[i] = mask[i] >> (8 * sizeof(T) - 1) ? static_cast<T>(~T{0}) : T{0};
  Decoded e = d;  // the address without its index
  e.index = kNoReg;
  const uint64_t base = c.effective_address(e),
                 wrap = d.addr_size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * d.addr_size)) - 1;
  try {
    for (unsigned i = 0; i < n; ++i) {
      if (!mask[i]) continue;
      const uint64_t scaled = static_cast<uint64_t>(static_cast<int64_t>(static_cast<std::make_signed_t<I>>(index[i])))
                              << d.scale;
      T v;
      c.read_linear(c.linear(d.seg, (base + scaled) & wrap, sizeof(T), Access::kRead), &v, sizeof(T));
      values[i] = v;
      mask[i] = 0;
    }
  } catch (const GuestFault&) {
    avx::set_ymm(c, to, Ymm(values), true);  // what lies beyond the elements stays until the end
    avx::set_ymm(c, control, Ymm(mask), d.vex_256);
    throw;
  }
  for (unsigned i = n; i < 32 / sizeof(T); ++i) mask[i] = values[i] = 0;
  avx::set_ymm(c, to, Ymm(values), wide_result);
  avx::set_ymm(c, control, Ymm(mask), wide_result);
}

}  // namespace

void exec_vzeroupper(Cpu& c, const Decoded&) {
  avx::check_avx(c);
  for (unsigned n = 0; n < (c.long64() ? 16u : 8u); ++n) c.avx.ymm_high[n] = {};
}
void exec_vzeroall(Cpu& c, const Decoded& d) {
  exec_vzeroupper(c, d);
  for (unsigned n = 0; n < (c.long64() ? 16u : 8u); ++n) sse::set_xmm(c, n, _mm_setzero_si128());
}
void exec_vbroadcastss(Cpu& c, const Decoded& d) { broadcast<uint32_t>(c, d); }
void exec_vbroadcastsd(Cpu& c, const Decoded& d) { broadcast<uint64_t>(c, d); }
void exec_vbroadcastf128(Cpu& c, const Decoded& d) { broadcast_half(c, d); }
void exec_vbroadcasti128(Cpu& c, const Decoded& d) { broadcast_half(c, d); }
void exec_vpbroadcastb(Cpu& c, const Decoded& d) { broadcast<uint8_t>(c, d); }
void exec_vpbroadcastw(Cpu& c, const Decoded& d) { broadcast<uint16_t>(c, d); }
void exec_vpbroadcastd(Cpu& c, const Decoded& d) { broadcast<uint32_t>(c, d); }
void exec_vpbroadcastq(Cpu& c, const Decoded& d) { broadcast<uint64_t>(c, d); }
void exec_vinsertf128(Cpu& c, const Decoded& d) { insert_half(c, d); }
void exec_vinserti128(Cpu& c, const Decoded& d) { insert_half(c, d); }
void exec_vextractf128(Cpu& c, const Decoded& d) { extract_half(c, d); }
void exec_vextracti128(Cpu& c, const Decoded& d) { extract_half(c, d); }
void exec_vperm2f128(Cpu& c, const Decoded& d) { permute_halves(c, d); }
void exec_vperm2i128(Cpu& c, const Decoded& d) { permute_halves(c, d); }
void exec_vpermilps(Cpu& c, const Decoded& d) { permute_in_halves<uint32_t>(c, d); }
void exec_vpermilpd(Cpu& c, const Decoded& d) { permute_in_halves<uint64_t>(c, d); }
void exec_vpermps(Cpu& c, const Decoded& d) { permute_dwords(c, d); }
void exec_vpermd(Cpu& c, const Decoded& d) { permute_dwords(c, d); }
void exec_vpermpd(Cpu& c, const Decoded& d) { permute_qwords(c, d); }
void exec_vpermq(Cpu& c, const Decoded& d) { permute_qwords(c, d); }
void exec_vpsllvd(Cpu& c, const Decoded& d) { shift_left<uint32_t>(c, d); }
void exec_vpsllvq(Cpu& c, const Decoded& d) { shift_left<uint64_t>(c, d); }
void exec_vpsrlvd(Cpu& c, const Decoded& d) { shift_right<uint32_t>(c, d); }
void exec_vpsrlvq(Cpu& c, const Decoded& d) { shift_right<uint64_t>(c, d); }
void exec_vpsravd(Cpu& c, const Decoded& d) {
  by_element<uint32_t>(
      c, d, [](uint32_t a, uint32_t n) { return static_cast<uint32_t>(static_cast<int32_t>(a) >> std::min(n, 31u)); });
}
void exec_vpblendd(Cpu& c, const Decoded& d) {
  unsigned i = 0;
  by_element<uint32_t>(c, d, [&](uint32_t a, uint32_t b) { return d.imm >> i++ & 1 ? b : a; });
}
void exec_vblendvps(Cpu& c, const Decoded& d) { blend<uint32_t>(c, d); }
void exec_vblendvpd(Cpu& c, const Decoded& d) { blend<uint64_t>(c, d); }
void exec_vpblendvb(Cpu& c, const Decoded& d) { blend<uint8_t>(c, d); }
void exec_vtestps(Cpu& c, const Decoded& d) { test_signs<uint32_t>(c, d); }
void exec_vtestpd(Cpu& c, const Decoded& d) { test_signs<uint64_t>(c, d); }
void exec_vmaskmovps(Cpu& c, const Decoded& d) { masked_move<uint32_t>(c, d); }
void exec_vmaskmovpd(Cpu& c, const Decoded& d) { masked_move<uint64_t>(c, d); }
void exec_vpmaskmovd(Cpu& c, const Decoded& d) { masked_move<uint32_t>(c, d); }
void exec_vpmaskmovq(Cpu& c, const Decoded& d) { masked_move<uint64_t>(c, d); }
void exec_vpgatherdd(Cpu& c, const Decoded& d) { gather<uint32_t, uint32_t>(c, d); }
void exec_vpgatherdq(Cpu& c, const Decoded& d) { gather<uint64_t, uint32_t>(c, d); }
void exec_vpgatherqd(Cpu& c, const Decoded& d) { gather<uint32_t, uint64_t>(c, d); }
void exec_vpgatherqq(Cpu& c, const Decoded& d) { gather<uint64_t, uint64_t>(c, d); }
void exec_vgatherdps(Cpu& c, const Decoded& d) { gather<uint32_t, uint32_t>(c, d); }
void exec_vgatherdpd(Cpu& c, const Decoded& d) { gather<uint64_t, uint32_t>(c, d); }
void exec_vgatherqps(Cpu& c, const Decoded& d) { gather<uint32_t, uint64_t>(c, d); }
void exec_vgatherqpd(Cpu& c, const Decoded& d) { gather<uint64_t, uint64_t>(c, d); }

}  // namespace dejavm::soft
