#include "tools/dejavm/control_protocol.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace dejavm::cli {

using nlohmann::json;

json refusal(const std::string& why) { return {{"ok", false}, {"error", why}}; }

bool RequestLines::too_long() const {
  const size_t end = in_.find('\n');
  return (end == std::string::npos ? in_.size() : end) > kMaxLine;
}

json RequestLines::refusal_of_too_long() {
  return refusal(fmt::format("a line of more than {} bytes; goodbye", kMaxLine));
}

std::optional<std::string> RequestLines::next() {
  const size_t end = in_.find('\n');
  if (end == std::string::npos || end > kMaxLine) return std::nullopt;
  std::string line = in_.substr(0, end);
  in_.erase(0, end + 1);
  return line;
}

std::variant<ControlRequest, json> parse_request(const std::string& text) {
  // Nesting is not bounded by the parser, so by what a request may look like: it is flat.
  if (std::count(text.begin(), text.end(), '[') + std::count(text.begin(), text.end(), '{') > 16)
    return refusal("not a request: one flat JSON object");
  std::set<std::string> keys;
  std::string twice;
  const auto note_key = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && !keys.insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return true;
  };
  const json j = json::parse(text, note_key, false);
  if (!j.is_object()) return refusal("not a JSON object");
  if (!twice.empty()) return refusal(fmt::format("'{}' is there twice", twice));
  ControlRequest r;
  if (j.contains("id")) r.id = j["id"];
  auto refuse = [&](const std::string& why) {
    json a = refusal(why);
    if (!r.id.is_null()) a["id"] = r.id;
    return a;
  };
  for (const auto& [key, value] : j.items()) {
    if (key == "id") continue;
    if (key == "command" && value.is_string()) r.command = value;
    else if (key == "file" && value.is_string()) r.file = value;
    else if (key == "engine" && value.is_string()) r.engine = value;
    else if (key == "force" && value.is_boolean()) r.force = value;
    else if (key == "delta" && value.is_boolean()) r.delta = value;
    else if (key == "external_base" && value.is_boolean()) r.external_base = value;
    else return refuse(fmt::format("'{}' is no part of a request, or of another type", key));
  }
  const bool saves = r.command == "checkpoint" || r.command == "suspend" || r.command == "record-start";
  if (!saves && r.command != "pause" && r.command != "resume" && r.command != "status" && r.command != "stop" &&
      r.command != "record-stop" && r.command != "engine")
    return refuse(
        fmt::format("unknown command '{}'; there are checkpoint, suspend, pause, resume, status, stop, record-start, "
                    "record-stop and engine",
                    r.command));
  if ((r.command == "engine") != !r.engine.empty())
    return refuse(r.engine.empty() ? "engine needs the name of one: deterministic, kvm or kvm-step"
                                   : fmt::format("{} takes no engine", r.command));
  if (saves != !r.file.empty())
    return refuse(saves ? fmt::format("{} needs a file", r.command) : fmt::format("{} takes no file", r.command));
  if (r.file.find('\0') != std::string::npos) return refuse("a file name with a zero byte");
  return r;
}

}  // namespace dejavm::cli
