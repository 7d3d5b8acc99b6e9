// PCMPxSTRx: SDM vol. 2, 4.1. Operand 1 is the set, the ranges or the substring; operand 2 (no alignment rule)
// the text.
#include <algorithm>

#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

// imm8.
struct Control {
  unsigned v;
  bool words() const { return v & 1; }
  bool is_signed() const { return v & 2; }
  unsigned aggregation() const { return v >> 2 & 3; }
  bool negative() const { return v & 0x10; }
  bool only_valid() const { return v & 0x20; }  // of a negation
  bool high() const { return v & 0x40; }        // highest index; expanded mask
  unsigned lanes() const { return words() ? 8 : 16; }
};

struct Text {
  int32_t at[16];
  unsigned len;  // valid lanes

  Text(Vec x, Control k) {
    const Lanes<uint8_t> b(x);
    const Lanes<uint16_t> w(x);
    for (unsigned i = 0; i < k.lanes(); ++i) {
      if (k.words()) at[i] = k.is_signed() ? static_cast<int16_t>(w[i]) : w[i];
      else at[i] = k.is_signed() ? static_cast<int8_t>(b[i]) : b[i];
    }
    len = k.lanes();
  }
  // Up to the first zero.
  static Text implicit(Vec x, Control k) {
    Text t(x, k);
    t.len = static_cast<unsigned>(std::find(t.at, t.at + k.lanes(), 0) - t.at);
    return t;
  }
  // |length|, at most all lanes.
  static Text explicit_length(Vec x, Control k, int64_t length) {
    Text t(x, k);
    const uint64_t magnitude = length < 0 ? 0 - static_cast<uint64_t>(length) : static_cast<uint64_t>(length);
    t.len = static_cast<unsigned>(std::min<uint64_t>(magnitude, k.lanes()));
    return t;
  }
};

bool equal_any(const Text& set, const Text& text, unsigned j) {
  return j < text.len && std::find(set.at, set.at + set.len, text.at[j]) != set.at + set.len;
}

bool in_ranges(const Text& ranges, const Text& text, unsigned j) {
  for (unsigned i = 0; i + 1 < ranges.len && j < text.len; i += 2)
    if (ranges.at[i] <= text.at[j] && text.at[j] <= ranges.at[i + 1]) return true;
  return false;
}

// Lanes beyond both ends are equal.
bool equal_each(const Text& a, const Text& text, unsigned j) {
  if (j >= a.len || j >= text.len) return j >= a.len && j >= text.len;
  return a.at[j] == text.at[j];
}

// The substring begins at lane j, as far as lanes are there to compare.
bool equal_ordered(const Text& part, const Text& text, unsigned j, unsigned lanes) {
  for (unsigned i = 0; i + j < lanes && i < part.len; ++i)
    if (i + j >= text.len || part.at[i] != text.at[i + j]) return false;
  return true;
}

// IntRes2, with the flags set.
unsigned compare(Cpu& c, const Text& a, const Text& b, Control k) {
  const unsigned n = k.lanes();
  unsigned result = 0;
  for (unsigned j = 0; j < n; ++j) {
    bool bit = false;
    switch (k.aggregation()) {
      case 0: bit = equal_any(a, b, j); break;
      case 1: bit = in_ranges(a, b, j); break;
      case 2: bit = equal_each(a, b, j); break;
      case 3: bit = equal_ordered(a, b, j, n); break;
    }
    if (k.negative() && !(k.only_valid() && j >= b.len)) bit = !bit;
    result |= unsigned{bit} << j;
  }
  set_flags(c, result != 0, false, b.len < n, a.len < n, result & 1);
  return result;
}

void put_index(Cpu& c, unsigned result, Control k) {
  unsigned index = k.lanes();
  if (result) index = static_cast<unsigned>(k.high() ? 31 - __builtin_clz(result) : __builtin_ctz(result));
  c.set_reg(kRcx, 8, index);
}

void put_mask(Cpu& c, unsigned result, Control k) {
  if (!k.high()) return set_xmm(c, 0, low_half(uint64_t{result}));
  Lanes<uint8_t> r;
  const unsigned bytes = k.words() ? 2 : 1;
  for (unsigned i = 0; i < 16; ++i) r[i] = result >> (i / bytes) & 1 ? 0xff : 0;
  set_xmm(c, 0, static_cast<Vec>(r));
}

unsigned compare_implicit(Cpu& c, const Decoded& d) {
  check_sse(c);
  const Control k{imm8(d)};
  const Vec b = source_low<16>(c, d, 1);
  return compare(c, Text::implicit(get_xmm(c, d.operands[0].reg), k), Text::implicit(b, k), k);
}

// Lengths are in EAX and EDX, with REX.W in RAX and RDX.
unsigned compare_explicit(Cpu& c, const Decoded& d) {
  check_sse(c);
  const Control k{imm8(d)};
  const Vec b = source_low<16>(c, d, 1);
  auto length = [&](unsigned reg) {
    return rex_w(d) ? static_cast<int64_t>(c.r[reg]) : int64_t{static_cast<int32_t>(c.r[reg])};
  };
  return compare(c, Text::explicit_length(get_xmm(c, d.operands[0].reg), k, length(kRax)),
                 Text::explicit_length(b, k, length(kRdx)), k);
}

}  // namespace

void exec_pcmpistri(Cpu& c, const Decoded& d) { put_index(c, compare_implicit(c, d), {imm8(d)}); }
void exec_pcmpistrm(Cpu& c, const Decoded& d) { put_mask(c, compare_implicit(c, d), {imm8(d)}); }
void exec_pcmpestri(Cpu& c, const Decoded& d) { put_index(c, compare_explicit(c, d), {imm8(d)}); }
void exec_pcmpestrm(Cpu& c, const Decoded& d) { put_mask(c, compare_explicit(c, d), {imm8(d)}); }

}  // namespace dejavm::soft
