// Deterministic CBOR (RFC 8949 section 4.2.1): shortest heads, definite lengths, map keys in the bytewise order of
// their encodings, no floats and no tags. The reader refuses everything else, so that equal bytes mean equal values. It
// is bounded: a count that the remaining bytes cannot hold is an error, and nothing is allocated on a file's word.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "replay/store/hash.h"

namespace dejavm {

using Bytes = std::vector<uint8_t>;

// The order of text keys in a map: by the bytes of their encodings, which is by length first.
inline bool cbor_key_less(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

class CborWriter {
 public:
  void unsigned_int(uint64_t value) { head(0, value); }
  void signed_int(int64_t value);
  void bytes(std::span<const uint8_t> value);
  void text(std::string_view value);
  void array(uint64_t count) { head(4, count); }  // the elements follow
  void map(uint64_t count) { head(5, count); }    // count pairs follow: key, value, in canonical key order
  void boolean(bool value) { out_.push_back(value ? 0xf5 : 0xf4); }
  void raw(std::span<const uint8_t> item) { out_.insert(out_.end(), item.begin(), item.end()); }  // one encoded item

  const Bytes& out() const { return out_; }
  Bytes take() { return std::move(out_); }

 private:
  void head(uint8_t major, uint64_t argument);
  Bytes out_;
};

// Errors are sticky: after the first one every read returns zero or empty, and error() says what and where.
class CborReader {
 public:
  explicit CborReader(std::span<const uint8_t> in) : in_(in) {}

  enum class Type : uint8_t { kUnsigned, kNegative, kBytes, kText, kArray, kMap, kBool, kOther, kEnd };
  Type peek() const;

  uint64_t unsigned_int();
  int64_t signed_int();  // refuses what int64_t cannot hold
  std::span<const uint8_t> bytes();
  std::string_view text();
  uint64_t array();  // the number of elements, at most the number of bytes left
  uint64_t map();    // the number of pairs, at most half the number of bytes left
  bool boolean();
  void skip();  // one whole item, checked for canonical form; at most 32 levels deep
  void end();   // error unless every byte was read

  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  size_t offset() const { return pos_; }  // of the next item
  size_t error_offset() const { return error_offset_; }
  void fail(std::string_view why);  // at the item read last
  std::span<const uint8_t> since(size_t from) const { return in_.subspan(from, pos_ - from); }

 private:
  uint64_t head(uint8_t major, const char* wanted);
  std::span<const uint8_t> take(uint64_t len);
  void skip_item(unsigned depth);

  std::span<const uint8_t> in_;
  size_t pos_ = 0;
  size_t item_ = 0;
  std::string error_;
  size_t error_offset_ = 0;
};

// Walks the pairs of a map with text keys and enforces their canonical order, which rules out duplicates:
//   CborMap map(reader); std::string_view key; while (map.next(key)) { ... read exactly one value ... }
class CborMap {
 public:
  explicit CborMap(CborReader& reader) : reader_(reader), left_(reader.map()) {}
  bool next(std::string_view& key);

 private:
  CborReader& reader_;
  uint64_t left_;
  std::string_view last_;
  bool first_ = true;
};

// A hash as a byte string of 16; a number with a limit.
void put_hash(CborWriter&, const Hash128&);
Hash128 get_hash(CborReader&);
uint64_t number_up_to(CborReader&, uint64_t max);

}  // namespace dejavm
