#include "replay/explore/schedule_file.h"

#include <charconv>

#include <fmt/format.h>

#include "replay/store/file_io.h"

namespace dejavm {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

std::vector<std::string_view> words_of(std::string_view line) {
  line = line.substr(0, line.find('#'));
  std::vector<std::string_view> out;
  constexpr std::string_view kBlanks = " \t\r";
  for (;;) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == line.npos) return out;
    line.remove_prefix(begin);
    out.push_back(line.substr(0, line.find_first_of(kBlanks)));
    line.remove_prefix(out.back().size());
  }
}

bool parse_number(std::string_view word, uint64_t largest, uint64_t& value) {
  const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc{} && stop == word.data() + word.size() && value <= largest;
}

// What is wrong with a line; empty: nothing.
std::string take_line(const std::vector<std::string_view>& words, ScheduleFile& out) {
  if (words.empty()) return "";
  if (words[0] == "slice") {
    if (!out.switches.empty()) return "the slice comes before the switches";
    if (words.size() != 2 || !parse_number(words[1], kMaxSlice, out.slice) || out.slice == 0)
      return fmt::format("'slice N': N is 1 to {}", kMaxSlice);
    return "";
  }
  uint64_t vcpu = 0;
  uint64_t executed = 0;
  uint64_t next = 0;
  if (words.size() != 3 || !parse_number(words[0], kMaxVcpus - 1, vcpu) ||
      !parse_number(words[1], ~uint64_t{0}, executed) || !parse_number(words[2], kMaxVcpus - 1, next))
    return fmt::format(
        "a switch is a vCPU (0 to {}), the instructions that it has executed, and the vCPU whose turn comes",
        kMaxVcpus - 1);
  if (out.switches.size() == kMaxSwitches) return fmt::format("more than {} switches", kMaxSwitches);
  out.switches.push_back(
      {.vcpu = static_cast<uint32_t>(vcpu), .next = static_cast<uint32_t>(next), .executed = executed});
  return "";
}

}  // namespace

Result<ScheduleFile> parse_schedule(std::string_view name, std::string_view text) {
  ScheduleFile out;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    if (const std::string why = take_line(words_of(text.substr(0, end)), out); !why.empty())
      return Error{ErrorKind::kBadInput, fmt::format("{}: line {}: {}", name, number, why)};
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  return out;
}

Result<ScheduleFile> read_schedule(const std::string& path) {
  auto file = open_file(path);
  if (!file) return file.error();
  if ((*file)->size() > kMaxFileBytes)
    return Error{ErrorKind::kBadInput,
                 fmt::format("{}: {} bytes; a schedule has {} at most", path, (*file)->size(), kMaxFileBytes)};
  std::string text((*file)->size(), '\0');
  if (auto done = (*file)->read_at(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()}); !done)
    return done.error();
  return parse_schedule(path, text);
}

std::string to_text(const ScheduleFile& file) {
  std::string out = fmt::format(
      "# dejavm schedule, {} switches: a vCPU, the instructions that it has executed by then, whose turn comes\n"
      "slice {}\n",
      file.switches.size(), file.slice);
  for (const ScheduledSwitch& one : file.switches) out += fmt::format("{} {} {}\n", one.vcpu, one.executed, one.next);
  return out;
}

}  // namespace dejavm
