// Bit tests, scans and counts, CRC32. Source: Intel SDM vol. 2.
#include <nmmintrin.h>

#include "vmm/soft/integer/flags.h"

namespace dejavm::soft {
namespace {

// change(value, mask) -> new value; kWrites false for BT. A register offset into memory is signed and reaches any byte.
template <bool kWrites, class F>
void bit_test(Cpu& c, const Decoded& d, F change) {
  const unsigned size = d.operands[0].size, bits = 8 * size;
  const uint64_t offset = c.read_operand(d, 1);
  const uint64_t mask = uint64_t{1} << (offset & (bits - 1));
  uint64_t a;
  if (d.operands[0].kind == OperandKind::kMem && d.operands[1].kind == OperandKind::kGpr) {
    const int64_t unit = sign_extend(offset, size) >> (size == 2 ? 4 : size == 4 ? 5 : 6);
    const uint64_t at = (c.effective_address(d) + static_cast<uint64_t>(unit) * size) & mask_of(d.addr_size);
    const uint64_t linear = c.linear(d.seg, at, size, kWrites ? Access::kWrite : Access::kRead);
    if (kWrites) c.probe_write(linear, size);
    a = 0;
    c.read_linear(linear, &a, size);
    if (kWrites) {
      const uint64_t r = change(a, mask);
      c.write_linear(linear, &r, size);
    }
  } else if (kWrites) {
    a = c.read_operand_for_update(d, 0);
    c.write_operand(d, 0, change(a, mask));
  } else {
    a = c.read_operand(d, 0);
  }
  c.set_arith(kCF, when(a & mask, kCF));
}

}  // namespace

void exec_bt(Cpu& c, const Decoded& d) {
  bit_test<false>(c, d, [](uint64_t a, uint64_t) { return a; });
}
void exec_bts(Cpu& c, const Decoded& d) {
  bit_test<true>(c, d, [](uint64_t a, uint64_t m) { return a | m; });
}
void exec_btr(Cpu& c, const Decoded& d) {
  bit_test<true>(c, d, [](uint64_t a, uint64_t m) { return a & ~m; });
}
void exec_btc(Cpu& c, const Decoded& d) {
  bit_test<true>(c, d, [](uint64_t a, uint64_t m) { return a ^ m; });
}

// A zero source leaves the destination, upper half included, and the other flags as they were.
void exec_bsf(Cpu& c, const Decoded& d) {
  const uint64_t v = c.read_operand(d, 1);
  if (v != 0) c.write_operand(d, 0, static_cast<uint64_t>(std::countr_zero(v)));
  c.set_arith(kZF, when(v == 0, kZF));
}
void exec_bsr(Cpu& c, const Decoded& d) {
  const uint64_t v = c.read_operand(d, 1);
  if (v != 0) c.write_operand(d, 0, static_cast<uint64_t>(63 - std::countl_zero(v)));
  c.set_arith(kZF, when(v == 0, kZF));
}

void exec_popcnt(Cpu& c, const Decoded& d) {
  const uint64_t v = c.read_operand(d, 1);
  c.write_operand(d, 0, static_cast<uint64_t>(std::popcount(v)));
  c.set_arith(kArithFlags, when(v == 0, kZF));
}

void exec_crc32(Cpu& c, const Decoded& d) {
  const uint64_t v = c.read_operand(d, 1);
  uint32_t crc = static_cast<uint32_t>(c.r[d.operands[0].reg]);
  switch (d.operands[1].size) {
    case 1: crc = _mm_crc32_u8(crc, static_cast<uint8_t>(v)); break;
    case 2: crc = _mm_crc32_u16(crc, static_cast<uint16_t>(v)); break;
    case 4: crc = _mm_crc32_u32(crc, static_cast<uint32_t>(v)); break;
    default: crc = static_cast<uint32_t>(_mm_crc32_u64(crc, v)); break;
  }
  c.r[d.operands[0].reg] = crc;
}

}  // namespace dejavm::soft
