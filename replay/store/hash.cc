#include "replay/store/hash.h"

#include <cstring>

#include <xxhash.h>

namespace dejavm {

uint64_t hash64(std::span<const uint8_t> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Hash128 hash128(std::span<const uint8_t> bytes, uint64_t seed) {
  const XXH128_hash_t h = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {h.high64, h.low64};
}

void store_hash(const Hash128& h, uint8_t* to) {
  for (int i = 0; i < 8; ++i) {
    to[i] = static_cast<uint8_t>(h.high >> (56 - 8 * i));
    to[8 + i] = static_cast<uint8_t>(h.low >> (56 - 8 * i));
  }
}

Hash128 load_hash(const uint8_t* from) {
  Hash128 h;
  for (int i = 0; i < 8; ++i) {
    h.high = h.high << 8 | from[i];
    h.low = h.low << 8 | from[8 + i];
  }
  return h;
}

std::string to_hex(const Hash128& h) {
  static constexpr char kDigits[] = "0123456789abcdef";
  uint8_t bytes[16];
  store_hash(h, bytes);
  std::string out;
  for (const uint8_t b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

std::optional<Hash128> hash128_from_hex(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  Hash128 h;
  for (size_t i = 0; i < 32; ++i) {
    const char c = text[i];
    uint64_t digit;
    if (c >= '0' && c <= '9') digit = static_cast<uint64_t>(c - '0');
    else if (c >= 'a' && c <= 'f') digit = static_cast<uint64_t>(c - 'a' + 10);
    else return std::nullopt;
    uint64_t& half = i < 16 ? h.high : h.low;
    half = half << 4 | digit;
  }
  return h;
}

bool is_zero_page(const uint8_t* p) {
  // Comparing the page with itself shifted by a word is the fastest portable test.
  uint64_t first;
  std::memcpy(&first, p, 8);
  return first == 0 && std::memcmp(p, p + 8, 4096 - 8) == 0;
}

Hash128 hash_page(uint64_t index, const uint8_t* content) {
  return is_zero_page(content) ? Hash128{} : hash128({content, 4096}, index);
}

}  // namespace dejavm
