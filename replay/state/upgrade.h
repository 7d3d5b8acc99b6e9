// Older states as newer ones: for a field that was renamed or reshaped. (A field that was added needs nothing: it has a
// default.) An upgrader works on a payload as a tree, before it is decoded.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "devices/core/result.h"
#include "replay/store/cbor.h"

namespace dejavm {

struct CborValue;
using CborArray = std::vector<CborValue>;
using CborFields = std::map<std::string, CborValue, decltype(&cbor_key_less)>;
struct CborValue {
  std::variant<uint64_t, int64_t, bool, std::string, Bytes, CborArray, CborFields> v;
};
CborFields make_fields();
// The payload's bytes must be canonical CBOR of what chunks hold.
Result<CborValue> parse_value(std::span<const uint8_t> payload);
Bytes write_value(const CborValue&);

// Turns a payload of version `to` - 1 into one of version `to`. False: it is not what that version wrote.
struct Upgrade {
  std::string_view chunk;
  uint16_t to;
  bool (*apply)(CborFields&);
};
// Every one there is, by chunk and version. There are none yet: all schemas have version 1.
std::span<const Upgrade> all_upgrades();

// The payload as the schema's version `to` writes it; unchanged where no upgrade applies.
Result<Bytes> upgrade_payload(std::string_view chunk, uint16_t from, uint16_t to, std::span<const uint8_t> payload,
                              std::span<const Upgrade> = all_upgrades());

}  // namespace dejavm
