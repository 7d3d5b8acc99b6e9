// AES, PCLMULQDQ and SHA instructions, computed by their definitions: FIPS 197, SDM vol. 2 (PCLMULQDQ), FIPS 180-4.
#include <array>
#include <bit>

#include "vmm/soft/sse/operands.h"

namespace dejavm::soft {
namespace {

using sse::Lanes;
using Bytes = Lanes<uint8_t>;
using Words = Lanes<uint32_t>;

void check(Cpu& c) {
  if (!c.model->extended) Cpu::fault(kUD);
  check_sse(c);
}

// --- AES ---
constexpr uint8_t times(uint8_t a, uint8_t b) {  // in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1
  unsigned r = 0, x = a;
  for (unsigned n = b; n != 0; n >>= 1) {
    if (n & 1) r ^= x;
    x = x << 1 ^ (x & 0x80 ? 0x11b : 0);
  }
  return static_cast<uint8_t>(r);
}
constexpr auto kSbox = [] {
  std::array<uint8_t, 256> box{};
  for (unsigned v = 0; v < 256; ++v) {
    uint8_t inverse = 0;
    for (unsigned w = 1; w < 256 && v != 0; ++w)
      if (times(static_cast<uint8_t>(v), static_cast<uint8_t>(w)) == 1) inverse = static_cast<uint8_t>(w);
    box[v] = static_cast<uint8_t>(inverse ^ std::rotl(inverse, 1) ^ std::rotl(inverse, 2) ^ std::rotl(inverse, 3) ^
                                  std::rotl(inverse, 4) ^ 0x63);
  }
  return box;
};
const std::array<uint8_t, 256>& sbox() {
  static const std::array<uint8_t, 256> box = kSbox();
  return box;
}
const std::array<uint8_t, 256>& inverse_sbox() {
  static const std::array<uint8_t, 256> box = [] {
    std::array<uint8_t, 256> r{};
    for (unsigned v = 0; v < 256; ++v) r[sbox()[v]] = static_cast<uint8_t>(v);
    return r;
  }();
  return box;
}
Bytes substitute(Bytes s, const std::array<uint8_t, 256>& box) {
  for (uint8_t& b : s.v) b = box[b];
  return s;
}
// Row r of the state (bytes r, r + 4, ...) rotated by r columns, to the left or to the right.
Bytes shift_rows(const Bytes& s, bool right) {
  Bytes r;
  for (unsigned row = 0; row < 4; ++row)
    for (unsigned column = 0; column < 4; ++column)
      r[row + 4 * column] = s[row + 4 * ((column + (right ? 4 - row : row)) & 3)];
  return r;
}
Bytes mix_columns(const Bytes& s, const std::array<uint8_t, 4>& factor) {
  Bytes r;
  for (unsigned i = 0; i < 16; ++i) {
    uint8_t v = 0;
    for (unsigned k = 0; k < 4; ++k) v ^= times(s[(i & ~3u) + k], factor[(k + 4 - (i & 3)) & 3]);
    r[i] = v;
  }
  return r;
}
constexpr std::array<uint8_t, 4> kMix{2, 3, 1, 1}, kUnmix{14, 11, 13, 9};

template <class F>
void round(Cpu& c, const Decoded& d, F f) {
  check(c);
  const __m128i key = sse::source(c, d, 1);
  const Bytes state(sse::get_xmm(c, d.operands[0].reg));
  sse::set_xmm(c, d.operands[0].reg, _mm_xor_si128(static_cast<__m128i>(f(state)), key));
}
Bytes encrypt(const Bytes& s) { return substitute(shift_rows(s, false), sbox()); }
Bytes decrypt(const Bytes& s) { return substitute(shift_rows(s, true), inverse_sbox()); }
uint32_t substitute_word(uint32_t w) {
  for (unsigned n = 0; n < 32; n += 8) w = (w & ~(0xffu << n)) | uint32_t{sbox()[w >> n & 0xff]} << n;
  return w;
}

template <class F>
void words(Cpu& c, const Decoded& d, F f) {
  check(c);
  const Words b(sse::source(c, d, 1)), a(sse::get_xmm(c, d.operands[0].reg));
  sse::set_xmm(c, d.operands[0].reg, static_cast<__m128i>(f(a, b)));
}

uint32_t small_sigma0(uint32_t x) { return std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3; }
uint32_t small_sigma1(uint32_t x) { return std::rotr(x, 17) ^ std::rotr(x, 19) ^ x >> 10; }
uint32_t big_sigma0(uint32_t x) { return std::rotr(x, 2) ^ std::rotr(x, 13) ^ std::rotr(x, 22); }
uint32_t big_sigma1(uint32_t x) { return std::rotr(x, 6) ^ std::rotr(x, 11) ^ std::rotr(x, 25); }
uint32_t choose(uint32_t x, uint32_t y, uint32_t z) { return (x & y) ^ (~x & z); }
uint32_t majority(uint32_t x, uint32_t y, uint32_t z) { return (x & y) ^ (x & z) ^ (y & z); }

}  // namespace

void exec_aesenc(Cpu& c, const Decoded& d) {
  round(c, d, [](const Bytes& s) { return mix_columns(encrypt(s), kMix); });
}
void exec_aesenclast(Cpu& c, const Decoded& d) { round(c, d, encrypt); }
void exec_aesdec(Cpu& c, const Decoded& d) {
  round(c, d, [](const Bytes& s) { return mix_columns(decrypt(s), kUnmix); });
}
void exec_aesdeclast(Cpu& c, const Decoded& d) { round(c, d, decrypt); }
void exec_aesimc(Cpu& c, const Decoded& d) {
  check(c);
  sse::set_xmm(c, d.operands[0].reg, static_cast<__m128i>(mix_columns(Bytes(sse::source(c, d, 1)), kUnmix)));
}
void exec_aeskeygenassist(Cpu& c, const Decoded& d) {
  words(c, d, [&](const Words&, const Words& b) {
    const uint32_t one = substitute_word(b[1]), three = substitute_word(b[3]), constant = sse::imm8(d);
    Words r;
    r[0] = one;
    r[1] = std::rotr(one, 8) ^ constant;
    r[2] = three;
    r[3] = std::rotr(three, 8) ^ constant;
    return r;
  });
}

void exec_pclmulqdq(Cpu& c, const Decoded& d) {
  check(c);
  const Lanes<uint64_t> b(sse::source(c, d, 1)), a(sse::get_xmm(c, d.operands[0].reg));
  const uint64_t x = a[d.imm & 1], y = b[d.imm >> 4 & 1];
  unsigned __int128 r = 0;
  for (unsigned n = 0; n < 64; ++n)
    if (y >> n & 1) r ^= static_cast<unsigned __int128>(x) << n;
  Lanes<uint64_t> to;
  to[0] = static_cast<uint64_t>(r);
  to[1] = static_cast<uint64_t>(r >> 64);
  sse::set_xmm(c, d.operands[0].reg, static_cast<__m128i>(to));
}

// SHA-1 keeps its variables with A (or W0) in the highest element.
void exec_sha1rnds4(Cpu& c, const Decoded& d) {
  words(c, d, [&](const Words& s, const Words& w) {
    static constexpr uint32_t kConstant[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    const unsigned which = d.imm & 3;
    uint32_t v[5] = {s[3], s[2], s[1], s[0], 0};  // E is in the message's first word already
    for (unsigned n = 0; n < 4; ++n) {
      const uint32_t f = which == 0   ? choose(v[1], v[2], v[3])
                         : which == 2 ? majority(v[1], v[2], v[3])
                                      : v[1] ^ v[2] ^ v[3];
      const uint32_t next = f + std::rotl(v[0], 5) + w[3 - n] + v[4] + kConstant[which];
      v[4] = v[3];
      v[3] = v[2];
      v[2] = std::rotl(v[1], 30);
      v[1] = v[0];
      v[0] = next;
    }
    Words r;
    for (unsigned n = 0; n < 4; ++n) r[3 - n] = v[n];
    return r;
  });
}
void exec_sha1nexte(Cpu& c, const Decoded& d) {
  words(c, d, [](const Words& a, Words b) {
    b[3] += std::rotl(a[3], 30);
    return b;
  });
}
void exec_sha1msg1(Cpu& c, const Decoded& d) {
  words(c, d, [](const Words& a, const Words& b) {
    Words r;
    r[3] = a[1] ^ a[3];
    r[2] = a[0] ^ a[2];
    r[1] = b[3] ^ a[1];
    r[0] = b[2] ^ a[0];
    return r;
  });
}
void exec_sha1msg2(Cpu& c, const Decoded& d) {
  words(c, d, [](const Words& a, const Words& b) {
    Words r;
    r[3] = std::rotl(a[3] ^ b[2], 1);
    r[2] = std::rotl(a[2] ^ b[1], 1);
    r[1] = std::rotl(a[1] ^ b[0], 1);
    r[0] = std::rotl(a[0] ^ r[3], 1);
    return r;
  });
}
// Two rounds; their words with the constants added are in XMM0.
void exec_sha256rnds2(Cpu& c, const Decoded& d) {
  const Words wk(sse::get_xmm(c, 0));
  words(c, d, [&](const Words& cdgh, const Words& abef) {
    uint32_t v[8] = {abef[3], abef[2], cdgh[3], cdgh[2], abef[1], abef[0], cdgh[1], cdgh[0]};  // A to H
    for (unsigned n = 0; n < 2; ++n) {
      const uint32_t t = choose(v[4], v[5], v[6]) + big_sigma1(v[4]) + wk[n] + v[7],
                     next = t + majority(v[0], v[1], v[2]) + big_sigma0(v[0]);
      v[7] = v[6];
      v[6] = v[5];
      v[5] = v[4];
      v[4] = v[3] + t;
      v[3] = v[2];
      v[2] = v[1];
      v[1] = v[0];
      v[0] = next;
    }
    Words r;
    r[3] = v[0];
    r[2] = v[1];
    r[1] = v[4];
    r[0] = v[5];
    return r;
  });
}
void exec_sha256msg1(Cpu& c, const Decoded& d) {
  words(c, d, [](const Words& a, const Words& b) {
    Words r;
    for (unsigned n = 0; n < 4; ++n) r[n] = a[n] + small_sigma0(n < 3 ? a[n + 1] : b[0]);
    return r;
  });
}
void exec_sha256msg2(Cpu& c, const Decoded& d) {
  words(c, d, [](const Words& a, const Words& b) {
    Words r;
    r[0] = a[0] + small_sigma1(b[2]);
    r[1] = a[1] + small_sigma1(b[3]);
    r[2] = a[2] + small_sigma1(r[0]);
    r[3] = a[3] + small_sigma1(r[1]);
    return r;
  });
}

}  // namespace dejavm::soft
