// Device states as deterministic CBOR, from their Schema alone.
//
// A state is a map of its fields' names: unsigned and signed integers and booleans as themselves, arrays of uint8_t as
// byte strings, other arrays as arrays, nested structs as maps. A field with since > 1 is left out while every number
// in it equals its default; written all the same, it is refused (there is one encoding of each state).
//
// decode_state works on a copy: ranges, missing, unknown and duplicate fields and the schema's cross-field rule are all
// checked before `data` is touched. Its errors name chunk, field, byte offset in the payload, and reason.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "devices/core/fields.h"
#include "devices/core/result.h"
#include "replay/state/upgrade.h"
#include "replay/store/cbor.h"

namespace dejavm {

void encode_state(CborWriter&, const Schema&, const void* data);
Bytes encode_state(const Schema&, const void* data);

// A state in memory of its own, for a schema known only at run time.
class StateBuffer {
 public:
  explicit StateBuffer(const Schema& schema) : storage_(schema.size / sizeof(uint64_t) + 1) {}
  void* data() { return storage_.data(); }
  const void* data() const { return storage_.data(); }

 private:
  // Words, not std::max_align_t: that has padding, which nothing clears.
  std::vector<uint64_t> storage_;
};

// `version` is the schema version that wrote the payload; older ones are upgraded (upgrade.h), newer ones are read as
// long as they use no newer field.
Result<void> decode_state(const Schema&, uint32_t instance, uint64_t version, std::span<const uint8_t> payload,
                          void* data, std::span<const Upgrade> upgrades = all_upgrades());

// One number of a state that differs between two states.
struct FieldDiff {
  std::string path;              // "channel[2].reload"
  std::string expected, actual;  // as printed
};
// At most `limit` of them, in declaration order.
std::vector<FieldDiff> diff_states(const Schema&, const void* expected, const void* actual, size_t limit);

// "vatpit" for instance 0, else "vlapic.1".
std::string chunk_name(std::string_view schema_name, uint64_t instance);

}  // namespace dejavm
