// JSON of goldens. Not for other programs: the library's headers need no JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "devices/core/result.h"
#include "replay/store/cbor.h"

namespace dejavm {

using Json = nlohmann::ordered_json;
using LookupJson = nlohmann::json;  // finds a name among thousands at once, and forgets their order

// The object in a file of the folder; errors name the file. Whatever is nested deeper than goldens are counts as not
// there.
template <class AnyJson = Json>
Result<AnyJson> read_golden_json(const std::string& folder, const std::string& path);
Bytes golden_text(const Json&);  // as such a file holds it

}  // namespace dejavm
