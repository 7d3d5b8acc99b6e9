#include "replay/explore/minimise.h"

#include <algorithm>

#include <fmt/format.h>

namespace dejavm {
namespace {

using Switches = std::vector<ScheduledSwitch>;

Switches without(const Switches& all, size_t begin, size_t end) {
  Switches out(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(begin));
  out.insert(out.end(), all.begin() + static_cast<std::ptrdiff_t>(end), all.end());
  return out;
}

class Minimiser {
 public:
  Minimiser(const AttemptPlan& plan, const ScheduleFile& recorded, const MinimiseOptions& options)
      : plan_(plan), options_(options), slice_(recorded.slice), best_(recorded.switches) {}

  Result<Minimised> run() {
    const std::vector<AttemptResult> first = results({best_, {}});
    if (interrupted()) return interruption();
    if (!first[0].bad)
      return Error{ErrorKind::kHost, fmt::format("by its own switches the run is not bad: {}{}; is it the same test, "
                                                 "with the same limits?",
                                                 first[0].end, first[0].why)};
    if (first[1].bad)
      return Error{ErrorKind::kHost, fmt::format("the guest is bad in order (round robin) already: {}", first[1].why)};
    cut_end();
    cut_begin();
    leave_out_pieces();
    if (!complete_) cut_end();
    return result();
  }

 private:
  Attempt attempt(const Switches& switches, size_t number) const {
    Attempt out;
    out.slice = slice_;
    if (!switches.empty()) out.schedule = {.kind = ScheduleKind::kList, .switches = switches};
    name_files_of_commands(plan_.tests, fmt::format("{}/attempt-{}", options_.scratch, number), out);
    return out;
  }
  // Of each; as many at the same time as there are jobs.
  std::vector<AttemptResult> results(const std::vector<Switches>& all) {
    std::vector<AttemptResult> out(all.size());
    Copies copies(options_.host_limit);
    for (size_t next = 0; next < all.size() || copies.running() > 0;) {
      if (next < all.size() && copies.running() < options_.jobs) {
        const Attempt what = attempt(all[next], next);
        copies.start(next, [&] { return run_attempt(plan_, what); });
        ++next;
        continue;
      }
      const auto done = copies.wait(std::chrono::milliseconds(1000));
      if (!done) continue;
      AttemptResult& result = out[done->key];
      result = result_of(*done);
      run_commands(plan_.tests, attempt(all[done->key], done->key), result);
    }
    attempts_ += all.size();
    if (options_.progress) options_.progress(best_.size(), attempts_);
    return out;
  }
  bool is_bad(const Switches& switches) { return results({switches})[0].bad; }
  // What an interrupted attempt came to tells nothing.
  bool interrupted() const { return options_.wanted && !options_.wanted(); }
  bool enough() const { return attempts_ >= options_.attempts || interrupted(); }

  // A few attempts, which are made in any case. Between a beginning that is good and one that is bad there are two that
  // differ by one switch.
  void cut_end() {
    size_t good = 0;
    size_t bad = best_.size();
    while (bad - good > 1 && !interrupted()) {
      const size_t middle = good + (bad - good) / 2;
      if (is_bad(without(best_, middle, best_.size()))) bad = middle;
      else good = middle;
    }
    best_.resize(bad);
  }
  void cut_begin() {
    size_t bad = 0;
    size_t good = best_.size();
    while (good - bad > 1 && !enough()) {
      const size_t middle = bad + (good - bad) / 2;
      if (is_bad(without(best_, 0, middle))) bad = middle;
      else good = middle;
    }
    best_ = without(best_, 0, bad);
  }

  // Leaves out the first of these pieces without which it is still bad. The same one with any number of jobs.
  bool leave_out_one(size_t pieces) {
    const auto border = [&](size_t n) { return best_.size() * n / pieces; };
    for (size_t n = 0; n < pieces && !enough();) {
      std::vector<Switches> candidates;
      for (; n < pieces && candidates.size() < options_.jobs; ++n)
        candidates.push_back(without(best_, border(n), border(n + 1)));
      const std::vector<AttemptResult> all = results(candidates);
      for (size_t k = 0; k < all.size(); ++k) {
        if (!all[k].bad) continue;
        best_ = std::move(candidates[k]);
        return true;
      }
    }
    return false;
  }
  void leave_out_pieces() {
    size_t pieces = 2;
    while (best_.size() > 1 && !enough()) {
      pieces = std::min(pieces, best_.size());
      if (leave_out_one(pieces)) {
        pieces = std::max<size_t>(pieces - 1, 2);
      } else if (pieces == best_.size()) {
        complete_ = !enough();
        return;
      } else {
        pieces *= 2;
      }
    }
    complete_ = best_.size() == 1;
  }

  static Error interruption() { return {ErrorKind::kHost, "interrupted; nothing was found yet"}; }
  Result<Minimised> result() {
    Minimised out;
    out.bad = {slice_, best_};
    out.good = {slice_, without(best_, best_.size() - 1, best_.size())};
    const std::vector<AttemptResult> all = results({out.bad.switches, out.good.switches});
    out.bad_result = all[0];
    out.good_result = all[1];
    out.attempts = attempts_;
    out.complete = complete_;
    if (interrupted()) return interruption();
    CHECK(out.bad_result.bad);
    if (best_.size() > kMaxSwitches)
      return Error{ErrorKind::kHost, fmt::format("{} switches are left, and a list has {} at most; allow more attempts",
                                                 best_.size(), kMaxSwitches)};
    if (out.good_result.bad || out.good_result.unknown)
      return Error{ErrorKind::kHost, fmt::format("{} switches are left, and without the last of them there is no "
                                                 "answer: {}",
                                                 best_.size(), out.good_result.why)};
    return out;
  }

  const AttemptPlan& plan_;
  const MinimiseOptions& options_;
  uint64_t slice_;
  Switches best_;  // the shortest list so far that is bad
  uint64_t attempts_ = 0;
  bool complete_ = false;
};

}  // namespace

Result<Minimised> minimise(const AttemptPlan& plan, const ScheduleFile& recorded, const MinimiseOptions& options) {
  if (recorded.switches.empty())
    return Error{ErrorKind::kHost, "the run was in order (round robin): there is no switch to be left out"};
  return Minimiser(plan, recorded, options).run();
}

}  // namespace dejavm
