// Debug points over the built-in guest: translated code stops exactly where single steps stand, and nothing that the
// guest does changes.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "replay/record/digest.h"
#include "vmm/machine/machine.h"
#include "vmm/soft/soft_engine.h"

namespace dejavm {
namespace {

struct NoInputs final : Inputs {
  Retired next_poll(Position) override { return kForever; }
  Input take(Position, Nanos) override { return {}; }
  Nanos idle(Position, Nanos now, Nanos next_event) override { return next_event == kNever ? now : next_event; }
};

constexpr Retired kBegin{600'000}, kEnd{800'000};

struct Runner {
  Runner(soft::Execution how = soft::Execution::kTranslated) {
    MachineConfig config;
    config.memory_bytes = 32 << 20;
    auto m = Machine::create(config, "deterministic", nullptr);
    CHECK(m.ok());
    machine = m.take();
    CHECK(machine->boot({}).ok());
    soft::set_threshold(machine->engine(), 2);
    to(kBegin);
    soft::set_execution(machine->engine(), how);
  }
  RunEnd to(Retired at) { return machine->run(at, inputs, machine->board()); }
  Registers registers() { return machine->engine().registers(0); }
  std::string digest() { return to_hex(machine_digest(*machine)); }

  std::unique_ptr<Machine> machine;
  NoInputs inputs;
};

using Hits = std::vector<std::tuple<DebugPoints::Kind, uint64_t, uint64_t, uint64_t>>;  // kind, address, its count, RIP
                                                                                        // of the stop

Hits hits(Runner& run, DebugPoints points) {
  Hits out;
  EXPECT_TRUE(run.machine->engine().set_debug_points(0, &points));
  while (run.to(kEnd) == RunEnd::kUntil && points.hit) {
    out.push_back({points.hit->kind, points.hit->address, points.hit->at.value, run.registers().rip});
    if (points.hit->kind == DebugPoints::Kind::kCode) {
      points.known_address = points.hit->address;
      points.known_at = points.hit->at;
    }
    points.hit.reset();
  }
  EXPECT_EQ(run.machine->position().retired, kEnd);
  EXPECT_TRUE(run.machine->engine().set_debug_points(0, nullptr));
  return out;
}

TEST(DebugPoints, CodeStopsWhereStepsStand) {
  Runner steps(soft::Execution::kSteps), plain;
  std::vector<std::pair<uint64_t, uint64_t>> trail;  // count, RIP
  for (Retired at = kBegin; at < kEnd; at = at + 1) {
    trail.push_back({at.value, steps.registers().rip});
    steps.to(at + 1);
  }
  plain.to(kEnd);
  EXPECT_EQ(steps.digest(), plain.digest());
  std::mt19937_64 random(1);
  for (int round = 0; round < 6; ++round) {
    DebugPoints points;
    for (int n = 0; n < 4; ++n) points.code.push_back(trail[random() % trail.size()].second);
    Runner run;
    Hits found = hits(run, points);
    EXPECT_EQ(run.digest(), plain.digest());
    // A step that begins with an interrupt stands elsewhere than where it goes on: those stops come on top.
    std::vector<std::pair<uint64_t, uint64_t>> expected, stops;
    for (const auto& [count, rip] : trail)
      if (std::count(points.code.begin(), points.code.end(), rip)) expected.push_back({count, rip});
    for (const auto& [kind, address, count, rip] : found) {
      EXPECT_EQ(address, rip);
      stops.push_back({count, rip});
    }
    std::vector<std::pair<uint64_t, uint64_t>> missing;
    std::set_difference(expected.begin(), expected.end(), stops.begin(), stops.end(), std::back_inserter(missing));
    EXPECT_LE(missing.size(), expected.size() / 50 + 1);  // interrupted there
    EXPECT_GE(stops.size(), expected.size() - missing.size());
    Runner again(soft::Execution::kSteps);
    EXPECT_EQ(hits(again, points), found);
  }
}

TEST(DebugPoints, DataStopsAfterTheAccess) {
  Runner plain;
  plain.to(kEnd);
  std::mt19937_64 random(2);
  size_t all = 0;
  for (int round = 0; round < 24; ++round) {
    // Near the stack and what its registers point at.
    Runner run, steps(soft::Execution::kSteps);
    const Retired at = kBegin + random() % 150'000;
    run.to(at);
    steps.to(at);
    const Registers r = run.registers();
    DebugPoints points;
    for (int n = 0; n < 4; ++n) {
      const uint64_t near = random() % 4 == 0 ? r.gpr[4] : r.gpr[random() % 16];
      points.data.push_back(
          {near - 64 + random() % 128, 1 + random() % (round % 4 == 3 ? 4096 : 16), round % 3 != 0, round % 3 != 1});
    }
    const Hits found = hits(run, points);
    all += found.size();
    EXPECT_EQ(run.digest(), plain.digest());
    EXPECT_EQ(hits(steps, points), found);
  }
  EXPECT_GT(all, 100u);
}

}  // namespace
}  // namespace dejavm
