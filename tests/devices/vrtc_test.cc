// Expectations: MC146818 data sheet; dates from an independent day-by-day calendar below.
#include "devices/vrtc.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace dejavm {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 951782395;  // 2000-02-28 23:59:55, a Monday

class Rtc : public testing::Test {
 protected:
  Rtc() {
    schema_of<Vrtc>();
    start(kStart);
  }
  ~Rtc() override { EXPECT_EQ(Vrtc::invalid(s), nullptr); }
  void start(int64_t unix_s) {
    s = {};
    now = 0;
    Vrtc::set_start_time(s, unix_s);
    Vrtc::reset(s);
  }
  unsigned in(unsigned index) {
    Vrtc::write(s, {now}, 0x70, 1, index);
    return static_cast<unsigned>(Vrtc::read(s, {now}, 0x71, 1));
  }
  void out(unsigned index, unsigned value) {
    Vrtc::write(s, {now}, 0x70, 1, index);
    Vrtc::write(s, {now}, 0x71, 1, value);
  }
  bool irq() { return Vrtc::lines(s) == Vrtc::kIrq; }
  uint64_t time() { return uint64_t{in(4)} << 16 | in(2) << 8 | in(0); }
  uint64_t date() { return uint64_t{in(0x32)} << 24 | in(9) << 16 | in(8) << 8 | in(7); }
  Vrtc::State s;
  uint64_t now = 0;
};

TEST_F(Rtc, StartsAtTheBoardsTimeIn24HourBcd) {
  EXPECT_EQ(date(), 0x20000228u);
  EXPECT_EQ(time(), 0x235955u);
  EXPECT_EQ(in(6), 2u);
  EXPECT_EQ(in(0x0a), 0x26u);
  EXPECT_EQ(in(0x0b), 0x02u);
  EXPECT_EQ(in(0x0c), 0x00u);
  EXPECT_EQ(in(0x0d), 0x80u);
  EXPECT_FALSE(irq());
}

TEST_F(Rtc, TimesBeforeTheEpochAndFarAwayAreDates) {
  start(-1);
  EXPECT_EQ(date(), 0x19691231u);
  EXPECT_EQ(time(), 0x235959u);
  EXPECT_EQ(in(6), 4u);
  start(std::numeric_limits<int64_t>::min());
  start(std::numeric_limits<int64_t>::max());
}

TEST_F(Rtc, SecondsPassAtWholeSeconds) {
  now = kSecond - 1;
  EXPECT_EQ(time(), 0x235955u);
  now = kSecond;
  EXPECT_EQ(time(), 0x235956u);
}

TEST_F(Rtc, TheResetPinTurnsInterruptsOffAndKeepsTimeAndMemory) {
  out(0x70, 0x5a);
  out(0x0b, 0x7a);
  out(0x04, 0x11);
  now += 3 * kSecond;
  in(0x0a);
  Vrtc::reset_pin(s, {now});
  EXPECT_FALSE(irq());
  EXPECT_EQ(in(0x0c), 0u);
  EXPECT_EQ(in(0x0b), 0x02u);
  EXPECT_EQ(in(0x70), 0x5au);
  EXPECT_EQ(time(), 0x115958u);
}

TEST_F(Rtc, TheDayCarriesIntoALeapDay) {
  now = 5 * kSecond;
  EXPECT_EQ(date(), 0x20000229u);
  EXPECT_EQ(time(), 0x000000u);
  EXPECT_EQ(in(6), 3u);
  now += 86400 * kSecond;
  EXPECT_EQ(date(), 0x20000301u);
}

TEST_F(Rtc, EveryDayOfFiveCenturiesIsRight) {
  constexpr unsigned kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  unsigned y = 1970, m = 1, d = 1, w = 5;
  auto bcd = [](unsigned v) { return v / 10 * 16 + v % 10; };
  start(0);
  for (unsigned i = 0; i < 500 * 365; ++i) {
    ASSERT_EQ(date(), uint64_t{bcd(y / 100)} << 24 | bcd(y % 100) << 16 | bcd(m) << 8 | bcd(d));
    ASSERT_EQ(in(6), w);
    const bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (++d > kDays[m - 1] + (m == 2 && leap)) {
      d = 1;
      if (++m > 12) {
        m = 1;
        ++y;
      }
    }
    w = w % 7 + 1;
    now += 86400 * kSecond;
  }
}

TEST_F(Rtc, TwelveHourModeCountsAsClocksDo) {
  out(0x0b, 0x00);
  constexpr unsigned kHours[] = {0x12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x11};
  out(4, 0x12);
  out(2, 0);
  out(0, 0);
  for (unsigned h = 0; h < 48; ++h) {
    EXPECT_EQ(in(4), kHours[h % 12] | (h % 24 >= 12 ? 0x80u : 0u)) << h;
    now += 3600 * kSecond;
  }
}

