#include "replay/state/golden_json.h"

#include <fmt/format.h>

#include "replay/state/golden_files.h"

namespace dejavm {

template <class AnyJson>
Result<AnyJson> read_golden_json(const std::string& folder, const std::string& path) {
  auto bytes = read_golden(folder, path);
  if (!bytes) return bytes.error();
  auto shallow = [](int depth, typename AnyJson::parse_event_t, AnyJson&) { return depth <= 4; };
  AnyJson j = AnyJson::parse(bytes->begin(), bytes->end(), shallow, false);
  if (!j.is_object()) return Error{ErrorKind::kBadInput, fmt::format("{}/{}: is not a JSON object", folder, path)};
  return j;
}

template Result<Json> read_golden_json(const std::string&, const std::string&);
template Result<LookupJson> read_golden_json(const std::string&, const std::string&);

Bytes golden_text(const Json& j) {
  const std::string text = j.dump(1) + "\n";
  return {text.begin(), text.end()};
}

}  // namespace dejavm
