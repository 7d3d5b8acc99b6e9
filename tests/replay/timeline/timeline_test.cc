// Going to and fro in a recorded run of the built-in guest: what is found there is what a plain replay finds.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "replay/guest/where.h"
#include "replay/replay/replayer.h"
#include "replay/timeline/timeline.h"
#include "tests/replay/recorded_guest.h"

namespace dejavm {
namespace {

std::unique_ptr<Timeline> open(TimelineOptions options = {}) {
  auto t = Timeline::open(recorded_guest(), nullptr, options);
  CHECK(t.ok());
  return t.take();
}

uint64_t rip(Timeline& t) { return t.machine().engine().registers(0).rip; }

#define ASSERT_DONE(...)                              \
  do {                                                \
    const auto done_ = (__VA_ARGS__);                 \
    ASSERT_TRUE(done_.ok()) << done_.error().message; \
  } while (false)

TEST(MachineTimeline, AnyPlaceFromAnyOtherIsThatOfAReplay) {
  std::mt19937_64 random(1);
  auto t = open();
  const uint64_t span = t->end() - t->begin();
  std::vector<std::pair<Retired, std::string>> known;
  for (int n = 0; n < 8; ++n) {
    const Retired at{random() % (span + 1)};
    auto s = replay(recorded_guest(), nullptr, {.until = at});
    ASSERT_TRUE(s.ok()) << s.error().message;
    known.push_back({at, to_hex(s->digest)});
  }
  for (uint64_t budget : {uint64_t{1} << 30, uint64_t{8} << 20, uint64_t{0}}) {
    auto to_and_fro = open({.memory_budget_bytes = budget});
    for (int n = 0; n < 60; ++n) {
      const auto& [at, digest] = known[random() % known.size()];
      ASSERT_DONE(to_and_fro->seek(at));
      ASSERT_EQ(to_hex(to_and_fro->digest()), digest) << at.value;
      const auto more = random() % 3;
      if (more == 0) {
        ASSERT_DONE(to_and_fro->step());
      }
      if (more == 1) {
        ASSERT_DONE(to_and_fro->step_back());
      }
      if (more == 2) {
        ASSERT_DONE(to_and_fro->seek(Retired{at.value - std::min<uint64_t>(at.value, random() % 100'000)}));
      }
    }
    EXPECT_LE(to_and_fro->checkpoint_bytes(), std::max(budget, uint64_t{16} << 20));
  }
  EXPECT_FALSE(t->seek(t->end() + 1).ok());
}

TEST(MachineTimeline, AThousandStepsBackAndForth) {
  auto t = open();
  const Retired from{t->begin().value + (t->end() - t->begin()) / 2};
  ASSERT_DONE(t->seek(from));
  const std::string digest = to_hex(t->digest());
  std::vector<uint64_t> trail;
  for (int n = 0; n < 1000; ++n) {
    ASSERT_DONE(t->step_back());
    trail.push_back(rip(*t));
  }
  EXPECT_EQ(t->now().at.value, from.value - 1000);
  for (int n = 1000; n-- > 0;) {
    ASSERT_EQ(rip(*t), trail[n]);
    ASSERT_DONE(t->step());
  }
  EXPECT_EQ(to_hex(t->digest()), digest);
}

// What forward() finds one after the other, backward() finds the other way round, in the same states.
TEST(MachineTimeline, BackwardsIsForwardsTheOtherWayRound) {
  std::mt19937_64 random(3);
  auto t = open();
  const uint64_t span = t->end() - t->begin();
  size_t found = 0;
  for (int round = 0; round < 8; ++round) {
    DebugPoints points;
    const Retired from{random() % (span - 300'000)}, to = from + 300'000;
    for (int n = 0; n < 3; ++n) {
      ASSERT_DONE(t->seek(from + random() % 300'000));
      const Registers r = t->machine().engine().registers(0);
      if (round % 2 == 0) points.code.push_back(r.rip);
      else points.data.push_back({r.gpr[4] - 8 * (n + 1), 8, round % 4 == 1, true});
    }
    struct Found {
      DebugPoints::Hit hit;
      std::string digest;  // where backward() stops
    };
    std::vector<Found> all;
    ASSERT_DONE(t->seek(from));
    for (;;) {
      auto stop = t->forward(points, to);
      ASSERT_TRUE(stop.ok()) << stop.error().message;
      if (!stop->hit) break;
      std::string digest;
      if (stop->hit->kind == DebugPoints::Kind::kCode) {
        ASSERT_EQ(rip(*t), stop->hit->address);
        digest = to_hex(t->digest());
      } else if (t->now().at > stop->hit->at) {
        ASSERT_EQ(t->now().at, stop->hit->at + 1);
      }
      if (all.size() < 40) all.push_back({*stop->hit, digest});
      else if (all.size() == 40) break;
    }
    // From after the last one that was kept.
    found += all.size();
    if (all.empty()) continue;
    ASSERT_DONE(t->seek(all.back().hit.at + 1));
    for (size_t n = all.size(); n-- > 0;) {
      auto stop = t->backward(points);
      ASSERT_TRUE(stop.ok()) << stop.error().message;
      ASSERT_TRUE(stop->hit) << n;
      EXPECT_EQ(stop->hit->at, all[n].hit.at);
      EXPECT_EQ(stop->hit->kind, all[n].hit.kind);
      EXPECT_EQ(t->now().at, all[n].hit.at);
      if (!all[n].digest.empty()) {
        EXPECT_EQ(to_hex(t->digest()), all[n].digest);
      }
    }
  }
  EXPECT_GT(found, 100u);
}

TEST(MachineTimeline, TheBeginAndTheEndAreStops) {
  auto t = open();
  DebugPoints never;
  never.code = {0xdead'0000};
  auto stop = t->backward(never);
  ASSERT_TRUE(stop.ok());
  EXPECT_EQ(stop->why, Timeline::Why::kBegin);
  stop = t->forward(never);
  ASSERT_TRUE(stop.ok()) << stop.error().message;
  EXPECT_EQ(stop->why, Timeline::Why::kEnd);
  EXPECT_EQ(t->now().at, t->end());
  EXPECT_EQ(to_hex(t->digest()), to_hex(replay(recorded_guest(), nullptr, {})->digest));
  stop = t->backward(never);
  ASSERT_TRUE(stop.ok()) << stop.error().message;
  EXPECT_EQ(stop->why, Timeline::Why::kBegin);
  EXPECT_EQ(t->now().at, t->begin());
}

}  // namespace
}  // namespace dejavm
