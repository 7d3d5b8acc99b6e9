// Expectations: IA-PC HPET Specification 1.0a, sections 2.3 and 2.4.
#include "devices/vhpet.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace dejavm {
namespace {

constexpr uint64_t kCap = 0, kConf = 0x10, kSta = 0x20, kCnt = 0xf0;
constexpr uint64_t tn_conf(unsigned n) { return 0x100 + 0x20 * n; }
constexpr uint64_t tn_cmp(unsigned n) { return 0x108 + 0x20 * n; }
constexpr uint64_t kEdge = 0x4, kLevelOn = 0x6, kPeriodicOn = 0x8, kValSet = 0x40, k32 = 0x100;
constexpr uint64_t pin(uint64_t p) { return p << 9; }

class Hpet : public testing::Test {
 protected:
  Hpet() {
    schema_of<Vhpet>();
    Vhpet::reset(s);
  }
  ~Hpet() override { EXPECT_EQ(Vhpet::invalid(s), nullptr); }
  uint64_t in(uint64_t offset, unsigned size = 8) { return Vhpet::read(s, {tick * 100}, offset, size); }
  void out(uint64_t offset, uint64_t value, unsigned size = 8) { Vhpet::write(s, {tick * 100}, offset, size, value); }
  uint64_t lines_at(uint64_t t) {
    tick = t;
    Vhpet::advance(s, {tick * 100});
    return Vhpet::lines(s);
  }
  uint64_t next_tick() {
    const Nanos next = Vhpet::next_event(s);
    EXPECT_EQ(next == kNever ? 0 : next.value % 100, 0u);
    return next == kNever ? 0 : next.value / 100;
  }
  Vhpet::State s;
  uint64_t tick = 0;
};

TEST_F(Hpet, Section2_3_4_CapabilitiesNameAnIntel10MhzBlockOfThreeTimers) {
  EXPECT_EQ(in(kCap), 0x05f5e1008086a201u);
  EXPECT_EQ(in(tn_conf(0)), 0x00f0000000008030u);
  EXPECT_EQ(in(tn_conf(1)), 0x00f0000000008020u);
  EXPECT_EQ(in(tn_conf(2)), 0x00f0000000008020u);
  for (unsigned n = 0; n < 3; ++n) EXPECT_EQ(in(tn_cmp(n)), ~uint64_t{0});
  EXPECT_EQ(in(kConf), 0u);
  EXPECT_EQ(in(kSta), 0u);
}

TEST_F(Hpet, Section2_3_5_TheCounterRunsOnlyWhileEnabledAndKeepsItsValue) {
  tick = 50;
  EXPECT_EQ(in(kCnt), 0u);
  out(kConf, 1);
  tick = 150;
  EXPECT_EQ(in(kCnt), 100u);
  out(kConf, 0);
  tick = 1000;
  EXPECT_EQ(in(kCnt), 100u);
  out(kCnt, 0xffffffffffffffff);
  out(kConf, 1);
  tick = 1002;
  EXPECT_EQ(in(kCnt), 1u);
}

TEST_F(Hpet, Section2_3_2_AccessesOfAnyWidthReachTheirBytes) {
  out(kCnt, 0x1122334455667788);
  EXPECT_EQ(in(kCnt, 4), 0x55667788u);
  EXPECT_EQ(in(kCnt + 4, 4), 0x11223344u);
  EXPECT_EQ(in(kCnt + 3, 1), 0x55u);
  EXPECT_EQ(in(kCnt + 6, 4), 0x00001122u);
  out(kCnt + 4, 0xaabbccdd, 4);
  out(kCnt + 1, 0xee, 1);
  EXPECT_EQ(in(kCnt), 0xaabbccdd5566ee88u);
  EXPECT_EQ(in(0x3fc, 8), 0xffffffff00000000u);
  EXPECT_EQ(in(0x400, 4), 0xffffffffu);
  EXPECT_EQ(in(0x160), 0u);
}

TEST_F(Hpet, Section2_3_8_OnlyAllowedPinsAndBitsAreStored) {
  out(tn_conf(1), ~uint64_t{0});
  EXPECT_EQ(in(tn_conf(1)) & 0xffffffff, 0xc126u);  // pin 31 is refused, and so is periodic mode
  for (uint64_t p = 20; p <= 23; ++p) {
    out(tn_conf(1), pin(p));
    EXPECT_EQ(in(tn_conf(1)) >> 9 & 31, p);
  }
  out(tn_conf(1), pin(19));
  EXPECT_EQ(in(tn_conf(1)) >> 9 & 31, 23u);
}

// 2.3.9.3 and 2.3.10
TEST_F(Hpet, Section2_3_9_3_AnEdgeMayGoAsAMessageInsteadOfOnALine) {
  out(tn_conf(2), kEdge | pin(21) | 1 << 14);
  out(tn_conf(2) + 0x10, 0xfee0300000000045);
  out(tn_cmp(2), 1000);
  out(kConf, 1);
  EXPECT_EQ(next_tick(), 1000u);
  BusMessage message;
  EXPECT_EQ(lines_at(999), 0u);
  EXPECT_FALSE(Vhpet::pop_message(s, message));
  EXPECT_EQ(lines_at(1000), 0u);
  ASSERT_TRUE(Vhpet::pop_message(s, message));
  EXPECT_EQ(message.vector, 0x45);
  EXPECT_EQ(message.destination, 3u);
  EXPECT_EQ(message.delivery, Delivery::kFixed);
  EXPECT_FALSE(message.level);
  EXPECT_FALSE(Vhpet::pop_message(s, message));
}

TEST_F(Hpet, Section2_3_8_AnEdgeRisesAtItsTickAndFallsATickBeforeTheNextMatch) {
  out(tn_conf(1), kEdge | pin(21));
  out(tn_cmp(1), 1000);
  out(kConf, 1);
  EXPECT_EQ(next_tick(), 1000u);
  EXPECT_EQ(lines_at(999), 0u);
  EXPECT_EQ(lines_at(1000), 1u << 21);
  EXPECT_EQ(in(kSta), 0u);
  EXPECT_EQ(Vhpet::next_event(s), kNever);
  out(tn_cmp(1), 5000);
  EXPECT_EQ(Vhpet::lines(s), 1u << 21);
  EXPECT_EQ(next_tick(), 4999u);
  EXPECT_EQ(lines_at(4998), 1u << 21);
  EXPECT_EQ(lines_at(4999), 0u);
  EXPECT_EQ(next_tick(), 5000u);
  EXPECT_EQ(lines_at(5000), 1u << 21);
}

TEST_F(Hpet, Section2_3_8_AnEdgeTimersLineFallsWithTheCounterOrItsSetup) {
  const uint64_t changes[][2] = {{kConf, 0},
                                 {kConf, 3},
                                 {tn_conf(1), pin(21)},
                                 {tn_conf(1), kEdge | pin(22)},
                                 {tn_conf(1), kLevelOn | pin(21)},
                                 {tn_conf(1), kEdge | pin(21) | 1 << 14}};
  for (const auto& [reg, value] : changes) {
    Vhpet::reset(s);
    tick = 0;
    out(tn_conf(1), kEdge | pin(21));
    out(tn_cmp(1), 10);
    out(kConf, 1);
    EXPECT_EQ(lines_at(10), 1u << 21);
    out(tn_conf(1), kEdge | pin(21));  // no change
    EXPECT_EQ(Vhpet::lines(s), 1u << 21);
    out(reg, value);
    EXPECT_EQ(Vhpet::lines(s) & 0xffffffff, 0u);
    out(tn_conf(1), kEdge | pin(21));
    out(kConf, 1);
    EXPECT_EQ(Vhpet::lines(s), 0u);  // and does not rise again by itself
  }
}

TEST_F(Hpet, Section2_3_6_ALevelStaysUntilItsStatusIsWrittenOne) {
  out(tn_conf(2), kLevelOn | pin(22));
  out(tn_cmp(2), 5);
  out(kConf, 1);
  EXPECT_EQ(lines_at(5), 1u << 22);
  EXPECT_EQ(Vhpet::next_event(s), kNever);
  EXPECT_EQ(lines_at(500), 1u << 22);
  EXPECT_EQ(in(kSta), 4u);
  out(kSta, 3);
  EXPECT_EQ(in(kSta), 4u);
  out(kConf, 0);
  EXPECT_EQ(Vhpet::lines(s), 0u);  // halted timers interrupt nobody, the status stays
  EXPECT_EQ(in(kSta), 4u);
  out(kConf, 1);
  EXPECT_EQ(Vhpet::lines(s), 1u << 22);
  out(kSta, 4);
  EXPECT_EQ(in(kSta), 0u);
  EXPECT_EQ(Vhpet::lines(s), 0u);
}

TEST_F(Hpet, Section2_3_6_ADisabledTimerSetsItsStatusOnly) {
  out(tn_conf(2), 0x2 | pin(22));
  out(tn_cmp(2), 5);
  out(kConf, 1);
  EXPECT_EQ(Vhpet::next_event(s), kNever);
  EXPECT_EQ(lines_at(5), 0u);
  EXPECT_EQ(in(kSta), 4u);
}

TEST_F(Hpet, Section2_3_5_LegacyReplacementTakesIrq0AndIrq8) {
  out(tn_conf(0), kLevelOn | pin(20));
  out(tn_conf(1), kLevelOn | pin(21));
  out(tn_conf(2), kLevelOn | pin(22));
  for (unsigned n = 0; n < 3; ++n) out(tn_cmp(n), 5);
  out(kConf, 3);
  EXPECT_EQ(Vhpet::lines(s), Vhpet::kLegacyActive);
  EXPECT_EQ(lines_at(5), Vhpet::kLegacyActive | Vhpet::kLegacyIrq0 | Vhpet::kLegacyIrq8 | 1u << 22);
  out(kConf, 1);
  EXPECT_EQ(Vhpet::lines(s), 7u << 20);
}

TEST_F(Hpet, Section2_3_9_2_2_PeriodicModeAsLinuxProgramsIt) {
  out(kConf, 1);
  tick = 1000;
  out(tn_conf(0), kEdge | kPeriodicOn | kValSet | pin(20), 4);
  out(tn_cmp(0), in(kCnt, 4) + 250, 4);
  out(tn_cmp(0), 250, 4);
  // VAL_SET was used up by the low half, and a write of the low half keeps the high one, which reset made all ones.
  out(tn_conf(0), kEdge | kPeriodicOn | kValSet | k32 | pin(20), 4);
  out(tn_cmp(0), 1250, 4);
  out(tn_cmp(0), 250, 4);
  for (uint64_t due = 1250; due <= 3000; due += 250) {
    EXPECT_EQ(next_tick(), due);
    EXPECT_EQ(lines_at(due - 1), 0u);
    EXPECT_EQ(lines_at(due), 1u << 20);
    EXPECT_EQ(in(tn_cmp(0)), due + 250);
    EXPECT_EQ(next_tick(), due + 249);
    EXPECT_EQ(lines_at(due + 248), 1u << 20);
    EXPECT_EQ(lines_at(due + 249), 0u);
  }
}

TEST_F(Hpet, Section2_3_9_2_2_ValSetIsNeededForEachHalfOfTheComparator) {
  out(tn_conf(0), kPeriodicOn | kValSet);
  EXPECT_EQ(in(tn_conf(0)) & kValSet, kValSet);
  out(tn_cmp(0), 0x1000, 4);
  EXPECT_EQ(in(tn_conf(0)) & kValSet, 0u);
  out(tn_cmp(0) + 4, 0, 4);
  EXPECT_EQ(in(tn_cmp(0)), 0xffffffff00001000u);
  out(tn_conf(0), kPeriodicOn | kValSet);
  out(tn_cmp(0) + 4, 0, 4);
  EXPECT_EQ(in(tn_cmp(0)), 0x1000u);
  out(tn_cmp(0), 0x77);  // the period alone
  EXPECT_EQ(in(tn_cmp(0)), 0x1000u);
  out(kConf, 1);
  lines_at(0x1000);
  EXPECT_EQ(in(tn_cmp(0)), 0x1077u);
}

TEST_F(Hpet, Section2_3_9_2_2_MissedPeriodsArePassedInOneStep) {
  out(tn_conf(0), kLevelOn | kPeriodicOn | kValSet | pin(20));
  out(tn_cmp(0), 10);
  out(tn_cmp(0), 3);
  out(kConf, 1);
  tick = 100'000'000'000'000'000;
  EXPECT_EQ(in(tn_cmp(0)), 100'000'000'000'000'000u + 3);  // 10 + 3k, beyond 10^17 = 1 modulo 3
  EXPECT_EQ(in(kSta), 1u);
}

TEST_F(Hpet, Section2_3_9_2_1_ThirtyTwoBitTimersFireAtEachWrap) {
  out(tn_conf(1), kEdge | k32 | pin(21));
  out(tn_cmp(1), 0xaaaaaaaa00000010);
  EXPECT_EQ(in(tn_cmp(1)), 0x10u);
  out(kCnt, 0xfffffff0);
  out(kConf, 1);
  EXPECT_EQ(next_tick(), 0x20u);
  EXPECT_EQ(lines_at(0x20), 1u << 21);
  lines_at(0x21);
  EXPECT_EQ(next_tick(), 0x20 + 0xffffffffull);
  tick = 0x20 + 0xffffffffull;
  EXPECT_EQ(lines_at(tick), 0u);
  EXPECT_EQ(next_tick(), 0x20 + 0x100000000u);
  lines_at(0x20 + 0x100000000u);
  EXPECT_EQ(in(kCnt), 0x200000010u);
}

TEST_F(Hpet, Section2_3_9_2_1_SixtyFourBitTimersSeeTheWholeCounter) {
  out(tn_conf(1), kEdge | pin(21));
  out(tn_cmp(1), 0x10);
  out(kCnt, 0xfffffff0);
  out(kConf, 1);
  EXPECT_EQ(lines_at(0x20), 0u);
  EXPECT_EQ(Vhpet::next_event(s), kNever);
  out(kCnt, ~uint64_t{0});
  EXPECT_EQ(next_tick(), 0x20u + 0x11);
}

// The specification literally, tick by tick: an independent model of small numbers.
TEST_F(Hpet, AJumpEqualsSingleTicksAndNoEventIsLate) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; ++round) {
    Vhpet::reset(s);
    tick = 0;
    for (int i = 0; i < 12; ++i) {
      const auto n = static_cast<unsigned>(random() % 3);
      if (random() % 2) out(tn_conf(n), (random() & 0x14e) | pin(20 + random() % 4));
      else out(tn_cmp(n), random() % 40 - (random() % 8 == 0 ? 20 : 0), random() % 4 ? 8 : 4);
    }
    out(kCnt, random() % 2 ? random() % 20 : 0xfffffff0 + random() % 16);
    out(kConf, 1 | random() % 4);
    Vhpet::State stepped = s, jumped = s;
    const uint64_t end = random() % 300;
    for (uint64_t t = 1; t <= end; ++t) {
      const Nanos event = Vhpet::next_event(stepped);
      const Vhpet::State old = stepped;
      Vhpet::advance(stepped, {t * 100});
      for (unsigned n = 0; n < 3 && (old.config & 1); ++n) {
        const Vhpet::Timer& timer = old.timers[n];
        const uint64_t mask = timer.config & k32 ? 0xffffffff : ~uint64_t{0};
        const bool hit = ((old.counter + 1) & mask) == timer.comparator;
        const uint64_t moved = hit && (timer.config & kPeriodicOn) ? timer.period : 0;
        ASSERT_EQ(stepped.timers[n].comparator, (timer.comparator + moved) & mask);
        ASSERT_EQ(stepped.status >> n & 1, (old.status >> n & 1) | (hit && (timer.config & 2)));
        ASSERT_EQ(stepped.fired >> n & 1, (old.fired >> n & 1) | (hit && (timer.config & 6) == 4));
      }
      if (event > Nanos{t * 100}) {
        ASSERT_EQ(Vhpet::lines(old), Vhpet::lines(stepped)) << "an event was late";
      }
    }
    Vhpet::advance(jumped, {end * 100});
    ASSERT_EQ(std::memcmp(&stepped, &jumped, sizeof jumped), 0) << round;
  }
}

TEST_F(Hpet, AnyAccessesKeepTheStateValid) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 200'000; ++i) {
    const uint64_t offset = random() % 8 ? random() % 0x180 : random();
    const auto size = static_cast<unsigned>(1 + random() % 8);
    const Nanos now{random() % 16 ? s.now_ns + random() % 1000 : random()};
    if (random() % 2) Vhpet::write(s, now, offset, size, random());
    else Vhpet::read(s, now, offset, size);
    ASSERT_EQ(Vhpet::invalid(s), nullptr);
    ASSERT_GE(Vhpet::next_event(s), Nanos{s.now_ns});
  }
}

}  // namespace
}  // namespace dejavm
