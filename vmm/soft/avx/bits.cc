// BMI1, BMI2, LZCNT, ADX. Source: Intel SDM vol. 2. Flags that it leaves undefined are cleared.
#include "vmm/soft/integer/flags.h"

namespace dejavm::soft {
namespace {

void check(const Cpu& c, const Decoded& d) {
  if (!c.model->extended || (d.vex && c.real_or_v86())) Cpu::fault(kUD);
}
uint64_t sz(uint64_t r, unsigned size) { return szp(r, size) & ~uint64_t{kPF_}; }

// op0 = f(op1), with CF by the source.
template <class F>
void lowest_bit(Cpu& c, const Decoded& d, F f, bool carry_if_zero) {
  check(c, d);
  const unsigned size = d.operands[0].size;
  const uint64_t v = c.read_operand(d, 1), r = f(v) & mask_of(size);
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, sz(r, size) | when((v == 0) == carry_if_zero, kCF));
}
template <class F>
void shift(Cpu& c, const Decoded& d, F f) {
  check(c, d);
  const unsigned size = d.operands[0].size;
  const uint64_t v = c.read_operand(d, 1);
  c.write_operand(d, 0, f(v, static_cast<unsigned>(c.read_operand(d, 2)) & (8 * size - 1), size));
}
void add_with(Cpu& c, const Decoded& d, uint64_t flag) {
  check(c, d);
  const unsigned size = d.operands[0].size;
  const uint64_t a = c.read_operand(d, 0), b = c.read_operand(d, 1);
  const unsigned __int128 sum = static_cast<unsigned __int128>(a) + b + (c.flag(flag) ? 1 : 0);
  c.write_operand(d, 0, static_cast<uint64_t>(sum) & mask_of(size));
  c.set_arith(flag, when(static_cast<uint64_t>(sum >> (8 * size)) & 1, flag));
}

}  // namespace

void exec_tzcnt(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const uint64_t v = c.read_operand(d, 1), r = v == 0 ? 8 * size : static_cast<uint64_t>(std::countr_zero(v));
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, when(v == 0, kCF) | when(r == 0, kZF));
}
void exec_lzcnt(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const uint64_t v = c.read_operand(d, 1),
                 r = v == 0 ? 8 * size : static_cast<uint64_t>(std::countl_zero(v)) - (64 - 8 * size);
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, when(v == 0, kCF) | when(r == 0, kZF));
}
void exec_adcx(Cpu& c, const Decoded& d) { add_with(c, d, kCF); }
void exec_adox(Cpu& c, const Decoded& d) { add_with(c, d, kOF_); }

void exec_andn(Cpu& c, const Decoded& d) {
  check(c, d);
  const unsigned size = d.operands[0].size;
  const uint64_t b = c.read_operand(d, 2), r = ~c.read_operand(d, 1) & b & mask_of(size);
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, sz(r, size));
}
void exec_blsr(Cpu& c, const Decoded& d) {
  lowest_bit(
      c, d, [](uint64_t v) { return v & (v - 1); }, true);
}
void exec_blsmsk(Cpu& c, const Decoded& d) {
  lowest_bit(
      c, d, [](uint64_t v) { return v ^ (v - 1); }, true);
}
void exec_blsi(Cpu& c, const Decoded& d) {
  lowest_bit(
      c, d, [](uint64_t v) { return v & (0 - v); }, false);
}
void exec_bzhi(Cpu& c, const Decoded& d) {
  check(c, d);
  const unsigned size = d.operands[0].size;
  const uint64_t v = c.read_operand(d, 1), n = c.read_operand(d, 2) & 0xff;
  const uint64_t r = n < 8 * size ? v & ((uint64_t{1} << n) - 1) : v;
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, sz(r, size) | when(n >= 8 * size, kCF));
}
void exec_bextr(Cpu& c, const Decoded& d) {
  check(c, d);
  const uint64_t v = c.read_operand(d, 1), control = c.read_operand(d, 2);
  const unsigned start = control & 0xff, length = control >> 8 & 0xff;
  uint64_t r = start < 64 ? v >> start : 0;
  if (length < 64) r &= (uint64_t{1} << length) - 1;
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, when(r == 0, kZF));
}
void exec_pext(Cpu& c, const Decoded& d) {
  check(c, d);
  const uint64_t mask = c.read_operand(d, 2), v = c.read_operand(d, 1);
  uint64_t r = 0, at = 1;
  for (uint64_t m = mask; m != 0; m &= m - 1, at <<= 1)
    if (v >> std::countr_zero(m) & 1) r |= at;
  c.write_operand(d, 0, r);
}
void exec_pdep(Cpu& c, const Decoded& d) {
  check(c, d);
  const uint64_t mask = c.read_operand(d, 2);
  uint64_t r = 0, v = c.read_operand(d, 1);
  for (uint64_t m = mask; m != 0; m &= m - 1, v >>= 1)
    if (v & 1) r |= m & (0 - m);
  c.write_operand(d, 0, r);
}
// Where both destinations are one register, it gets the upper half.
void exec_mulx(Cpu& c, const Decoded& d) {
  check(c, d);
  const unsigned size = d.operands[0].size;
  const unsigned __int128 product = static_cast<unsigned __int128>(c.read_operand(d, 2)) * c.reg(kRdx, size);
  c.write_operand(d, 1, static_cast<uint64_t>(product) & mask_of(size));
  c.write_operand(d, 0, static_cast<uint64_t>(product >> (8 * size)) & mask_of(size));
}
void exec_shlx(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t v, unsigned n, unsigned size) { return v << n & mask_of(size); });
}
void exec_shrx(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t v, unsigned n, unsigned) { return v >> n; });
}
void exec_sarx(Cpu& c, const Decoded& d) {
  shift(c, d, [](uint64_t v, unsigned n, unsigned size) {
    return static_cast<uint64_t>(sign_extend(v, size) >> n) & mask_of(size);
  });
}
void exec_rorx(Cpu& c, const Decoded& d) {
  check(c, d);
  const unsigned size = d.operands[0].size, bits = 8 * size, n = static_cast<unsigned>(d.imm) & (bits - 1);
  const uint64_t v = c.read_operand(d, 1);
  c.write_operand(d, 0, (n == 0 ? v : v >> n | v << (bits - n)) & mask_of(size));
}

}  // namespace dejavm::soft
