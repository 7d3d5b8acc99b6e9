#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "replay/replay/parts.h"
#include "replay/replay/replay_run.h"

namespace dejavm {
namespace {

struct Part {
  ReplayOptions options;
  std::optional<Progress> first{};
  Progress last{};
  std::optional<Result<ReplaySummary>> result;
};

// Where parts begin: keyframes, about as many instructions apart. The first is the one that the replay starts from.
std::vector<size_t> divide(const TraceReader& trace, size_t from, Retired until, unsigned jobs) {
  const auto& keyframes = trace.keyframes();
  const uint64_t begin = keyframes[from].at.value, end = std::max(begin, limit_of(trace, until).value);
  std::vector<size_t> starts{from};
  for (unsigned j = 1; j < jobs; ++j) {
    const size_t k = keyframe_before(trace, {begin + (end - begin) / jobs * j});
    if (k > starts.back() && keyframes[k].at.value < end) starts.push_back(k);
  }
  return starts;
}

}  // namespace

Result<ReplaySummary> replay_in_parts(const TraceReader& trace, const ReplayOptions& options, unsigned jobs) {
  const size_t from = options.from_keyframe;
  const std::string engine = options.engine.or_else(trace.header().engine).name;
  if (jobs < 2 || from >= trace.keyframes().size() || options.until < trace.keyframes()[from].at ||
      engine != "deterministic" || trace.header().engine == "kvm")
    return replay(trace, nullptr, options);
  const std::vector<size_t> starts = divide(trace, from, options.until, jobs);
  const auto at = [&](size_t part) { return trace.keyframes()[starts[part]].at; };
  std::vector<Part> parts(starts.size());
  std::mutex lock;
  // What the first part has reached, and what the others have done since they first said where they are.
  const auto show = [&](size_t number, const Progress& p) {
    std::scoped_lock held(lock);
    if (!parts[number].first) parts[number].first = p;
    parts[number].last = p;
    Progress all = parts[0].last;
    for (size_t n = 1; n < parts.size(); ++n) {
      if (!parts[n].first) continue;
      all.at.value += parts[n].last.at.value - parts[n].first->at.value;
      all.now.value += parts[n].last.now.value - parts[n].first->now.value;
      all.exits += parts[n].last.exits - parts[n].first->exits;
    }
    all.trace_bytes = p.trace_bytes;
    options.progress(all);
  };
  {
    std::vector<std::jthread> threads;
    for (size_t n = 0; n < parts.size(); ++n) {
      Part& part = parts[n];
      part.options = options;
      part.options.from_keyframe = starts[n];
      if (n + 1 < parts.size()) {
        part.options.until = at(n + 1);
        part.options.at_end = {};
      }
      if (options.progress) part.options.progress = [&show, n](const Progress& p) { show(n, p); };
      if (n + 1 < parts.size())
        threads.emplace_back([&trace, &part] { part.result = replay(trace, nullptr, part.options); });
      else part.result = replay(trace, nullptr, part.options);
    }
  }
  ReplaySummary all = {};
  uint64_t events = 0, keyframes = 0;
  for (Part& part : parts) {  // in the guest's order: the first difference is the one to report
    if (!*part.result) return part.result->error();
    all = **part.result;
    events += all.events;
    keyframes += all.keyframes;
  }
  all.events = events;
  all.keyframes = keyframes - (parts.size() - 1);  // one's last is the next one's first
  return all;
}

}  // namespace dejavm
