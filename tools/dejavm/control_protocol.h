// The control protocol's words (docs/control.md), apart from any socket: bytes to lines, a line to a request or its
// refusal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <nlohmann/json.hpp>

namespace dejavm::cli {

struct ControlRequest {
  uint64_t client = 0;
  nlohmann::json id;  // as the client gave it
  std::string command, file, engine;
  bool force = false, delta = false, external_base = false;
};

// What a client sends, in pieces of any size.
class RequestLines {
 public:
  static constexpr size_t kMaxLine = 64 << 10;
  void append(std::string_view bytes) { in_ += bytes; }
  std::optional<std::string> next();  // without the newline; none: there is no whole one, or too_long()
  bool too_long() const;              // what comes next is longer than kMaxLine
  static nlohmann::json refusal_of_too_long();

 private:
  std::string in_;
};

nlohmann::json refusal(const std::string& why);
// A request, or what is to be answered at once.
std::variant<ControlRequest, nlohmann::json> parse_request(const std::string& line);

}  // namespace dejavm::cli