TEST_F(Rtc, BinaryModeCountsInBinary) {
  out(0x0b, 0x86);
  out(0, 58);
  out(2, 59);
  out(4, 23);
  out(7, 31);
  out(8, 12);
  out(9, 99);
  out(0x32, 19);
  out(0x0b, 0x06);
  now += kSecond;
  EXPECT_EQ(in(0), 59u);
  now += kSecond;
  EXPECT_EQ(time(), 0u);
  EXPECT_EQ(date(), 20u << 24 | 0u << 16 | 1u << 8 | 1u);
}

TEST_F(Rtc, SetStopsTheTimeAndClearsUieAndUpdatesResume) {
  out(0x0b, 0x92);
  EXPECT_EQ(in(0x0b), 0x82u);
  now = 10 * kSecond;
  EXPECT_EQ(time(), 0x235955u);
  EXPECT_EQ(in(0x0c) & 0x10, 0u);
  now += kSecond / 2;
  out(0x0b, 0x02);
  now = 11 * kSecond;
  EXPECT_EQ(time(), 0x235956u);
}

TEST_F(Rtc, AfterTheDividersReleaseTheFirstUpdateIsHalfASecondAway) {
  now = 3 * kSecond + 123'456'789;
  out(0x0a, 0x76);
  now += 100 * kSecond;
  EXPECT_EQ(time(), 0x235958u);
  out(0x0a, 0x26);
  const uint64_t release = now;
  now = release + kSecond / 2 - 31'000;  // a crystal tick is 30.5 us
  EXPECT_EQ(time(), 0x235958u);
  now = release + kSecond / 2;
  EXPECT_EQ(time(), 0x235959u);
  now = release + 3 * kSecond / 2;
  EXPECT_EQ(time(), 0x000000u);
}

TEST_F(Rtc, UipAnnouncesAnUpdate244MicrosecondsAhead) {
  now = kSecond - 245'000;
  EXPECT_EQ(in(0x0a), 0x26u);
  now = kSecond - 244'000;
  EXPECT_EQ(in(0x0a), 0xa6u);
  EXPECT_EQ(in(0), 0x55u);
  now = kSecond;
  EXPECT_EQ(in(0x0a), 0x26u);
  now = 2 * kSecond - 1;
  out(0x0b, 0x82);
  EXPECT_EQ(in(0x0a), 0x26u);
}

TEST_F(Rtc, TheUpdateInterruptIsALevelUntilRegisterCIsRead) {
  out(0x0b, 0x12);
  EXPECT_EQ(Vrtc::next_event(s), Nanos{kSecond});
  Vrtc::advance(s, {kSecond});
  EXPECT_TRUE(irq());
  EXPECT_EQ(Vrtc::next_event(s), kNever);
  now = kSecond + 1;
  EXPECT_EQ(in(0x0c) & 0xb0u, 0x90u);
  EXPECT_FALSE(irq());
  EXPECT_EQ(in(0x0c), 0x00u);
  EXPECT_EQ(Vrtc::next_event(s), Nanos{2 * kSecond});
}

TEST_F(Rtc, FlagsComeWithoutTheirEnables) {
  now = kSecond;
  EXPECT_EQ(in(0x0c), 0x50u);  // UF and PF, no IRQF
  now = 2 * kSecond;
  Vrtc::advance(s, {now});
  EXPECT_FALSE(irq());
  out(0x0b, 0x12);
  EXPECT_TRUE(irq());
}

