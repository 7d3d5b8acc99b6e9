#include "replay/explore/outcomes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/store/file_io.h"
#include "vmm/state/config.h"

namespace dejavm {
namespace {

using nlohmann::json;

std::string line_of(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"; }

json search_of(const AttemptPlan& plan, const ExploreOptions& o, const Hash128& begin) {
  json tests = json::array();
  for (const BadTest& test : plan.tests) tests.push_back(test.text());
  json schedule{{"kind", o.how.kind == ScheduleKind::kPct      ? "pct"
                         : o.how.kind == ScheduleKind::kRandom ? "random"
                                                               : "by seed"}};
  if (o.how.kind == ScheduleKind::kPct) {
    schedule["depth"] = o.how.depth;
    schedule["length"] = o.how.length;
  }
  return {{"explore", 1},
          {"begin", to_hex(begin)},
          {"schedule", schedule},
          {"slice", o.slice},
          {"until_bad", tests},
          {"until", plan.until.value},
          {"until_ns", plan.until_time.value}};
}

json as_json(const ExploredRun& run) {
  const AttemptResult& r = run.result;
  json j{{"outcome", r.unknown ? "unknown" : r.bad ? "bad" : r.limit ? "limit" : "good"}};
  if (!run.in_order) j["seed"] = run.seed;
  j["schedule"] = run.schedule;
  j["slice"] = run.slice;
  if (!r.why.empty()) j["why"] = r.why;
  if (!r.end.empty()) j["end"] = r.end;
  j["instructions"] = r.instructions;
  if (!run.trace.empty()) j["trace"] = run.trace;
  return j;
}

ExploredRun from_json(const json& j) {
  ExploredRun run;
  run.in_order = !j.contains("seed");
  if (!run.in_order) run.seed = j.at("seed");
  run.schedule = j.at("schedule");
  run.slice = j.at("slice");
  const std::string outcome = j.at("outcome");
  run.result.bad = outcome == "bad";
  run.result.unknown = outcome == "unknown";
  run.result.limit = outcome == "limit";
  run.result.why = j.value("why", "");
  run.result.end = j.value("end", "");
  run.result.instructions = j.at("instructions");
  run.trace = j.value("trace", "");
  return run;
}

Result<void> append(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return host_error(path, "open the file", errno);
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = written < 0 ? errno : written == static_cast<ssize_t>(text.size()) ? 0 : ENOSPC;
  ::close(fd);
  return error != 0 ? Result<void>(host_error(path, "write the file", error)) : Result<void>();
}

// A last line that was cut off, as the host went down, is no line.
void drop_partial_line(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(in)), {});
  const size_t end = all.rfind('\n') == all.npos ? 0 : all.rfind('\n') + 1;
  if (end != all.size() && ::truncate(path.c_str(), static_cast<off_t>(end)) != 0) return;
}

}  // namespace

Result<void> Outcomes::take(const std::string& line) {
  try {
    const ExploredRun run = from_json(json::parse(line));
    if (run.in_order) in_order_ = run;
    else runs_[run.seed] = run;
    return {};
  } catch (const json::exception& e) {
    return Error{ErrorKind::kBadInput, fmt::format("{}: not a line of a search: {}", path_, line)};
  }
}

Result<Outcomes> Outcomes::open(const AttemptPlan& plan, const ExploreOptions& options, const Hash128& begin) {
  if (::mkdir(options.folder.c_str(), 0777) != 0 && errno != EEXIST)
    return host_error(options.folder, "create the folder", errno);
  Outcomes out;
  out.path_ = options.folder + "/outcomes.jsonl";
  const json search = search_of(plan, options, begin);
  drop_partial_line(out.path_);
  std::ifstream in(out.path_);
  std::string line;
  if (!std::getline(in, line)) {
    if (auto done = append(out.path_, line_of(search)); !done) return done.error();
    return out;
  }
  const json found = json::parse(line, nullptr, false);
  if (found != search)
    return Error{ErrorKind::kHost,
                 fmt::format("{}: holds another search, with other options or of another machine; choose another "
                             "folder (-o). It has:\n{}\nand this one is:\n{}",
                             out.path_, line, search.dump())};
  while (std::getline(in, line))
    if (auto done = out.take(line); !done) return done.error();
  return out;
}

Result<void> Outcomes::add(const ExploredRun& run) {
  if (auto done = append(path_, line_of(as_json(run))); !done) return done;
  if (run.in_order) in_order_ = run;
  else runs_[run.seed] = run;
  return {};
}

}  // namespace dejavm
