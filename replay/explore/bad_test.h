// When a run counts as bad, as `explore` and `minimise` are told:
//
//   exit            the guest crashed (triple fault, an instruction that this build lacks), or ended itself through
//                   the debug exit with a number other than 0
//   panic           the console tells of a kernel's panic, oops, BUG or lockup
//   hang            the guest is halted for ever, or has not ended at the limit of instructions or time
//   console:REGEX   a line of the console matches (POSIX extended)
//   command:TEXT    a shell command fails; $DEJAVM_CONSOLE is a file of what the guest printed
//   snapshot:TEXT   the same, and $DEJAVM_SNAPSHOT is the machine at its end
#pragma once

#include <regex.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "replay/record/recorder.h"
#include "vmm/machine/machine.h"

namespace dejavm {

enum class BadKind : uint8_t { kExit, kPanic, kHang, kConsole, kCommand, kSnapshot };

class BadTest {
 public:
  static Result<BadTest> parse(const std::string& text);  // ErrorKind::kHost
  static Result<std::vector<BadTest>> parse_all(const std::vector<std::string>&);
  BadKind kind() const { return kind_; }
  const std::string& text() const { return text_; }  // as given
  std::string command() const;                       // of kCommand, kSnapshot
  bool matches(const std::string& line) const;       // of kPanic and kConsole
  bool is_command() const { return kind_ == BadKind::kCommand || kind_ == BadKind::kSnapshot; }

 private:
  BadKind kind_ = BadKind::kExit;
  std::string text_;
  std::shared_ptr<regex_t> pattern_;
};

// What the guest prints, kept and looked through line by line.
class WatchedConsole final : public Console {
 public:
  static constexpr size_t kKept = 64 << 20;  // the last of it
  explicit WatchedConsole(std::vector<BadTest> tests) : tests_(std::move(tests)) {}
  void serial(std::span<const uint8_t> bytes) override;
  void debug(uint8_t) override {}
  void finish_line();  // what has no end of its line yet is one, too
  // The first test that matched, and the line; nullptr: none.
  const BadTest* matched() const { return matched_; }
  const std::string& matching_line() const { return matching_line_; }
  const std::string& text() const { return text_; }
  void forget();  // what was printed so far

 private:
  std::vector<BadTest> tests_;
  const BadTest* matched_ = nullptr;
  std::string line_;
  std::string matching_line_;
  std::string text_;
};

// Why the run was bad, by all tests but commands; empty: it was not. `limit`: it was stopped by a limit.
std::string why_bad(const std::vector<BadTest>&, const WatchedConsole&, const RunSummary&, bool limit);

}  // namespace dejavm
