#include "replay/explore/bad_test.h"

#include <fmt/format.h>

namespace dejavm {
namespace {

constexpr size_t kLongestLine = 4096;
constexpr const char* kPanics =
    "Kernel panic|BUG: |Oops|general protection fault|double fault|lockup|blocked for more than|detected stall|"
    "Call Trace:";

struct Word {
  std::string_view text;
  BadKind kind;
  bool takes_text;
};
constexpr Word kWords[] = {
    {"exit", BadKind::kExit, false},      {"panic", BadKind::kPanic, false},    {"hang", BadKind::kHang, false},
    {"console", BadKind::kConsole, true}, {"command", BadKind::kCommand, true}, {"snapshot", BadKind::kSnapshot, true},
};

Result<std::shared_ptr<regex_t>> compile(const std::string& pattern) {
  std::shared_ptr<regex_t> out(new regex_t{}, [](regex_t* r) {
    regfree(r);
    delete r;
  });
  const int error = regcomp(out.get(), pattern.c_str(), REG_EXTENDED | REG_NOSUB);
  if (error == 0) return out;
  char why[256];
  regerror(error, out.get(), why, sizeof why);
  *out = {};
  return Error{ErrorKind::kHost, fmt::format("console:{}: not a regular expression: {}", pattern, why)};
}

}  // namespace

Result<BadTest> BadTest::parse(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string rest = colon == text.npos ? "" : text.substr(colon + 1);
  BadTest out;
  out.text_ = text;
  for (const Word& word : kWords) {
    if (text.substr(0, colon) != word.text || (colon != text.npos) != word.takes_text) continue;
    out.kind_ = word.kind;
    if (word.takes_text && rest.empty()) break;
    if (word.kind != BadKind::kPanic && word.kind != BadKind::kConsole) return out;
    auto pattern = compile(word.kind == BadKind::kPanic ? kPanics : rest);
    if (!pattern) return pattern.error();
    out.pattern_ = pattern.take();
    return out;
  }
  return Error{ErrorKind::kHost, fmt::format("'{}' is no test of a run: there are exit, panic, hang, console:REGEX, "
                                             "command:TEXT and snapshot:TEXT",
                                             text)};
}

Result<std::vector<BadTest>> BadTest::parse_all(const std::vector<std::string>& all) {
  std::vector<BadTest> out;
  for (const std::string& text : all) {
    auto test = parse(text);
    if (!test) return test.error();
    out.push_back(test.take());
  }
  return out;
}

std::string BadTest::command() const { return text_.substr(text_.find(':') + 1); }

bool BadTest::matches(const std::string& line) const {
  return pattern_ && regexec(pattern_.get(), line.c_str(), 0, nullptr, 0) == 0;
}

void WatchedConsole::serial(std::span<const uint8_t> bytes) {
  for (const uint8_t byte : bytes) {
    text_ += static_cast<char>(byte);
    if (byte == '\n') finish_line();
    else if (byte != '\r' && byte != 0 && line_.size() < kLongestLine) line_ += static_cast<char>(byte);
  }
  if (text_.size() > 2 * kKept) text_.erase(0, text_.size() - kKept);
}

void WatchedConsole::finish_line() {
  for (const BadTest& test : tests_) {
    if (matched_ != nullptr || !test.matches(line_)) continue;
    matched_ = &test;
    matching_line_ = line_;
  }
  line_.clear();
}

void WatchedConsole::forget() {
  text_.clear();
  line_.clear();
  matched_ = nullptr;
}

std::string why_bad(const std::vector<BadTest>& tests, const WatchedConsole& console, const RunSummary& s, bool limit) {
  if (console.matched() != nullptr)
    return fmt::format("{}: '{}'", console.matched()->text().substr(0, console.matched()->text().find(':')),
                       console.matching_line());
  for (const BadTest& test : tests) {
    if (test.kind() == BadKind::kHang && s.end == RunEnd::kHaltedForever) return "hang: " + s.detail;
    if (test.kind() == BadKind::kHang && limit)
      return fmt::format("hang: it has not ended after {} instructions", s.instructions);
    if (test.kind() != BadKind::kExit) continue;
    if (s.end == RunEnd::kDebugExit && s.debug_exit > 1) return fmt::format("exit: status {}", s.debug_exit);
    if (s.end == RunEnd::kTripleFault || s.end == RunEnd::kUnimplemented || s.end == RunEnd::kEngineError)
      return "exit: " + s.detail;
  }
  return "";
}

}  // namespace dejavm
