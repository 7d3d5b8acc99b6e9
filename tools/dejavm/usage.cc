#include "tools/dejavm/usage.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "tools/dejavm/options.h"

namespace dejavm::cli {
namespace {

// How many letters have to be changed, added or left out to make `b` of `a` (Levenshtein).
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row[b.size()];
}

std::string suggestion(const std::string& typed, const std::vector<std::string>& names) {
  const size_t near = 1 + typed.size() / 4;
  std::string best;
  size_t best_distance = near + 1;
  for (const std::string& name : names) {
    const size_t d = name.starts_with(typed) ? 1 : distance(typed, name);
    if (d >= best_distance) continue;
    best = name;
    best_distance = d;
  }
  return best.empty() ? "" : fmt::format("; did you mean '{}'?", best);
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* o : app.get_options())
    for (const std::string& name : o->get_lnames()) out.push_back("--" + name);
  return out;
}

const CLI::App* command_of(const CLI::App& app, const std::string& name) {
  for (const CLI::App* s : app.get_subcommands({}))
    if (s->get_name() == name) return s;
  return nullptr;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* s : app.get_subcommands({})) out.push_back(s->get_name());
  return out;
}

bool takes(const CLI::App& app, const std::string& option) {
  const std::vector<std::string> names = option_names(app);
  return std::find(names.begin(), names.end(), option) != names.end();
}

// What on the command line nobody knows, in words, or nothing. `command` becomes the command that it belongs to.
std::string unknown_word(const CLI::App& app, int argc, const char* const* argv, std::string& command) {
  const CLI::App* at = &app;
  for (int n = 1; n < argc; ++n) {
    const std::string word = argv[n];
    if (word == "--") break;
    const std::string option = word.substr(0, word.find('='));
    if (word.starts_with("--") && !takes(*at, option) && !(at->get_parent() && takes(*at->get_parent(), option)))
      return fmt::format("unknown option '{}'{}", option, suggestion(option, option_names(*at)));
    if (word.starts_with("-")) continue;
    const CLI::App* next = command_of(*at, word);
    const bool wants_command = at->get_require_subcommand_min() > 0;
    const bool only_commands =
        wants_command && at->get_options([](const CLI::Option* o) { return o->get_positional(); }).empty();
    if (next == nullptr && only_commands)
      return fmt::format("unknown command '{}'{}", word, suggestion(word, command_names(*at)));
    if (next == nullptr) continue;
    at = next;
    command += " " + word;
  }
  return {};
}

}  // namespace

int answer_parse_error(const CLI::App& app, const CLI::ParseError& e, int argc, const char* const* argv) {
  if (e.get_exit_code() == 0) return app.exit(e) == 0 ? kDone : kUsage;
  if (argc <= 1) {
    std::puts(app.help().c_str());
    return kUsage;
  }
  std::string command = "dejavm";
  std::string why = unknown_word(app, argc, argv, command);
  if (why.empty()) why = e.what();
  std::fputs(fmt::format("dejavm: {}\nTry '{} --help'.\n", why, command).c_str(), stderr);
  return kUsage;
}

}  // namespace dejavm::cli
