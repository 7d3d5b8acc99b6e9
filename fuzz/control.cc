// What a client may send to the control socket: in whatever pieces it comes, each line is one request or one refusal,
// and both can be sent on as one line of JSON.
#include "fuzz/fuzz.h"

#include "tools/dejavm/control_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm::cli;
  using nlohmann::json;
  RequestLines lines;
  size_t at = 0, seen = 0;
  const size_t piece = size ? 1 + data[0] % 64u : 1;
  while (at < size && !lines.too_long()) {
    const size_t n = std::min(piece, size - at);
    lines.append({reinterpret_cast<const char*>(data) + at, n});
    at += n;
    while (const auto text = lines.next()) {
      CHECK(text->find('\n') == std::string::npos);
      seen += text->size() + 1;
      const auto parsed = parse_request(*text);
      const json* refused = std::get_if<json>(&parsed);
      json answer = refused ? *refused : json{{"ok", true}, {"file", std::get<ControlRequest>(parsed).file}};
      if (!refused) {
        const ControlRequest& r = std::get<ControlRequest>(parsed);
        CHECK(!r.command.empty() && r.file.find('\0') == std::string::npos);
        if (!r.id.is_null()) answer["id"] = r.id;
      } else {
        CHECK(answer["ok"] == false && answer["error"].is_string());
      }
      const std::string sent = answer.dump(-1, ' ', false, json::error_handler_t::replace);
      CHECK(sent.find('\n') == std::string::npos && json::accept(sent));
    }
  }
  CHECK(seen <= at);
  return 0;
}
