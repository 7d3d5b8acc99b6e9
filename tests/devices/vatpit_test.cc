// Expectations from the Intel 8254 datasheet (231164): its waveforms, mode by mode, written as OUT and count per tick;
// then long jumps against single ticks.
#include "tests/devices/vatpit_fixture.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace dejavm {
namespace {

TEST_F(VatpitTest, Mode0GoesHighNPlus1TicksAfterTheWrite) {
  start(0, 4);
  EXPECT_FALSE(out2());
  EXPECT_EQ(wave(8), "____~~~~");
}

TEST_F(VatpitTest, Mode0CountsDownAndWraps) {
  start(0, 2);
  EXPECT_EQ(counts(4), "2 1 0 255 ");
  EXPECT_TRUE(out2());
}

TEST_F(VatpitTest, Mode0GateLowHoldsTheCount) {
  start(0, 4);
  step(2);
  gate(false);
  EXPECT_EQ(counts(2), "3 3 ");
  gate(true);
  EXPECT_EQ(wave(3), "__~");
}

TEST_F(VatpitTest, Mode0LoadsWithTheGateLow) {
  start(0, 3);
  gate(false);
  step(2);
  gate(true);
  EXPECT_EQ(wave(3), "__~");  // N ticks after the gate
}

TEST_F(VatpitTest, Mode0FirstByteOfTwoStopsCountingAndLowersOut) {
  gate(true);
  out(0x43, 0xb0);
  out(0x42, 2);
  out(0x42, 0);
  step(5);
  EXPECT_TRUE(out2());
  const unsigned before = s.channel[2].count;
  out(0x42, 3);
  EXPECT_FALSE(out2());
  step(10);
  EXPECT_EQ(s.channel[2].count, before);
  out(0x42, 0);
  EXPECT_EQ(wave(5), "___~~");
}

TEST_F(VatpitTest, Mode1IsAOneShotByTheGateAndCanBeRetriggered) {
  start(1, 3);
  EXPECT_EQ(wave(3), "~~~");
  gate(false);
  gate(true);
  EXPECT_EQ(wave(5), "___~~");
  gate(false);
  gate(true);
  EXPECT_EQ(wave(2), "__");
  gate(false);
  gate(true);
  EXPECT_EQ(wave(5), "___~~");
}

TEST_F(VatpitTest, Mode1KeepsCountingWithTheGateLowAndTakesANewCountAtTheNextTrigger) {
  start(1, 3);
  gate(false);
  gate(true);
  gate(false);
  step(1);
  out(0x42, 5);
  EXPECT_EQ(wave(4), "__~~");
  gate(true);
  EXPECT_EQ(wave(6), "_____~");
}

TEST_F(VatpitTest, Mode1IgnoresATriggerBeforeACount) {
  gate(false);
  out(0x43, 0x92);
  gate(true);
  EXPECT_EQ(wave(4), "~~~~");
}

TEST_F(VatpitTest, Mode2IsLowForOneTickInN) {
  start(2, 3);
  EXPECT_EQ(wave(8), "~~_~~_~~");
  start(2, 3);
  EXPECT_EQ(counts(7), "3 2 1 3 2 1 3 ");
}

TEST_F(VatpitTest, Mode2GateLowRaisesOutAtOnceAndARiseStartsOver) {
  start(2, 3);
  step(3);
  EXPECT_FALSE(out2());
  gate(false);
  EXPECT_TRUE(out2());
  EXPECT_EQ(wave(4), "~~~~");
  gate(true);
  EXPECT_EQ(wave(4), "~~_~");
}

TEST_F(VatpitTest, Mode2TakesANewCountAtTheEndOfTheCycleOrAtATrigger) {
  start(2, 4);
  step(2);
  out(0x42, 5);
  EXPECT_EQ(counts(7), "2 1 5 4 3 2 1 ");
  start(2, 4);
  step(2);
  out(0x42, 3);
  gate(false);
  gate(true);
  EXPECT_EQ(counts(4), "3 2 1 3 ");
}

TEST_F(VatpitTest, Mode3HalvesAnEvenCount) {
  start(3, 4);
  EXPECT_EQ(wave(10), "~~__~~__~~");
  start(3, 4);
  EXPECT_EQ(counts(6), "4 2 4 2 4 2 ");
}

TEST_F(VatpitTest, Mode3GivesTheHighHalfTheOddTick) {
  start(3, 5);
  EXPECT_EQ(wave(12), "~~~__~~~__~~");
  start(3, 5);
  EXPECT_EQ(counts(6), "4 2 0 4 2 4 ");
}

TEST_F(VatpitTest, Mode3TakesANewCountAtTheEndOfTheHalf) {
  start(3, 6);
  step(1);
  out(0x42, 4);
  EXPECT_EQ(wave(8), "~~__~~__");
}

TEST_F(VatpitTest, Mode3GateLowRaisesOutAndARiseStartsOver) {
  start(3, 4);
  step(3);
  EXPECT_FALSE(out2());
  gate(false);
  EXPECT_EQ(wave(3), "~~~");
  gate(true);
  EXPECT_EQ(wave(5), "~~__~");
}

TEST_F(VatpitTest, Mode4StrobesOnceNPlus1TicksAfterTheWrite) {
  start(4, 3);
  EXPECT_EQ(wave(6), "~~~_~~");
  EXPECT_EQ(wave(300).find('_'), std::string::npos);  // the wrapped count strobes no more
  start(4, 3);
  step(2);
  gate(false);
  EXPECT_EQ(wave(3), "~~~");
  gate(true);
  EXPECT_EQ(wave(3), "~_~");
  out(0x42, 2);
  EXPECT_EQ(wave(4), "~~_~");
}

TEST_F(VatpitTest, Mode5StrobesByTheGate) {
  start(5, 3);
  EXPECT_EQ(wave(5), "~~~~~");
  gate(false);
  gate(true);
  gate(false);
  EXPECT_EQ(wave(5), "~~~_~");
  gate(true);
  step(2);
  gate(false);
  gate(true);
  EXPECT_EQ(wave(5), "~~~_~");
}

TEST_F(VatpitTest, CountOneIsQuietInModes2And3) {
  for (unsigned mode : {2u, 3u}) {
    start(mode, 1);
    EXPECT_EQ(wave(4), "~~~~") << mode;
    EXPECT_EQ(Vatpit::next_event(s), kNever) << mode;
    out(0x42, 2);
    EXPECT_NE(wave(4).find('_'), std::string::npos) << mode;
  }
}

TEST_F(VatpitTest, CountZeroIsTheLargestInBinaryAndBcd) {
  for (bool bcd : {false, true}) {
    const unsigned m = bcd ? 10'000 : 65'536;
    out(0x43, static_cast<uint8_t>(0x34 | bcd));
    out(0x40, 0);
    out(0x40, 0);
    step(1);
    EXPECT_EQ(count(0), 0u);
    step(1);
    EXPECT_EQ(count(0), bcd ? 0x9999u : 0xffffu);
    step(m - 3);
    EXPECT_TRUE(Vatpit::lines(s) & Vatpit::kOut0);
    step(1);
    EXPECT_FALSE(Vatpit::lines(s) & Vatpit::kOut0);
    EXPECT_EQ(count(0), 1u);
  }
}

TEST_F(VatpitTest, BcdCountsInDecimal) {
  out(0x43, 0xb1);
  out(0x42, 0x00);
  out(0x42, 0x10);
  gate(true);
  step(1);
  EXPECT_EQ(count(), 0x1000u);
  step(1);
  EXPECT_EQ(count(), 0x0999u);
  step(1000);
  EXPECT_EQ(count(), 0x9999u);
}

TEST_F(VatpitTest, AccessHighWritesAndReadsTheHighByte) {
  gate(true);
  out(0x43, 0xa0);
  out(0x42, 0x02);
  step(3);
  EXPECT_EQ(in(0x42), 0x01);
  EXPECT_EQ(s.channel[2].count, 0x1feu);
}

TEST_F(VatpitTest, TheCountLatchHoldsUntilReadAndIgnoresFurtherLatches) {
  out(0x43, 0x34);
  out(0x40, 0x00);
  out(0x40, 0x10);
  step(1);
  out(0x43, 0x00);
  step(0x101);
  out(0x43, 0x00);
  EXPECT_EQ(in(0x40), 0x00);
  EXPECT_EQ(in(0x40), 0x10);
  EXPECT_EQ(in(0x40), 0xff);  // live again: 0x0eff
  EXPECT_EQ(in(0x40), 0x0e);
  out(0x43, 0x00);
  out(0x43, 0x34);  // a control word drops the latch
  EXPECT_FALSE(s.channel[0].count_latched);
}

TEST_F(VatpitTest, ReadBackGivesStatusThenCountForEachChosenChannel) {
  out(0x43, 0x3e);  // mode 7 is mode 3, and the status shows it as written
  EXPECT_EQ(status(0), 0xc0 | 0x3e);
  out(0x40, 8);
  out(0x40, 0);
  EXPECT_EQ(status(0) & 0x40, 0x40);
  step(1);
  EXPECT_EQ(status(0), 0x80 | 0x3e);
  step(1);
  out(0x43, 0xc2 | 0x04);  // count and status of channels 0 and 1
  step(3);
  out(0x43, 0xc2);  // all but the first are ignored
  EXPECT_EQ(in(0x40), 0x80 | 0x3e);
  EXPECT_EQ(in(0x40), 6);
  EXPECT_EQ(in(0x40), 0);
  EXPECT_TRUE(s.channel[1].count_latched && s.channel[1].status_latched);
  EXPECT_FALSE(s.channel[2].count_latched || s.channel[2].status_latched);
  EXPECT_EQ(in(0x41), 0x30);
}

TEST_F(VatpitTest, NullCountStaysUntilAPeriodicCounterReloads) {
  start(2, 3);
  step(1);
  out(0x42, 4);
  EXPECT_EQ(status(2) & 0x40, 0x40);
  step(2);
  EXPECT_EQ(status(2) & 0x40, 0x40);
  step(1);
  EXPECT_EQ(status(2) & 0x40, 0);
}

TEST_F(VatpitTest, Port61KeepsItsLowBitsAndShowsRefreshAndOut2) {
  out(0x61, 0xff);
  EXPECT_EQ(in(0x61) & 0xcf, 0x0f);
  out(0x61, 0);
  EXPECT_EQ(in(0x61), 0x00);
  start(4, 9);
  EXPECT_EQ(in(0x61) & 0x20, 0x20);
  auto refresh = [this](uint64_t ns) { return Vatpit::read(s, {ns}, 0x61, 1) & 0x10; };
  EXPECT_EQ(refresh(15'084), 0x00u);
  EXPECT_EQ(refresh(15'085), 0x10u);
  EXPECT_EQ(refresh(30'169), 0x10u);
  EXPECT_EQ(refresh(30'170), 0x00u);
}

TEST_F(VatpitTest, ThePcsTickIsAt18HzAndExactAfterAYear) {
  out(0x43, 0x34);
  out(0x40, 0);
  out(0x40, 0);
  const uint64_t year_ns = 365ull * 86'400 * 1'000'000'000;
  Vatpit::advance(s, {year_ns});
  const uint64_t ticks = Vatpit::kClock.ticks_at({year_ns});
  const uint64_t phase = (ticks - 1) % 65'536;  // the count was loaded at tick 1
  EXPECT_EQ(s.channel[0].count, 65'536 - phase);
  const Nanos fall = Vatpit::kClock.time_of(ticks - phase + 65'535);
  EXPECT_EQ(Vatpit::next_event(s), fall);
  Vatpit::advance(s, {fall.value - 1});
  EXPECT_TRUE(Vatpit::lines(s) & Vatpit::kOut0);
  Vatpit::advance(s, fall);
  EXPECT_FALSE(Vatpit::lines(s) & Vatpit::kOut0);
  EXPECT_EQ(Vatpit::next_event(s), Vatpit::kClock.time_of(ticks - phase + 65'536));
  Vatpit::advance(s, {fall.value - 1'000'000});  // an earlier time is the latest seen
  EXPECT_EQ(s.now_ns, fall.value);
  Vatpit::advance(s, kNever);
  EXPECT_EQ(Vatpit::invalid(s), nullptr);
}

TEST_F(VatpitTest, StrangePortsReadOnesAndWideAccessesAreConsecutivePorts) {
  EXPECT_EQ(Vatpit::read(s, {0}, 0x43, 1), 0xffu);
  EXPECT_EQ(Vatpit::read(s, {0}, ~uint64_t{0} - 20, 8), ~uint64_t{0});
  Vatpit::write(s, {0}, 0x42, 2, 0xb607);  // a byte of the count, then a control word that drops it
  EXPECT_EQ(s.channel[2].control, 0x36);
  EXPECT_FALSE(s.channel[2].high_next_write);
}

// Law 2 and next_event, over random programs: a jump equals single ticks, and OUT never changes before the event.
TEST_F(VatpitTest, JumpsEqualSingleTicksAndNoChangeComesBeforeItsEvent) {
  uint32_t seed = 7;
  auto next = [&seed] { return (seed = seed * 1664525 + 1013904223) >> 9; };
  for (int i = 0; i < 60'000; ++i) {
    const auto value = static_cast<uint8_t>(next() % 3 ? next() % 12 : next());
    switch (next() % 6) {
      case 0: out(0x43, static_cast<uint8_t>(next())); break;
      case 1:
      case 2: out(0x40 + next() % 3, value); break;
      case 3: in(0x40 + next() % 3); break;
      case 4: gate(next() & 1); break;
      default: break;
    }
    ASSERT_EQ(Vatpit::invalid(s), nullptr);
    const uint64_t jump = next() % 50;
    Vatpit::State jumped = s;
    Vatpit::advance(jumped, Vatpit::kClock.time_of(tick + jump));
    for (uint64_t k = 0; k < jump; ++k) {
      const uint64_t before = Vatpit::lines(s);
      const Nanos event = Vatpit::next_event(s);
      ASSERT_GT(event, now());
      step();
      ASSERT_TRUE(Vatpit::lines(s) == before || event <= now()) << "step " << i;
    }
    ASSERT_EQ(std::memcmp(&s, &jumped, sizeof s), 0) << "step " << i << ", " << jump << " ticks";
  }
}

}  // namespace
}  // namespace dejavm
