// Schemas as files hold them, so that a file explains itself: an array of [name, version, fields]; every field is
// [name, kind, bytes of an element, elements (0: a scalar), unit, since, members].
#pragma once

#include <span>
#include <string>
#include <vector>

#include "devices/core/fields.h"
#include "replay/store/cbor.h"

namespace dejavm {

void encode_schemas(CborWriter&, std::span<const Schema* const>);
// Checks the form; with `out`, one field a line: "vatpit.channel[3].reload unsigned 2 bytes ticks".
void read_schemas(CborReader&, std::vector<std::string>* out);

}  // namespace dejavm
