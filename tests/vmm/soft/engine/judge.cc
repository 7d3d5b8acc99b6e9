// Judges translated code by single-stepping, on a recorded run.
//   judge windows TRACE [WINDOWS (100)] [SEED (1)] [LENGTH (20000)]
//     At random places of the run, so many instructions are executed alone, decoded afresh, by one machine, and as
//     translated code by another (of a threshold drawn from 1, 2, 10, 50); the whole machines must be the same after
//     each window.
//   judge find TRACE [THRESHOLD (50)] [FIRST_KEYFRAME (0)] [KEYFRAMES (all)] [LOW HIGH]
//     Interpreted against translated from one keyframe on, compared at the later ones; a difference is traced to its
//     instruction.
// Exit status: 0 the same, 4 a difference.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "replay/record/digest.h"
#include "replay/replay/replayer.h"
#include "replay/state/stored_state.h"
#include "replay/timeline/timeline.h"
#include "vmm/soft/soft_engine.h"

using namespace dejavm;

namespace {

struct Side {
  const TraceReader& trace;
  size_t keyframe;
  bool translate;
  unsigned threshold;
  // The digest after `to`, run in one go from the keyframe; an empty one if the run does not get there.
  Hash128 run(Retired to, std::function<void(Machine&)> then = {}) const {
    const EngineChoice engine("", {.on = translate, .threshold = threshold});
    auto s =
        replay(trace, nullptr, {.from_keyframe = keyframe, .until = to, .engine = engine, .at_end = std::move(then)});
    return s ? s->digest : Hash128{};
  }
};

int find(const std::unique_ptr<TraceReader>* trace, int argc, char** argv) {
  const unsigned threshold = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 50;
  const size_t first = argc > 3 ? static_cast<size_t>(std::atoi(argv[3])) : 0;
  const size_t count = argc > 4 ? static_cast<size_t>(std::atoi(argv[4])) : ~size_t{0};
  const auto& keyframes = (*trace)->keyframes();
  const Side reference{**trace, first, false, 0}, judged{**trace, first, true, threshold};
  Retired low = keyframes[first].at, high = low;  // equal at low, different at high
  if (argc > 6) {
    low = {std::strtoull(argv[5], nullptr, 0)};
    high = {std::strtoull(argv[6], nullptr, 0)};
  }
  for (size_t k = first + 1; k < keyframes.size() && k - first <= count && high == low; ++k) {
    high = keyframes[k].at;
    if (reference.run(high) == judged.run(high)) low = high;
    std::printf("%llu %s\n", static_cast<unsigned long long>(high.value), high == low ? "equal" : "different");
  }
  if (high == low) return 0;
  while (high.value - low.value > 1) {
    const Retired mid{low.value + (high.value - low.value) / 2};
    (reference.run(mid) == judged.run(mid) ? low : high) = mid;
    std::printf("%llu..%llu\n", static_cast<unsigned long long>(low.value),
                static_cast<unsigned long long>(high.value));
  }
  // A block that the end of the run cuts short is interpreted: the difference is in the block that ends here.
  for (uint64_t at = low.value - std::min<uint64_t>(low.value - keyframes[first].at.value, 20); at <= low.value; ++at)
    reference.run({at}, [](Machine& m) { std::puts(describe_instruction(m).c_str()); });
  Snapshot expected;
  reference.run(high, [&](Machine& m) {
    MemorySummer summer;
    mark_all_written(m);
    expected = take_snapshot(m, summer);
  });
  judged.run(high, [&](Machine& m) {
    for (const std::string& line : diff_chunks(expected.chunks, m.chunks(), 40)) std::printf("  %s\n", line.c_str());
  });
  return 4;
}

// --- windows ---

int windows(const TraceReader& trace, int argc, char** argv) {
  const auto number = [&](int n, uint64_t otherwise) {
    return argc > n ? std::strtoull(argv[n], nullptr, 0) : otherwise;
  };
  const uint64_t count = number(1, 100), seed = number(2, 1), length = number(3, 20000);
  std::mt19937_64 random(seed);  // the same everywhere, unlike the distributions
  auto open = [&] {
    auto t = Timeline::open(trace, nullptr);
    if (!t) {
      std::puts(t.error().message.c_str());
      std::exit(1);
    }
    return t.take();
  };
  auto steps = open();
  std::vector<uint64_t> at(count);
  const uint64_t begin = steps->begin().value, span = steps->end().value - begin;
  for (uint64_t& a : at) a = begin + random() % span;
  std::sort(at.begin(), at.end());
  static constexpr unsigned kThresholds[] = {1, 2, 10, 50};
  auto hot = open();
  for (uint64_t n = 0; n < count; ++n) {
    const Retired from{at[n]}, to{std::min(at[n] + length, begin + span)};
    if (n > 0 && from.value < at[n - 1] + length) continue;  // it would go back
    for (Timeline* t : {steps.get(), hot.get()})
      if (auto done = t->seek(from); !done) {
        std::puts(done.error().message.c_str());
        return 4;
      }
    soft::set_execution(steps->machine().engine(), soft::Execution::kSteps);
    const Retired now = steps->machine().position().retired;
    if (auto done = steps->seek(to); !done) {
      std::puts(done.error().message.c_str());
      return 4;
    }
    soft::set_threshold(hot->machine().engine(), kThresholds[random() % 4]);
    if (auto done = hot->seek(to); !done) {
      std::puts(done.error().message.c_str());
      return 4;
    }
    if (steps->digest() != hot->digest()) {
      std::printf("windows: different after instructions %llu to %llu (seed %llu)\n",
                  static_cast<unsigned long long>(now.value), static_cast<unsigned long long>(to.value),
                  static_cast<unsigned long long>(seed));
      MemorySummer a;
      const Snapshot expected = take_snapshot(steps->machine(), a);
      for (const std::string& line : diff_chunks(expected.chunks, hot->machine().chunks(), 40))
        std::printf("  %s\n", line.c_str());
      return 4;
    }
    soft::set_execution(steps->machine().engine(), soft::Execution::kTranslated);
    soft::set_threshold(hot->machine().engine(), 50);
  }
  std::printf("windows: %llu of %llu instructions each, the same (seed %llu)\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(length), static_cast<unsigned long long>(seed));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  if (what != "windows" && what != "find") {
    std::puts("judge windows|find TRACE ...");
    return 1;
  }
  auto trace = TraceReader::open(argv[2], TraceReader::Check::kHeads);
  if (!trace) {
    std::puts(trace.error().message.c_str());
    return 1;
  }
  return what == "windows" ? windows(**trace, argc - 2, argv + 2) : find(&*trace, argc - 1, argv + 1);
}
