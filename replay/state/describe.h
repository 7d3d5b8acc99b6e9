// What stored chunks say, from the file alone: no schema of this build is needed to print or compare them.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "replay/state/stored_state.h"

namespace dejavm {

// One number or text of a chunk: "channel[2].reload", "1193182 (0x1234de)".
struct FieldText {
  std::string path;
  std::string value;
  size_t end;  // offset in the payload behind the value
};
// All of a payload's, in its order; arrays element by element.
std::vector<FieldText> flatten(std::span<const uint8_t> payload);

// Units by chunk and field without indexes, "vatpit.channel.reload" -> "ticks", from a schema table as files hold it.
std::map<std::string, std::string> field_units(std::span<const uint8_t> schema_table);

struct FieldDifference {
  std::string path;    // "vatpit.channel[2].reload"
  std::string before;  // "-" where there is none
  std::string after;
};
std::vector<FieldDifference> diff_stored(std::span<const StoredChunk> before, std::span<const StoredChunk> after);

}  // namespace dejavm
