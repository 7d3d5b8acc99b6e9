#include "tools/dejavm/vcpu_options.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "replay/explore/schedule_file.h"

namespace dejavm::cli {
namespace {

constexpr const char* kOption = "--schedule";
constexpr std::string_view kFile = "file:";

uint64_t parse_count(const std::string& text) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stop != end)
    throw CLI::ValidationError(kOption, "not a number: '" + text + "'");
  return value;
}

// file: is the caller's.
ScheduleConfig parse_schedule(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text + ":");
  for (std::string word; std::getline(in, word, ':');) words.push_back(word);
  const auto value = [&](size_t n, uint64_t otherwise) { return words.size() > n ? parse_count(words[n]) : otherwise; };
  ScheduleConfig s;
  if (text == "round-robin") return s;
  if (words[0] == "random" && words.size() <= 2) {
    s.kind = ScheduleKind::kRandom;
    s.seed = value(1, 0);
    return s;
  }
  if (words[0] != "pct" || words.size() < 2 || words.size() > 4)
    throw CLI::ValidationError(kOption, "'" + text +
                                            "': it is round-robin, random[:SEED], pct:DEPTH[:SEED[:INSTRUCTIONS]] or "
                                            "file:PATH");
  const uint64_t depth = value(1, 1);
  if (depth < 1 || depth > kMaxPctDepth)
    throw CLI::ValidationError(kOption, "a depth of " + words[1] + "; it is 1 to " + std::to_string(kMaxPctDepth));
  s.kind = ScheduleKind::kPct;
  s.depth = static_cast<uint32_t>(depth);
  s.seed = value(2, 0);
  s.length = value(3, 0);
  return s;
}

}  // namespace

void add_vcpu_options(CLI::App& app, Options& o) {
  app.add_option("--vcpus", o.config.vcpus,
                 "processors of the guest, 1 to 64; they take turns, always in the same way [1]")
      ->type_name("N")
      ->check(CLI::Range(uint32_t{1}, kMaxVcpus));
  add_schedule_options(app, o);
}

void add_schedule_options(CLI::App& app, Options& o) {
  app.add_option(
         "--slice", o.config.slice,
         "instructions that a vCPU executes before it is the next one's turn, unless it halts or pauses earlier; few "
         "show more races, many are faster [50000]")
      ->type_name("N")
      ->check(CLI::Range(uint64_t{1}, kMaxSlice));
  app.add_option_function<std::string>(
         kOption,
         [&o](const std::string& text) {
           if (text.starts_with(kFile)) o.schedule_file = text.substr(kFile.size());
           else o.config.schedule = parse_schedule(text);
         },
         "whose turn it is: round-robin; random[:SEED], turns of chance; pct:DEPTH[:SEED[:INSTRUCTIONS]], by "
         "priorities that change DEPTH-1 times within so many instructions; or file:PATH, switches as 'trace schedule' "
         "writes them, with a slice of their own [round-robin]")
      ->type_name("HOW");
}

void settle_vcpu_options(Options& o) {
  if (o.config.vcpus == 1 && o.snapshot.empty()) {
    o.config.slice = kDefaultSlice;
    o.config.schedule = {};
  }
}

void settle_length(Options& o, uint64_t begin) {
  constexpr uint64_t kUsualLength = 1'000'000'000;
  ScheduleConfig& schedule = o.config.schedule;
  if (schedule.kind == ScheduleKind::kPct && schedule.length == 0)
    schedule.length = o.max_instructions > begin ? o.max_instructions - begin : kUsualLength;
}

Result<void> read_schedule_of(Options& o) {
  if (o.schedule_file.empty() || o.config.vcpus == 1) return {};
  auto file = read_schedule(o.schedule_file);
  if (!file) return file.error();
  for (const ScheduledSwitch& one : file->switches)
    if (const uint32_t vcpu = std::max(one.vcpu, one.next); vcpu >= o.config.vcpus)
      return Error{ErrorKind::kBadInput, fmt::format("{}: a switch names vCPU {}, and the machine has {} (--vcpus)",
                                                     o.schedule_file, vcpu, o.config.vcpus)};
  o.config.slice = file->slice;
  o.config.schedule = {};
  if (file->switches.empty()) return {};
  o.config.schedule.kind = ScheduleKind::kList;
  o.config.schedule.switches = std::move(file->switches);
  return {};
}

}  // namespace dejavm::cli
