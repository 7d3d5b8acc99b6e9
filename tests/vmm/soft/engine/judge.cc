// Where translated code and the interpreter differ: takes a recorded run through both from one of its keyframes, compares the whole
// machine at the later ones, and on a difference finds the instruction.
// Usage: judge TRACE [THRESHOLD (50)] [FIRST_KEYFRAME (0)] [KEYFRAMES (all)]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "replay/replayer.h"
#include "replay/snapshot.h"
#include "replay/digest.h"
#include "vmm/soft/translate/options.h"

using namespace dejavm;

namespace {

struct Side {
  const TraceReader& trace;
  size_t keyframe;
  bool translate;
  unsigned threshold;
  // The digest after `to`, run in one go from the keyframe; an empty one if the run does not get there.
  Hash128 run(Retired to, std::function<void(Machine&)> then = {}) const {
    soft::default_translation() = {.on = translate, .threshold = threshold};
    auto s = replay(trace, nullptr, {.from_keyframe = keyframe, .until = to, .at_end = std::move(then)});
    return s ? s->digest : Hash128{};
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::puts("judge TRACE [THRESHOLD] [FIRST] [COUNT]"), 1;
  auto trace = TraceReader::open(argv[1], TraceReader::Check::kHeads);
  if (!trace) return std::puts(trace.error().message.c_str()), 1;
  const unsigned threshold = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 50;
  const size_t first = argc > 3 ? static_cast<size_t>(std::atoi(argv[3])) : 0;
  const size_t count = argc > 4 ? static_cast<size_t>(std::atoi(argv[4])) : ~size_t{0};
  const auto& keyframes = (*trace)->keyframes();
  const Side reference{**trace, first, false, 0}, judged{**trace, first, true, threshold};
  Retired low = keyframes[first].at, high = low;  // equal at low, different at high
  if (argc > 6) low = {std::strtoull(argv[5], nullptr, 0)}, high = {std::strtoull(argv[6], nullptr, 0)};
  for (size_t k = first + 1; k < keyframes.size() && k - first <= count && high == low; ++k) {
    high = keyframes[k].at;
    if (reference.run(high) == judged.run(high)) low = high;
    std::printf("%llu %s\n", static_cast<unsigned long long>(high.value), high == low ? "equal" : "different");
  }
  if (high == low) return 0;
  while (high.value - low.value > 1) {
    const Retired mid{low.value + (high.value - low.value) / 2};
    (reference.run(mid) == judged.run(mid) ? low : high) = mid;
    std::printf("%llu..%llu\n", static_cast<unsigned long long>(low.value), static_cast<unsigned long long>(high.value));
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
