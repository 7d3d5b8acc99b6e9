// Whose turn comes next, by each kind of schedule.
#include "vmm/machine/schedule.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace dejavm {
namespace {

struct Game {
  explicit Game(ScheduleConfig how, uint32_t vcpus = 4, uint64_t slice = 1000) {
    config.vcpus = vcpus;
    config.slice = slice;
    config.schedule = how;
    turns.resize(vcpus);
    first_priorities(config, turns);
  }
  NextTurn next(uint64_t can_run, bool paused = false) {
    state.paused = paused ? 1 : 0;
    const NextTurn turn = next_turn(config, state, turns, can_run, {at});
    EXPECT_LT(turn.vcpu, config.vcpus);
    EXPECT_TRUE(can_run >> turn.vcpu & 1);
    EXPECT_GE(turn.instructions, 1u);
    state.current = turn.vcpu;
    ++state.slices;
    turns[turn.vcpu].executed += turn.instructions;
    at += turn.instructions;
    return turn;
  }
  std::vector<std::pair<uint32_t, uint64_t>> play(size_t count, uint64_t can_run = 0xf) {
    std::vector<std::pair<uint32_t, uint64_t>> out;
    for (size_t n = 0; n < count; ++n) {
      const NextTurn turn = next(can_run);
      out.emplace_back(turn.vcpu, turn.instructions);
    }
    return out;
  }
  MachineConfig config;
  Schedule::State state;
  std::vector<VcpuTurn::State> turns;
  uint64_t at = 0;
};

TEST(Schedule, RoundRobinGoesInOrderPastThoseThatCannot) {
  Game game({});
  EXPECT_EQ(game.next(0xf).vcpu, 1u);
  EXPECT_EQ(game.next(0xf).vcpu, 2u);
  EXPECT_EQ(game.next(0x3).vcpu, 0u);
  EXPECT_EQ(game.next(0x8).vcpu, 3u);
  EXPECT_EQ(game.next(0x8).vcpu, 3u);
  EXPECT_EQ(game.next(0xf).instructions, 1000u);
}

TEST(Schedule, ChanceIsTheSeedsAndReachesAll) {
  const ScheduleConfig how{.kind = ScheduleKind::kRandom, .seed = 5};
  const auto turns = Game(how).play(4000);
  EXPECT_EQ(turns, Game(how).play(4000));
  EXPECT_NE(turns, Game({.kind = ScheduleKind::kRandom, .seed = 6}).play(4000));
  std::map<uint32_t, int> count;
  int short_ones = 0;
  for (const auto& [vcpu, instructions] : turns) {
    EXPECT_LE(instructions, 2000u);
    ++count[vcpu];
    short_ones += instructions <= 60 ? 1 : 0;
  }
  EXPECT_EQ(count.size(), 4u);
  EXPECT_GT(short_ones, 4000 / 5);
  EXPECT_LT(short_ones, 4000 / 2);
}

TEST(Schedule, InItsWindowAVcpuOfTheBackgroundWaitsForTheOthers) {
  bool met = false;
  for (uint64_t seed = 0; seed < 20 && !met; ++seed) {
    Game game({.kind = ScheduleKind::kRandom, .seed = seed}, 4, 100);
    std::set<uint32_t> seen;
    while (game.at < 1'000'000) seen.insert(game.next(0xf).vcpu);
    if (seen.size() == 4) continue;
    met = true;
    const uint32_t waits = !seen.contains(0) ? 0 : !seen.contains(1) ? 1 : !seen.contains(2) ? 2 : 3;
    EXPECT_EQ(game.next(uint64_t{1} << waits).vcpu, waits) << "when no other can, it runs";
  }
  EXPECT_TRUE(met);
}

TEST(Schedule, AfterAPauseAnotherRunsByChanceToo) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Game game({.kind = ScheduleKind::kRandom, .seed = seed});
    for (int n = 0; n < 50; ++n) {
      const uint32_t before = game.state.current;
      EXPECT_NE(game.next(0xf, true).vcpu, before);
    }
    EXPECT_EQ(game.next(1, true).vcpu, 0u) << "unless there is none";
  }
  MachineConfig config;
  config.schedule.kind = ScheduleKind::kRandom;
  EXPECT_TRUE(knows_of_pause(config));
  config.revision = 5;
  EXPECT_FALSE(knows_of_pause(config));
}

