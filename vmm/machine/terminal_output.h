// A guest's output on its way to a terminal of the host's: what it has switched there is switched back at the end, and,
// on wish, what would make the terminal answer is left out. Sources: ECMA-48 (control sequences, 5.4; control
// strings, 5.6); xterm's ctlseqs.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace dejavm {

class TerminalOutput {
 public:
  // quiet: no question reaches the terminal: ENQ, reports of status, attributes, modes, colours, sizes. For output that
  // is shown again, whose answers nobody reads.
  explicit TerminalOutput(bool quiet) : quiet_(quiet) {}
  // What is to be written for these bytes. A sequence that is not complete is kept until it is, up to
  // kMaxSequenceBytes.
  std::string pass(std::string_view bytes);
  // What brings the terminal back: to its usual screen, with a cursor, without mouse reports, bracketed paste and
  // colours.
  std::string restore();

 private:
  static constexpr size_t kMaxSequenceBytes = 4096;
  enum class Where : uint8_t { kText, kEscape, kControlSequence, kString, kStringEscape };
  void end_control_sequence(std::string& out);
  void end_string(std::string& out);
  void note_modes(bool set);

  bool quiet_;
  bool coloured_ = false;
  Where where_ = Where::kText;
  std::string sequence_;        // from its ESC on
  std::set<unsigned> changed_;  // private modes that are not as they usually are
};

}  // namespace dejavm