TEST_F(Rtc, PeriodicRatesAreThoseOfTheTable) {
  // Table 5, 32768 Hz column, in crystal ticks.
  constexpr unsigned kTicks[] = {0, 128, 256, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  for (unsigned rate = 0; rate < 16; ++rate) {
    start(kStart);
    out(0x0a, 0x20 | rate);
    out(0x0b, 0x42);
    if (rate == 0) {
      EXPECT_EQ(Vrtc::next_event(s), kNever);
      continue;
    }
    for (uint64_t n = 1; n <= 5; ++n) {
      const uint64_t due = (n * kTicks[rate] * kSecond + 32767) / 32768;
      ASSERT_EQ(Vrtc::next_event(s), Nanos{due}) << rate;
      now = due - 1;
      ASSERT_EQ(in(0x0c), 0u);
      now = due;
      ASSERT_EQ(in(0x0c) & 0xc0, 0xc0u);
    }
  }
}

TEST_F(Rtc, TheAlarmFiresAtItsTime) {
  out(1, 0x05);
  out(3, 0x30);
  out(5, 0x06);
  out(0x0b, 0x22);
  const uint64_t due = (5 + 6 * 3600 + 30 * 60 + 5) * kSecond;
  EXPECT_EQ(Vrtc::next_event(s), Nanos{due});
  now = due - 1;
  EXPECT_EQ(in(0x0c) & 0x20u, 0u);
  now = due;
  EXPECT_EQ(in(0x0c) & 0xa0u, 0xa0u);
  EXPECT_EQ(Vrtc::next_event(s), Nanos{due + 86400 * kSecond});
}

TEST_F(Rtc, AnAlarmByteOfAnInvalidTimeNeverMatches) {
  out(1, 0x60);
  out(0x0b, 0x22);
  EXPECT_EQ(Vrtc::next_event(s), kNever);
  now = 1'000'000 * kSecond;
  EXPECT_EQ(in(0x0c) & 0x20u, 0u);
}

TEST_F(Rtc, DontCareAlarmsMatchEverySecondMinuteOrHour) {
  auto due_in_s = [&] {
    out(0x0b, 0x22);
    const Nanos at = Vrtc::next_event(s);
    out(0x0b, 0x02);
    return at.value / kSecond;
  };
  out(1, 0xc0);
  out(3, 0xff);
  out(5, 0xd5);
  EXPECT_EQ(due_in_s(), 1u);
  out(1, 0x54);
  EXPECT_EQ(due_in_s(), 59u);
  out(1, 0x55);
  EXPECT_EQ(due_in_s(), 60u);
  out(3, 0x10);
  EXPECT_EQ(due_in_s(), 5u + 600 + 55);
}

// Against the plain model of a chip that is stepped a second at a time and compares its alarm bytes each time.
TEST_F(Rtc, AJumpEqualsItsStepsForAnyBytes) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 1000; ++round) {
    start(static_cast<int64_t>(random() >> 20));
    for (unsigned i = 0; i < 12; ++i)
      if (random() % 3 == 0) out(i, static_cast<unsigned>(random() & 0xff));
    if (random() % 2) out(0x32, static_cast<unsigned>(random() & 0xff));
    for (unsigned i : {1u, 3u, 5u})
      if (random() % 2) out(i, 0xc0);
    Vrtc::State stepped = s, jumped = s;
    const uint64_t end = random() % (100 * kSecond);
    for (uint64_t t = 0; t < end; t += random() % (3 * kSecond / 2)) {
      const Nanos event = Vrtc::next_event(stepped);
      const bool before = Vrtc::lines(stepped);
      Vrtc::advance(stepped, {t});
      if (event > Nanos{t}) {
        ASSERT_EQ(Vrtc::lines(stepped), before) << "an event was late";
      }
      ASSERT_EQ(Vrtc::invalid(stepped), nullptr);
    }
    Vrtc::advance(stepped, {end});
    Vrtc::advance(jumped, {end});
    ASSERT_EQ(std::memcmp(&stepped, &jumped, sizeof jumped), 0) << round;
  }
}

TEST_F(Rtc, AThousandYearsPassAtOnce) {
  start(0);
  out(0x0b, 0x32);
  now = 18'000'000'000ull * kSecond;  // 570 years: nearly all that 64 bits of ns hold
  EXPECT_EQ(date(), 0x25400525u);
  EXPECT_EQ(time(), 0x080000u);
  Vrtc::advance(s, kNever);
  in(0x0c);
  EXPECT_EQ(Vrtc::next_event(s), kNever);
}

TEST_F(Rtc, MemoryHoldsBytesAndReadOnlyRegistersDoNot) {
  for (unsigned i = 0x0e; i < 0x80; ++i) out(i, i ^ 0x5a);
  for (unsigned i = 0x0e; i < 0x80; ++i) EXPECT_EQ(in(i | 0x80), i ^ 0x5a);
  out(0x0c, 0xff);
  out(0x0d, 0x00);
  EXPECT_EQ(in(0x0c), 0x00u);
  EXPECT_EQ(in(0x0d), 0x80u);
  out(0x0a, 0xa6);
  EXPECT_EQ(in(0x0a), 0x26u);
  out(0, 0xd5);
  EXPECT_EQ(in(0), 0x55u);
}

TEST_F(Rtc, TheBoardSetsMemoryBytesOnly) {
  Vrtc::set_cmos(s, 0x15, 0x80);
  Vrtc::set_cmos(s, 0x0a, 0xff);
  Vrtc::set_cmos(s, 0x32, 0xff);
  Vrtc::set_cmos(s, 0x1000, 0xff);
  EXPECT_EQ(in(0x15), 0x80u);
  EXPECT_EQ(in(0x0a), 0x26u);
  EXPECT_EQ(in(0x32), 0x20u);
}

TEST_F(Rtc, OtherPortsAreOpenBusAndAWideAccessIsItsBytes) {
  EXPECT_EQ(Vrtc::read(s, {0}, 0x70, 1), 0xffu);
  EXPECT_EQ(Vrtc::read(s, {0}, 0x72, 4), 0xffffffffu);
  Vrtc::write(s, {0}, 0x70, 2, 0x3320);
  EXPECT_EQ(Vrtc::read(s, {0}, 0x70, 2), 0x33ffu);
  EXPECT_EQ(in(0x20), 0x33u);
  Vrtc::write(s, {0}, 0x72, 2, 0x4420);
  EXPECT_EQ(in(0x20), 0x33u);
}

}  // namespace
}  // namespace dejavm
