// FLDENV, FNSTENV, FRSTOR, FNSAVE: the state in memory, in four layouts (SDM vol. 1, 8.1.10, figures 8-9 to 8-12). FIP
// and FDP are offsets; the selectors FCS and FDS are stored as 0, as processors do that have deprecated them.
#include "vmm/soft/x87/state.h"

namespace dejavm::soft {

namespace x87 {

uint16_t full_tag_word(const FpuState& f) {
  unsigned word = 0;
  for (unsigned n = 0; n < 8; ++n) {
    const uint64_t m = f.st_mantissa[n];
    const unsigned e = f.st_exponent[n] & 0x7fff;
    unsigned tag = 2;
    if (!(f.ftw >> n & 1)) tag = 3;
    else if (e == 0 && m == 0) tag = 1;
    else if (e != 0 && e != 0x7fff && m >> 63) tag = 0;
    word |= tag << (2 * n);
  }
  return static_cast<uint16_t>(word);
}

uint8_t abridged_tag_word(uint16_t full) {
  unsigned word = 0;
  for (unsigned n = 0; n < 8; ++n)
    if ((full >> (2 * n) & 3) != 3) word |= 1u << n;
  return static_cast<uint8_t>(word);
}

}  // namespace x87

namespace {

using namespace x87;

// Environment first; FNSAVE's registers follow it.
struct Layout {
  bool wide;    // 32-bit format: 28 bytes, else 14
  bool linear;  // real-address and virtual-8086 format
  unsigned bytes() const { return wide ? 28 : 14; }
};
constexpr unsigned kRegisters = 80;

Layout layout(const Cpu& c, const Decoded& d) { return {d.op_size != 2, c.real_or_v86()}; }

void put(uint8_t* at, uint64_t value, unsigned bytes) { std::memcpy(at, &value, bytes); }
uint32_t take(const uint8_t* at, unsigned bytes) {
  uint32_t v = 0;
  std::memcpy(&v, at, bytes);
  return v;
}

void write_environment(const FpuState& f, Layout l, uint8_t* to) {
  const uint32_t ip = static_cast<uint32_t>(f.fip), dp = static_cast<uint32_t>(f.fdp);
  if (l.wide) {
    for (unsigned at : {0u, 4u, 8u, 24u}) put(to + at, 0xffff0000, 4);
    put(to, f.fcw, 2);
    put(to + 4, f.fsw, 2);
    put(to + 8, full_tag_word(f), 2);
    if (l.linear) {
      put(to + 12, (ip & 0xffff) | 0xffff0000, 4);
      put(to + 16, (ip >> 16) << 12 | f.fop, 4);
      put(to + 20, (dp & 0xffff) | 0xffff0000, 4);
      put(to + 24, (dp >> 16) << 12, 4);
    } else {
      put(to + 12, ip, 4);
      put(to + 16, uint32_t{f.fop} << 16, 4);
      put(to + 20, dp, 4);
    }
    return;
  }
  put(to, f.fcw, 2);
  put(to + 2, f.fsw, 2);
  put(to + 4, full_tag_word(f), 2);
  put(to + 6, ip, 2);
  put(to + 8, l.linear ? (ip >> 4 & 0xf000) | f.fop : 0, 2);
  put(to + 10, dp, 2);
  put(to + 12, l.linear ? dp >> 4 & 0xf000 : 0, 2);
}

void read_environment(FpuState& f, Layout l, const uint8_t* from) {
  const unsigned step = l.wide ? 4 : 2;
  f.fcw = static_cast<uint16_t>((take(from, 2) & kFcwWritable) | kFcwFixed1);
  set_fsw(f, static_cast<uint16_t>(take(from + step, 2)));
  f.ftw = abridged_tag_word(static_cast<uint16_t>(take(from + 2 * step, 2)));
  const uint32_t a = take(from + 3 * step, step), b = take(from + 4 * step, step), p = take(from + 5 * step, step),
                 q = take(from + 6 * step, step);
  if (l.linear) {
    f.fip = l.wide ? (a & 0xffff) | (b >> 12 & 0xffff) << 16 : a | (b & 0xf000) << 4;
    f.fop = b & 0x7ff;
    f.fdp = l.wide ? (p & 0xffff) | (q >> 12 & 0xffff) << 16 : p | (q & 0xf000) << 4;
  } else {
    f.fip = a;
    f.fop = l.wide ? b >> 16 & 0x7ff : 0;
    f.fdp = p;
  }
}

void store(Cpu& c, const Decoded& d, bool registers) {
  check_x87(c, false);
  const FpuState& f = c.s.fpu;
  const Layout l = layout(c, d);
  uint8_t bytes[28 + kRegisters];
  write_environment(f, l, bytes);
  for (unsigned n = 0; n < 8; ++n) {
    const unsigned p = physical(f, n);
    put(bytes + l.bytes() + 10 * n, f.st_mantissa[p], 8);
    put(bytes + l.bytes() + 10 * n + 8, f.st_exponent[p], 2);
  }
  const unsigned len = l.bytes() + (registers ? kRegisters : 0);
  c.write_linear(c.linear(d.seg, c.effective_address(d), len, Access::kWrite), bytes, len);
}

void load(Cpu& c, const Decoded& d, bool registers) {
  check_x87(c, true);
  const Layout l = layout(c, d);
  const unsigned len = l.bytes() + (registers ? kRegisters : 0);
  uint8_t bytes[28 + kRegisters];
  c.read_linear(c.linear(d.seg, c.effective_address(d), len, Access::kRead), bytes, len);
  FpuState& f = c.s.fpu;
  read_environment(f, l, bytes);
  if (!registers) return;
  for (unsigned n = 0; n < 8; ++n) {
    const unsigned p = physical(f, n);
    std::memcpy(&f.st_mantissa[p], bytes + l.bytes() + 10 * n, 8);
    std::memcpy(&f.st_exponent[p], bytes + l.bytes() + 10 * n + 8, 2);
  }
}

}  // namespace

void exec_fldenv(Cpu& c, const Decoded& d) { load(c, d, false); }
void exec_frstor(Cpu& c, const Decoded& d) { load(c, d, true); }

void exec_fnstenv(Cpu& c, const Decoded& d) {
  store(c, d, false);
  set_fcw(c.s.fpu, c.s.fpu.fcw | kExceptions);
}

void exec_fnsave(Cpu& c, const Decoded& d) {
  store(c, d, true);
  exec_fninit(c, d);
}

}  // namespace dejavm::soft
