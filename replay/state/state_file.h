// A file of device states alone, with their schemas: what golden states are kept in, and another program's models too.
// The format is defined by golden-snapshots/FORMAT.md, "State files".
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/fields.h"
#include "devices/core/result.h"
#include "replay/state/stored_state.h"

namespace dejavm {

struct StateFile {
  std::string writer;  // the program, for people: "dejavm 0.1.0"
  Bytes schema_table;  // as in the file; schema_table.h prints it
  std::vector<StoredChunk> chunks;
};

Bytes encode_state_file(std::string_view writer, std::span<const Schema* const>, std::span<const StoredChunk>);
// Checks the form and the seal; whether a chunk is a state is for decode_state. Errors name chunk or byte, and the
// reason. `accept_damage`: not the seal, to look at what is there.
Result<StateFile> decode_state_file(std::span<const uint8_t> bytes, bool accept_damage = false);

}  // namespace dejavm
