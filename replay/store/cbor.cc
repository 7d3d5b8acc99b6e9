#include "replay/store/cbor.h"

#include <cstring>

#include <limits>

#include "devices/core/result.h"

namespace dejavm {

void CborWriter::head(uint8_t major, uint64_t argument) {
  const auto first = static_cast<uint8_t>(major << 5);
  if (argument < 24) {
    out_.push_back(static_cast<uint8_t>(first | argument));
    return;
  }
  const unsigned log2 = argument <= 0xff ? 0 : argument <= 0xffff ? 1 : argument <= 0xffffffff ? 2 : 3;
  uint8_t bytes[9] = {static_cast<uint8_t>(first | (24 + log2))};
  const uint64_t big_endian = __builtin_bswap64(argument << (64 - (8 << log2)));
  std::memcpy(bytes + 1, &big_endian, sizeof big_endian);
  out_.insert(out_.end(), bytes, bytes + 1 + (size_t{1} << log2));
}

void CborWriter::signed_int(int64_t value) {
  if (value >= 0) head(0, static_cast<uint64_t>(value));
  else head(1, ~static_cast<uint64_t>(value));
}

void CborWriter::bytes(std::span<const uint8_t> value) {
  head(2, value.size());
  raw(value);
}

void CborWriter::text(std::string_view value) {
  head(3, value.size());
  out_.insert(out_.end(), value.begin(), value.end());
}

namespace {

// RFC 3629: shortest forms only, no surrogates, at most U+10FFFF.
bool valid_utf8(std::span<const uint8_t> s) {
  size_t i = 0;
  for (uint64_t eight; s.size() - i >= sizeof eight; i += sizeof eight) {  // mostly ASCII
    std::memcpy(&eight, s.data() + i, sizeof eight);
    if (eight & 0x8080808080808080) break;
  }
  while (i < s.size()) {
    const uint8_t b = s[i];
    if (b < 0x80) {
      ++i;
      continue;
    }
    const unsigned more = b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : 1;
    if (b < 0xc2 || b > 0xf4 || s.size() - i <= more) return false;
    uint32_t code = b & (0x3f >> more);
    for (unsigned k = 1; k <= more; ++k) {
      if ((s[i + k] & 0xc0) != 0x80) return false;
      code = code << 6 | (s[i + k] & 0x3f);
    }
    static constexpr uint32_t kMin[] = {0, 0x80, 0x800, 0x10000};
    if (code < kMin[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    i += more + 1;
  }
  return true;
}

}  // namespace

void CborReader::fail(std::string_view why) {
  if (!ok()) return;
  error_ = why;
  error_offset_ = item_;
  pos_ = in_.size();
}

CborReader::Type CborReader::peek() const {
  if (!ok() || pos_ == in_.size()) return Type::kEnd;
  const uint8_t b = in_[pos_];
  if (b >> 5 < 6) return static_cast<Type>(b >> 5);
  return b == 0xf4 || b == 0xf5 ? Type::kBool : Type::kOther;
}

uint64_t CborReader::head(uint8_t major, const char* wanted) {
  if (!ok()) return 0;
  item_ = pos_;
  if (pos_ == in_.size()) {
    fail("the data end early");
    return 0;
  }
  const uint8_t first = in_[pos_];
  if (first >> 5 != major) {
    fail(std::string("not ") + wanted);
    return 0;
  }
  const unsigned info = first & 31;
  ++pos_;
  if (info < 24) return info;
  if (info > 27) {
    fail("indefinite or reserved length");
    return 0;
  }
  const unsigned len = 1u << (info - 24);
  if (in_.size() - pos_ < len) {
    fail("the data end early");
    return 0;
  }
  uint64_t value = 0;
  for (unsigned i = 0; i < len; ++i) value = value << 8 | in_[pos_++];
  const bool shortest = len == 1 ? value >= 24 : value >> (4 * len) != 0;
  if (!shortest) {
    fail("not the shortest form");
    return 0;
  }
  return value;
}

std::span<const uint8_t> CborReader::take(uint64_t len) {
  if (!ok()) return {};
  if (in_.size() - pos_ < len) {
    fail("longer than the data");
    return std::span<const uint8_t>{};
  }
  const auto out = in_.subspan(pos_, len);
  pos_ += len;
  return out;
}

uint64_t CborReader::unsigned_int() { return head(0, "an unsigned integer"); }

int64_t CborReader::signed_int() {
  const bool negative = peek() == Type::kNegative;
  const uint64_t value = head(negative ? 1 : 0, "an integer");
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    fail("integer out of range");
    return 0;
  }
  return static_cast<int64_t>(negative ? ~value : value);
}

std::span<const uint8_t> CborReader::bytes() { return take(head(2, "a byte string")); }

std::string_view CborReader::text() {
  const auto b = take(head(3, "a text string"));
  if (!valid_utf8(b)) {
    fail("text is not UTF-8");
    return std::string_view{};
  }
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

uint64_t CborReader::array() {
  const uint64_t count = head(4, "an array");
  if (count > in_.size() - pos_) {
    fail("longer than the data");
    return 0;
  }
  return count;
}

uint64_t CborReader::map() {
  const uint64_t count = head(5, "a map");
  if (count > (in_.size() - pos_) / 2) {
    fail("longer than the data");
    return 0;
  }
  return count;
}

bool CborReader::boolean() {
  if (!ok()) return false;
  item_ = pos_;
  if (peek() != Type::kBool) {
    fail("not a boolean");
    return false;
  }
  return in_[pos_++] == 0xf5;
}

void CborReader::skip() { skip_item(0); }

void CborReader::skip_item(unsigned depth) {
  if (depth > 32) return fail("nested too deeply");
  switch (peek()) {
    case Type::kUnsigned: unsigned_int(); return;
    case Type::kNegative: head(1, "an integer"); return;
    case Type::kBytes: bytes(); return;
    case Type::kText: text(); return;
    case Type::kBool: boolean(); return;
    case Type::kArray:
      for (uint64_t n = array(); n > 0 && ok(); --n) skip_item(depth + 1);
      return;
    case Type::kMap: {
      CborMap pairs(*this);
      for (std::string_view key; pairs.next(key);) skip_item(depth + 1);
      return;
    }
    case Type::kOther:
    case Type::kEnd: break;
  }
  item_ = pos_;
  fail(pos_ == in_.size() ? "the data end early" : "a tag, float or special value is not used here");
}

void CborReader::end() {
  item_ = pos_;
  if (ok() && pos_ != in_.size()) fail("trailing bytes");
}

bool CborMap::next(std::string_view& key) {
  if (left_ == 0 || !reader_.ok()) return false;
  --left_;
  key = reader_.text();
  if (!reader_.ok()) return false;
  if (!first_ && !cbor_key_less(last_, key)) {
    reader_.fail(last_ == key ? "duplicate key '" + std::string(key) + "'"
                              : "key '" + std::string(key) + "' out of order");
    return false;
  }
  first_ = false;
  last_ = key;
  return true;
}

void put_hash(CborWriter& w, const Hash128& h) {
  uint8_t bytes[16];
  store_hash(h, bytes);
  w.bytes(bytes);
}

Hash128 get_hash(CborReader& r) {
  const auto bytes = r.bytes();
  if (r.ok() && bytes.size() != 16) r.fail("a hash is not 16 bytes long");
  return r.ok() ? load_hash(bytes.data()) : Hash128{};
}

uint64_t number_up_to(CborReader& r, uint64_t max) {
  const uint64_t v = r.unsigned_int();
  if (r.ok() && v > max) r.fail(std::to_string(v) + " is more than " + std::to_string(max));
  return r.ok() ? v : 0;
}

}  // namespace dejavm
