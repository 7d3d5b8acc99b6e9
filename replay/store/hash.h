// The hashes of files and digests: XXH3 (xxHash 0.8 specification), 64 and 128 bits. Results do not depend on the host.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dejavm {

struct Hash128 {
  uint64_t high = 0, low = 0;
  bool operator==(const Hash128&) const = default;
  bool zero() const { return high == 0 && low == 0; }
  // Addition and subtraction modulo 2^128: a sum of hashes is a hash of a set, from which members can be removed.
  Hash128& operator+=(const Hash128& o) {
    low += o.low;
    high += o.high + (low < o.low ? 1 : 0);
    return *this;
  }
  Hash128& operator-=(const Hash128& o) {
    high -= o.high + (low < o.low ? 1 : 0);
    low -= o.low;
    return *this;
  }
};

uint64_t hash64(std::span<const uint8_t> bytes, uint64_t seed = 0);
Hash128 hash128(std::span<const uint8_t> bytes, uint64_t seed = 0);
std::string to_hex(const Hash128&);  // 32 digits, most significant first
std::optional<Hash128> hash128_from_hex(std::string_view);

// 16 bytes, most significant first (XXH128's canonical representation).
void store_hash(const Hash128&, uint8_t* to);
Hash128 load_hash(const uint8_t* from);

// Of a page of guest memory: XXH3-128 seeded with its index (Gpa / 4096); zero for a page of zeros.
Hash128 hash_page(uint64_t index, const uint8_t* content);
bool is_zero_page(const uint8_t* content);

}  // namespace dejavm
