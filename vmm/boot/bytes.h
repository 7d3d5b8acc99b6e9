// Little-endian tables put together field by field.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace dejavm::boot {

struct Bytes {
  std::vector<uint8_t> v;

  template <class T>
  Bytes& number(T value) {
    for (size_t n = 0; n < sizeof(T); ++n) v.push_back(static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * n)));
    return *this;
  }
  Bytes& u8(uint8_t x) { return number(x); }
  Bytes& u16(uint16_t x) { return number(x); }
  Bytes& u32(uint32_t x) { return number(x); }
  Bytes& u64(uint64_t x) { return number(x); }
  Bytes& zeros(size_t n) {
    v.insert(v.end(), n, 0);
    return *this;
  }
  Bytes& text(std::string_view s) {
    v.insert(v.end(), s.begin(), s.end());
    return *this;
  }
  Bytes& append(std::span<const uint8_t> b) {
    v.insert(v.end(), b.begin(), b.end());
    return *this;
  }
};

// The definition block of the DSDT, without the table's header: what no register can tell the guest.
std::vector<uint8_t> dsdt_definition_block(uint32_t vcpus);

// What makes the sum of all bytes zero, where there is a zero now.
inline uint8_t checksum(std::span<const uint8_t> bytes) {
  uint8_t sum = 0;
  for (const uint8_t byte : bytes) sum = static_cast<uint8_t>(sum + byte);
  return static_cast<uint8_t>(-sum);
}

}  // namespace dejavm::boot
