#include "tests/vmm/soft/sse/values.h"

#include <cstring>

namespace dejavm::soft {
namespace {

constexpr uint32_t kSingles[] = {
    0x00000000, 0x00000001, 0x00400000, 0x007fffff, 0x00800000, 0x00800001, 0x00ffffff, 0x01000000,  // zero to small
    0x33800000, 0x34000000, 0x3effffff, 0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000,  // around 1
    0x40200000, 0x4b000000, 0x4b000001, 0x4b800000, 0x4effffff, 0x4f000000, 0x4f000001, 0x5effffff,  // 2.5 to 2^63
    0x5f000000, 0x7e800000, 0x7f000000, 0x7f7ffffe, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff,  // to SNaN
    0x7fc00000, 0x7fc00001, 0x7fffffff,
};
constexpr uint64_t kDoubles[] = {
    0x0000000000000000, 0x0000000000000001, 0x0008000000000000, 0x000fffffffffffff, 0x0010000000000000,
    0x0010000000000001, 0x001fffffffffffff, 0x3690000000000000, 0x36a0000000000000, 0x3800000000000000,
    0x380fffffffffffff, 0x380fffffe0000000, 0x380ffffff0000000, 0x3810000000000000, 0x3810000010000000,
    0x3ca0000000000000, 0x3fdfffffffffffff, 0x3fe0000000000000, 0x3ff0000000000000, 0x3ff0000000000001,
    0x3ff0000010000000, 0x3ff8000000000000, 0x4004000000000000, 0x41dfffffffc00000, 0x41dfffffffe00000,
    0x41dfffffffffffff, 0x41e0000000000000, 0x41e0000000100000, 0x41e0000000200000, 0x4330000000000000,
    0x4330000000000001, 0x43dfffffffffffff, 0x43e0000000000000, 0x47efffffe0000000, 0x47effffff0000000,
    0x47f0000000000000, 0x7fe0000000000000, 0x7fefffffffffffff, 0x7ff0000000000000, 0x7ff0000000000001,
    0x7ff7ffffffffffff, 0x7ff8000000000000, 0x7ff8000000000001, 0x7fffffffffffffff,
};
constexpr uint32_t kIntegers[] = {0,          1,          0x7fffffff, 0x80000000, 0xffffffff,
                                  0x01000001, 0x00ffffff, 0x02000001, 0x7fffffbf};  // around 2^24 and 2^31

// A value whose exponent field, of `bits` bits, is near 1.0's or anywhere.
uint64_t random_exponent(Random& r, unsigned bits) {
  const uint64_t bias = (uint64_t{1} << (bits - 1)) - 1;
  switch (r.below(4)) {
    case 0: return bias - 4 + r.below(8);              // sums that cancel and round
    case 1: return bias / 2 - 8 + r.below(16);         // products around the smallest normal
    case 2: return bias + bias / 2 - 8 + r.below(16);  // products around the largest
    default: return r.next() & ((uint64_t{1} << bits) - 1);
  }
}

Bits128 random_bits(Random& r) {
  Bits128 v = {r.next(), r.next()};
  for (unsigned i = 0; i < 16; ++i) {
    static constexpr uint8_t kBytes[] = {0x00, 0xff, 0x80, 0x7f};
    if (r.below(4) == 0) reinterpret_cast<uint8_t*>(v.data())[i] = kBytes[r.below(4)];
  }
  return v;
}

Bits128 random_text(Random& r) {
  Bits128 v;
  auto* bytes = reinterpret_cast<uint8_t*>(v.data());
  const unsigned alphabet = 2 + r.below(4), zeros = 2 + r.below(30);
  const uint8_t high = r.below(2) ? 0x80 : 0;
  for (unsigned i = 0; i < 16; ++i) {
    if (r.below(zeros) == 0) bytes[i] = 0;
    else bytes[i] = static_cast<uint8_t>('a' + r.below(alphabet)) | (r.below(8) ? 0 : high);
  }
  if (r.below(2))  // words with zero upper bytes, or whole zero words
    for (unsigned i = 1; i < 16; i += 2) bytes[i] = 0;
  return v;
}

uint64_t random_length(Random& r) {
  if (r.below(8) == 0) return r.next();
  return static_cast<uint64_t>(int64_t{r.below(40)} - 20) & (r.below(2) ? ~uint64_t{0} : 0xffffffff);
}

}  // namespace

uint32_t random_single(Random& r) {
  const uint32_t sign = static_cast<uint32_t>(r.below(2)) << 31;
  if (r.below(3) == 0) return sign | kSingles[r.below(std::size(kSingles))];
  const uint32_t fraction = static_cast<uint32_t>(r.next()) & 0x7fffff & (r.below(4) ? ~0u : 0x7ff000u);
  return sign | static_cast<uint32_t>(random_exponent(r, 8)) << 23 | fraction;
}

uint64_t random_double(Random& r) {
  const uint64_t sign = uint64_t{r.below(2)} << 63;
  if (r.below(3) == 0) return sign | kDoubles[r.below(std::size(kDoubles))];
  uint64_t exponent = random_exponent(r, 11);
  if (r.below(4) == 0) exponent = 1023 - 160 + r.below(320);  // where singles and integers are
  return sign | exponent << 52 | (r.next() & 0xfffffffffffff & (r.below(4) ? ~uint64_t{0} : 0xffffff0000000));
}

Bits128 random_vector(Random& r, Data data) {
  auto single = [&] { return uint64_t{random_single(r)}; };
  auto integer = [&] { return uint64_t{r.below(2) ? static_cast<uint32_t>(r.next()) : kIntegers[r.below(9)]}; };
  switch (data) {
    case Data::kSingle:
    case Data::kApproximate: return {single() | single() << 32, single() | single() << 32};
    case Data::kDouble: return {random_double(r), random_double(r)};
    case Data::kInteger: return {integer() | integer() << 32, integer() | integer() << 32};
    case Data::kCount: return r.below(2) ? random_bits(r) : Bits128{r.below(70), r.next()};
    case Data::kText: return random_text(r);
    case Data::kBits: break;
  }
  return random_bits(r);
}

NativeState random_state(Random& r, Data data, uint32_t mxcsr_masks) {
  NativeState s = {};
  s.fx.fcw = 0x37f;
  s.fx.fsw = static_cast<uint16_t>(r.below(8) << 11);
  s.fx.ftw = static_cast<uint8_t>(r.next());
  s.fx.mxcsr = mxcsr_masks | (r.below(4) ? r.below(4) << 13 : 0);
  if (r.below(3) == 0) s.fx.mxcsr |= r.below(2) << 15 | r.below(2) << 6;
  if (r.below(2)) s.fx.mxcsr |= r.below(64);
  for (auto& st : s.fx.st) {
    st.mantissa = random_vector(r, data)[0];
    st.exponent = static_cast<uint16_t>(r.next());
  }
  for (auto& x : s.fx.xmm) x = random_vector(r, data);
  // Equal or nearly equal operands: comparisons, cancellation, which of two NaNs.
  if (r.below(4) == 0) s.fx.xmm[2] = s.fx.xmm[1];
  if (r.below(8) == 0) s.fx.xmm[2][0] ^= uint64_t{1} << r.below(64);
  s.rax = data == Data::kText ? random_length(r) : r.next();
  s.rdx = data == Data::kText ? random_length(r) : random_vector(r, data)[0];
  s.rcx = r.next();
  s.rflags = 0x202 | (r.next() & 0x8d5);
  for (unsigned i = 0; i < kWindowBytes; i += 16) {
    Bits128 v = random_vector(r, data);
    if (i + 16 == kWindowBytes && r.below(4) == 0) v = s.fx.xmm[1];
    std::memcpy(&s.memory[i], v.data(), 16);
  }
  return s;
}

}  // namespace dejavm::soft