TEST(Schedule, PctRunsTheFirstByPriorityUntilAChange) {
  const ScheduleConfig how{.kind = ScheduleKind::kPct, .seed = 3, .depth = 3, .length = 100'000};
  Game game(how);
  std::set<uint64_t> different;
  for (const VcpuTurn::State& turn : game.turns) {
    EXPECT_GE(turn.priority, 3u);
    different.insert(turn.priority);
  }
  EXPECT_EQ(different.size(), 4u);
  std::vector<uint32_t> order;  // whose turn it mostly is, change by change
  std::map<uint32_t, int> count;
  uint64_t changes = 0;
  while (game.at < 110'000) {
    ++count[game.next(0xf).vcpu];
    if (game.state.changes != changes || game.at >= 110'000) {
      order.push_back(
          std::max_element(count.begin(), count.end(), [](auto& a, auto& b) { return a.second < b.second; })->first);
      count.clear();
      changes = game.state.changes;
    }
  }
  EXPECT_EQ(game.state.changes, 2u);
  ASSERT_EQ(order.size(), 3u);
  EXPECT_NE(order[0], order[1]);
  EXPECT_NE(order[1], order[2]);
  EXPECT_NE(order[0], order[2]);
  EXPECT_EQ(game.turns[order[0]].priority, 2u);
  EXPECT_EQ(game.turns[order[1]].priority, 1u);
  EXPECT_EQ(Game(how).play(300), Game(how).play(300));
}

TEST(Schedule, AfterAPausePctLetsAnotherRun) {
  Game game({.kind = ScheduleKind::kPct, .seed = 1, .depth = 1});
  for (int n = 0; n < 200; ++n) {
    const uint32_t before = game.state.current;
    EXPECT_NE(game.next(0xf, true).vcpu, before);
  }
  EXPECT_EQ(game.next(1, true).vcpu, 0u) << "unless there is none";
}

TEST(Schedule, LoopsThatWaitWithoutPauseGetWhatTheyWaitFor) {
  Game game({.kind = ScheduleKind::kPct, .seed = 2, .depth = 1});
  std::map<uint32_t, int> count;
  for (int n = 0; n < 4000; ++n) ++count[game.next(0xf).vcpu];
  EXPECT_EQ(count.size(), 4u);
  for (const auto& [vcpu, turns] : count) EXPECT_GT(turns, 10) << vcpu;
}

TEST(Schedule, AListAddsItsSwitchesToRoundRobin) {
  Game game({.kind = ScheduleKind::kList,
             .switches = {{.vcpu = 1, .next = 0, .executed = 300},
                          {.vcpu = 0, .next = 3, .executed = 1100},
                          {.vcpu = 3, .next = 3, .executed = 999},
                          {.vcpu = 3, .next = 1, .executed = 1500}}});
  using Turns = std::vector<std::pair<uint32_t, uint64_t>>;
  EXPECT_EQ(game.play(9),
            (Turns{{1, 300}, {0, 1000}, {1, 1000}, {2, 1000}, {3, 1000}, {0, 100}, {3, 500}, {1, 1000}, {2, 1000}}))
      << "the third switch was behind vCPU 3 before the second came up";
  EXPECT_EQ(game.state.missed, 1u);
  EXPECT_EQ(game.state.changes, 4u);
}

TEST(Schedule, ASwitchOfAListToWhoCannotRunDoesNotComeUp) {
  Game game({.kind = ScheduleKind::kList,
             .switches = {{.vcpu = 1, .next = 3, .executed = 10}, {.vcpu = 1, .next = 2, .executed = 10}}});
  EXPECT_EQ(game.play(2, 0x7), (std::vector<std::pair<uint32_t, uint64_t>>{{1, 10}, {2, 1000}}));
  EXPECT_EQ(game.state.missed, 1u);
}

TEST(Schedule, ASwitchWhereItsVcpuStandsIsDoneWhenItsTurnComes) {
  Game game({.kind = ScheduleKind::kList, .switches = {{.vcpu = 2, .next = 0, .executed = 0}}});
  EXPECT_EQ(game.play(3), (std::vector<std::pair<uint32_t, uint64_t>>{{1, 1000}, {0, 1000}, {1, 1000}}));
}

TEST(Schedule, UntilItBeginsTurnsGoInOrder) {
  Game game({.kind = ScheduleKind::kRandom, .from = 4500, .seed = 5});
  auto expected = Game({}).play(4);
  expected.emplace_back(1, 500);
  EXPECT_EQ(game.play(5), expected);
  EXPECT_NE(game.play(40), Game({}).play(40));
}

}  // namespace
}  // namespace dejavm
