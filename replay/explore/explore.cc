#include "replay/explore/explore.h"

#include <algorithm>

#include <fmt/format.h>

#include "devices/core/split_mix.h"
#include "replay/explore/outcomes.h"
#include "replay/record/digest.h"

namespace dejavm {
namespace {

constexpr uint64_t kSlices[] = {50, 200, 1000, 5000, 20'000, kDefaultSlice};

std::string text_of(const ScheduleConfig& s) {
  if (s.kind == ScheduleKind::kRandom) return fmt::format("random:{}", s.seed);
  if (s.kind == ScheduleKind::kPct) return fmt::format("pct:{}:{}:{}", s.depth, s.seed, s.length);
  return "round-robin";
}

constexpr uint64_t kInOrder = ~uint64_t{0};  // the key of the run by round robin

class Search {
 public:
  Search(const AttemptPlan& plan, const ExploreOptions& options, Outcomes outcomes,
         const std::function<void(const ExploredRun&, const ExploreSummary&)>& done)
      : plan_(plan), options_(options), outcomes_(std::move(outcomes)), done_(done), copies_(options.host_limit) {}

  Result<ExploreSummary> run() {
    take_over();
    if (!outcomes_.in_order()) {
      start(kInOrder, false);
      while (copies_.running() > 0)
        if (auto done = wait(); !done) return done.error();
    }
    if (wanted() && outcomes_.in_order()) {
      if (auto done = seeds(); !done) return done.error();
    }
    summary_.ended_early = summary_.runs < options_.seeds;
    return summary_;
  }

 private:
  void take_over() {
    for (uint64_t n = 0; n < options_.seeds; ++n) {
      const auto there = outcomes_.runs().find(options_.first_seed + n);
      if (there == outcomes_.runs().end()) continue;
      count(there->second);
      ++summary_.taken_over;
    }
    if (outcomes_.in_order()) summary_.in_order_bad = outcomes_.in_order()->result.bad;
  }
  void count(const ExploredRun& run) {
    if (run.in_order) {
      summary_.in_order_bad = run.result.bad;
      return;
    }
    ++summary_.runs;
    summary_.bad += run.result.bad ? 1 : 0;
    summary_.unknown += run.result.unknown ? 1 : 0;
  }
  bool wanted() const { return !options_.wanted || options_.wanted(); }
  bool enough() const { return !wanted() || (options_.until_first && summary_.bad > 0); }

  Result<void> seeds() {
    uint64_t next = 0;
    for (;;) {
      for (; next < options_.seeds && copies_.running() < options_.jobs && !enough(); ++next)
        if (!outcomes_.runs().contains(options_.first_seed + next)) start(options_.first_seed + next, false);
      if (copies_.running() == 0) return {};
      if (!wanted()) return {};  // what runs is given up
      if (auto done = wait(); !done) return done;
    }
  }

  static std::string name(uint64_t key) { return key == kInOrder ? "round-robin" : fmt::format("seed-{}", key); }
  std::string base(uint64_t key) const { return options_.folder + "/" + name(key); }
  Attempt attempt(uint64_t key, bool recorded) const {
    Attempt out;
    out.slice = options_.slice != 0 ? options_.slice : kDefaultSlice;
    if (key != kInOrder) {
      const uint64_t begin = plan_.machine.position().retired.value;
      const uint64_t end = std::max(begin + 1, outcomes_.in_order()->result.instructions);  // 0: it had no answer
      const SeedTurns turns = turns_of_seed(options_, key, end - begin);
      out.schedule = turns.schedule;
      out.schedule.from = begin;
      out.slice = turns.slice;
    }
    if (recorded) {
      out.trace = base(key) + ".dvt";
      out.console = base(key) + ".console";
    } else {
      name_files_of_commands(plan_.tests, base(key), out);
    }
    return out;
  }
  void start(uint64_t key, bool recorded) {
    const Attempt what = attempt(key, recorded);
    copies_.start(key, [&] { return run_attempt(plan_, what); });
  }

  ExploredRun run_of(uint64_t key, const AttemptResult& result) const {
    const Attempt made = attempt(key, false);
    return {.in_order = key == kInOrder,
            .seed = key,
            .schedule = text_of(made.schedule),
            .slice = made.slice,
            .result = result,
            .trace = {}};
  }

  // A run that was bad is made once more, recorded.
  Result<void> wait() {
    const auto copy = copies_.wait(std::chrono::milliseconds(200));
    if (!copy || !wanted()) return {};
    AttemptResult result = result_of(*copy);
    const auto before = bad_.find(copy->key);
    if (before != bad_.end()) return recorded(copy->key, before->second, std::move(result));
    run_commands(plan_.tests, attempt(copy->key, false), result);
    if (result.bad) {
      bad_[copy->key] = result;
      start(copy->key, true);
      return {};
    }
    return ended(run_of(copy->key, result));
  }
  Result<void> recorded(uint64_t key, const AttemptResult& first, AttemptResult second) {
    const bool again = second.end == first.end && second.instructions == first.instructions;
    ExploredRun run = run_of(key, first);
    if (second.unknown) run.result = second;
    else if (!again)
      return Error{ErrorKind::kHost,
                   fmt::format("{}: recorded, the run ended otherwise than before: {} at {}, not {} at {}; please "
                               "report this",
                               name(key), second.end, second.instructions, first.end, first.instructions)};
    else run.trace = name(key) + ".dvt";
    return ended(run);
  }
  Result<void> ended(const ExploredRun& run) {
    if (auto done = outcomes_.add(run); !done) return done;
    count(run);
    done_(run, summary_);
    return {};
  }

  const AttemptPlan& plan_;
  const ExploreOptions& options_;
  Outcomes outcomes_;
  const std::function<void(const ExploredRun&, const ExploreSummary&)>& done_;
  ExploreSummary summary_;
  std::map<uint64_t, AttemptResult> bad_;  // being recorded
  Copies copies_;
};

}  // namespace

SeedTurns turns_of_seed(const ExploreOptions& options, uint64_t seed, uint64_t length) {
  SeedTurns out{options.how, options.slice};
  ScheduleConfig& schedule = out.schedule;
  if (schedule.kind == ScheduleKind::kRoundRobin) {
    schedule.kind = seed % 3 == 2 ? ScheduleKind::kPct : ScheduleKind::kRandom;
    if (schedule.kind == ScheduleKind::kPct) schedule.depth = static_cast<uint32_t>(2 + seed / 3 % 3);
  }
  schedule.seed = seed;
  if (schedule.kind == ScheduleKind::kPct && schedule.length == 0) schedule.length = length;
  if (out.slice == 0) out.slice = kSlices[SplitMix64::output(seed, 0) % std::size(kSlices)];
  return out;
}

Result<ExploreSummary> explore(const AttemptPlan& plan, const ExploreOptions& options,
                               const std::function<void(const ExploredRun&, const ExploreSummary&)>& done) {
  auto outcomes = Outcomes::open(plan, options, machine_digest(plan.machine));
  if (!outcomes) return outcomes.error();
  return Search(plan, options, outcomes.take(), done).run();
}

}  // namespace dejavm
