#include "vmm/machine/terminal_output.h"

#include <algorithm>
#include <array>

namespace dejavm {
namespace {

constexpr char kEnquiry = 0x05, kEscapeByte = 0x1b, kBell = 0x07, kCancel = 0x18, kSubstitute = 0x1a;

// Private modes that a program may leave behind, and how they usually are.
struct Mode {
  unsigned number;
  bool usually;
};
constexpr Mode kModes[] = {{1, false},    {7, true},     {25, true},    {47, false},   {1000, false},
                           {1002, false}, {1003, false}, {1004, false}, {1005, false}, {1006, false},
                           {1015, false}, {1047, false}, {1049, false}, {2004, false}};

// Whether a control sequence asks the terminal something.
bool asks(std::string_view parameters, std::string_view intermediates, char final_byte) {
  if (intermediates == "$")
    return final_byte == 'p' || final_byte == 'w' || final_byte == 'u';  // DECRQM, DECRQPSR, DECRQTSR
  if (intermediates == "*") return final_byte == 'y';                    // DECRQCRA
  if (!intermediates.empty()) return false;
  switch (final_byte) {
    case 'c':                                      // DA1, DA2, DA3
    case 'n': return true;                         // DSR, CPR
    case 'x': return true;                         // DECREQTPARM
    case 'q': return parameters.starts_with('>');  // XTVERSION
    case 'u': return parameters.starts_with('?');  // keyboard protocol
    case 't': {
      constexpr std::array<std::string_view, 9> kReports = {"11", "13", "14", "15", "16", "18", "19", "20", "21"};
      const std::string_view first = parameters.substr(0, parameters.find(';'));
      return std::find(kReports.begin(), kReports.end(), first) != kReports.end();
    }
    default: return false;
  }
}

bool is_between(char byte, char low, char high) { return byte >= low && byte <= high; }

}  // namespace

std::string TerminalOutput::pass(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) {
    if (where_ == Where::kText) {
      if (byte == kEscapeByte) {
        where_ = Where::kEscape;
        sequence_ = byte;
      } else if (byte != kEnquiry || !quiet_) {
        out += byte;
      }
      continue;
    }
    sequence_ += byte;
    const bool gives_up = byte == kCancel || byte == kSubstitute || sequence_.size() >= kMaxSequenceBytes;
    if (gives_up) {
      out += sequence_;
      where_ = Where::kText;
    } else if (where_ == Where::kEscape) {
      constexpr std::string_view kStrings = "PX]^_";  // DCS, SOS, OSC, PM, APC
      if (byte == '[') where_ = Where::kControlSequence;
      else if (kStrings.find(byte) != std::string_view::npos) where_ = Where::kString;
      else if (!is_between(byte, 0x20, 0x2f)) {
        if (byte != 'Z' || !quiet_) out += sequence_;  // DECID
        where_ = Where::kText;
      }
    } else if (where_ == Where::kControlSequence) {
      if (is_between(byte, 0x40, 0x7e)) end_control_sequence(out);
    } else if (where_ == Where::kString) {
      if (byte == kBell) end_string(out);
      else if (byte == kEscapeByte) where_ = Where::kStringEscape;
    } else if (byte == '\\') {
      end_string(out);
    } else {
      where_ = Where::kString;
    }
  }
  return out;
}

void TerminalOutput::end_control_sequence(std::string& out) {
  where_ = Where::kText;
  const std::string_view body = std::string_view(sequence_).substr(2);
  const char final_byte = body.back();
  const size_t parameter_end = std::min(body.find_first_not_of("0123456789:;<=>?"), body.size() - 1);
  const std::string_view parameters = body.substr(0, parameter_end);
  const std::string_view intermediates = body.substr(parameter_end, body.size() - 1 - parameter_end);
  if (parameters.starts_with('?') && intermediates.empty() && (final_byte == 'h' || final_byte == 'l'))
    note_modes(final_byte == 'h');
  if (final_byte == 'm') coloured_ = parameters != "" && parameters != "0";
  if (!quiet_ || !asks(parameters, intermediates, final_byte)) out += sequence_;
}

// Of strings, those ask that request a setting (DCS $ q, DCS + q) or have a question mark for a value (OSC).
void TerminalOutput::end_string(std::string& out) {
  where_ = Where::kText;
  const std::string_view body = std::string_view(sequence_).substr(2);
  const bool request = sequence_[1] == 'P' && (body.starts_with("$q") || body.starts_with("+q"));
  const bool query = sequence_[1] == ']' && (body.find(";?") != std::string_view::npos);
  if (!quiet_ || !(request || query)) out += sequence_;
}

void TerminalOutput::note_modes(bool set) {
  unsigned number = 0;
  for (const char byte : sequence_.substr(3)) {
    if (is_between(byte, '0', '9')) {
      number = std::min(number * 10 + static_cast<unsigned>(byte - '0'), 100'000u);
      continue;
    }
    for (const Mode& mode : kModes) {
      if (mode.number != number) continue;
      if (set == mode.usually) changed_.erase(number);
      else changed_.insert(number);
    }
    number = 0;
  }
}

std::string TerminalOutput::restore() {
  std::string out;
  if (coloured_) out += "\x1b[0m";
  for (const Mode& mode : kModes)
    if (changed_.contains(mode.number)) out += "\x1b[?" + std::to_string(mode.number) + (mode.usually ? "h" : "l");
  changed_.clear();
  coloured_ = false;
  where_ = Where::kText;
  return out;
}

}  // namespace dejavm
