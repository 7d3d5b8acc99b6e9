// Expectations from the ACPI specification 6.4, 4.8.2.1, 4.8.3.1 and 4.8.3.2.
#include "devices/vpmtmr.h"

#include <gtest/gtest.h>

namespace dejavm {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kHalf = uint64_t{1} << 23;  // ticks between toggles of the timer's top bit

class VpmtmrTest : public ::testing::Test {
 protected:
  void SetUp() override {
    schema_of<Vpmtmr>();
    Vpmtmr::reset(s);
  }
  void out(uint64_t offset, unsigned size, uint64_t value) { Vpmtmr::write(s, now, offset, size, value); }
  uint64_t in(uint64_t offset, unsigned size) { return Vpmtmr::read(s, now, offset, size); }
  bool sci() const { return Vpmtmr::lines(s) & Vpmtmr::kSci; }
  void press(unsigned input) {
    Vpmtmr::set_line(s, now, input, true);
    Vpmtmr::set_line(s, now, input, false);
  }
  Vpmtmr::State s;
  Nanos now{0};
};

TEST_F(VpmtmrTest, Section4_8_2_1_TheTimerCountsAt3579545HzIn24Bits) {
  EXPECT_EQ(in(8, 4), 0u);
  now = {kSecond};
  EXPECT_EQ(in(8, 4), 3'579'545u);
  now = {10 * kSecond};
  EXPECT_EQ(in(8, 4), 35'795'450u - (1u << 24) * 2);
  out(8, 4, 0x1234);
  EXPECT_EQ(in(8, 4), 35'795'450u - (1u << 24) * 2);
  now = {100ull * 365 * 86'400 * kSecond};
  EXPECT_EQ(in(8, 4), 100ull * 365 * 86'400 * 3'579'545 % (1u << 24));
}

TEST_F(VpmtmrTest, Section4_8_2_1_AnExtendedTimerHas32BitsAndSetsItsStatusAtBit31) {
  Vpmtmr::set_extended(s, {0}, true);
  Vpmtmr::reset(s);
  Vpmtmr::write(s, {0}, 2, 2, Vpmtmr::kTmrSts);
  const Nanos half = Vpmtmr::kClock.time_of(uint64_t{1} << 31);
  EXPECT_EQ(Vpmtmr::next_event(s), half);
  EXPECT_EQ(Vpmtmr::read(s, half - Nanos{1}, 8, 4), 0x7fffffffu);
  EXPECT_EQ(Vpmtmr::lines(s), 0u);
  EXPECT_EQ(Vpmtmr::read(s, half, 8, 4), 0x80000000u);
  EXPECT_EQ(Vpmtmr::lines(s), Vpmtmr::kSci);
  EXPECT_EQ(Vpmtmr::read(s, Vpmtmr::kClock.time_of((uint64_t{1} << 32) + 5), 8, 4), 5u);
}

TEST_F(VpmtmrTest, Section4_8_2_1_TmrStsSetsExactlyWhenBit23TogglesEitherWay) {
  for (uint64_t toggle : {kHalf, 2 * kHalf, 3 * kHalf}) {
    const Nanos due = Vpmtmr::kClock.time_of(toggle);
    Vpmtmr::advance(s, {due.value - 1});
    EXPECT_EQ(s.status & Vpmtmr::kTmrSts, 0) << toggle;
    Vpmtmr::advance(s, due);
    EXPECT_EQ(s.status & Vpmtmr::kTmrSts, Vpmtmr::kTmrSts) << toggle;
    now = due;
    out(0, 2, Vpmtmr::kTmrSts);
    EXPECT_EQ(in(0, 2), 0u);
  }
}

TEST_F(VpmtmrTest, Section4_8_2_1_TmrStsIsNotLostWhenAJumpPassesTwoToggles) {
  now = Vpmtmr::kClock.time_of(2 * kHalf + 5);
  EXPECT_EQ(in(0, 2), Vpmtmr::kTmrSts);
}

TEST_F(VpmtmrTest, Section4_8_2_1_AnEventIsDueOnlyWhileTheTimerCanRaiseTheSci) {
  EXPECT_EQ(Vpmtmr::next_event(s), kNever);
  out(2, 2, Vpmtmr::kTmrSts);
  const Nanos due = Vpmtmr::next_event(s);
  EXPECT_EQ(due, Vpmtmr::kClock.time_of(kHalf));
  Vpmtmr::advance(s, {due.value - 1});
  EXPECT_FALSE(sci());
  Vpmtmr::advance(s, due);
  EXPECT_TRUE(sci());
  EXPECT_EQ(Vpmtmr::next_event(s), kNever);
  now = due;
  out(0, 2, Vpmtmr::kTmrSts);
  EXPECT_FALSE(sci());
  EXPECT_EQ(Vpmtmr::next_event(s), Vpmtmr::kClock.time_of(2 * kHalf));
}

TEST_F(VpmtmrTest, Section4_8_3_1_1_ButtonsAndAlarmSetTheirStatusAtTheRise) {
  press(Vpmtmr::kPowerButton);
  press(Vpmtmr::kSleepButton);
  press(Vpmtmr::kRtcAlarm);
  press(3);
  press(~0u);
  EXPECT_EQ(in(0, 2), 0x0700u);
  EXPECT_FALSE(sci());
  out(2, 2, 0x0100);
  EXPECT_TRUE(sci());
  out(0, 2, 0x0100);
  EXPECT_FALSE(sci());
  Vpmtmr::set_line(s, now, Vpmtmr::kPowerButton, true);
  out(0, 2, 0x0100);
  Vpmtmr::set_line(s, now, Vpmtmr::kPowerButton, true);  // still held
  EXPECT_EQ(in(0, 2), 0x0600u);
}

TEST_F(VpmtmrTest, Section4_8_3_1_1_StatusBitsClearByOnesInTheirOwnByteOnly) {
  now = Vpmtmr::kClock.time_of(kHalf);
  press(Vpmtmr::kPowerButton);
  out(0, 2, 0);
  EXPECT_EQ(in(0, 2), 0x0101u);
  out(1, 1, 0xff);
  EXPECT_EQ(in(0, 2), 0x0001u);
  out(0, 1, 0xff);
  EXPECT_EQ(in(0, 2), 0x0000u);
}

TEST_F(VpmtmrTest, Section4_8_3_1_2_EnableAndControlKeepOnlyTheirBits) {
  out(2, 2, 0xffff);
  EXPECT_EQ(in(2, 2), 0x0721u);
  EXPECT_EQ(in(4, 2), 0x0001u);  // SCI_EN from the start
  out(4, 2, 0xffff);
  EXPECT_EQ(in(4, 2), 0x1c03u);
  out(4, 2, 0x0000);
  EXPECT_EQ(in(4, 2), 0x0001u);
  EXPECT_EQ(Vpmtmr::invalid(s), nullptr);
}

TEST_F(VpmtmrTest, Section4_8_3_2_1_SleepTypeFiveSwitchesOffOnlyWithSlpEn) {
  out(4, 2, 5 << 10);
  EXPECT_FALSE(Vpmtmr::wants_power_off(s));
  out(4, 2, 5 << 10 | 1 << 13);
  EXPECT_TRUE(Vpmtmr::wants_power_off(s));
  EXPECT_EQ(in(0, 2), 0u);
  EXPECT_EQ(in(4, 2), 5u << 10 | 1);
  Vpmtmr::reset(s);
  EXPECT_FALSE(Vpmtmr::wants_power_off(s));
}

TEST_F(VpmtmrTest, Section4_8_3_2_1_TheHighByteAloneCanSwitchOff) {
  out(5, 1, (5 << 10 | 1 << 13) >> 8);
  EXPECT_TRUE(Vpmtmr::wants_power_off(s));
}

TEST_F(VpmtmrTest, Section4_8_3_2_1_OtherSleepTypesWakeAtOnce) {
  for (unsigned type : {0u, 1u, 2u, 3u, 4u, 6u, 7u}) {
    Vpmtmr::reset(s);
    out(4, 2, type << 10 | 1 << 13);
    EXPECT_FALSE(Vpmtmr::wants_power_off(s)) << type;
    EXPECT_EQ(in(0, 2), 0x8000u) << type;
    EXPECT_FALSE(sci());
    out(0, 2, 0x8000);
    EXPECT_EQ(in(0, 2), 0u);
  }
}

TEST_F(VpmtmrTest, AccessesComposeBytesAndTheRestReadsOnes) {
  now = {kSecond};  // 0x369e99 ticks
  out(2, 2, 0x0120);
  EXPECT_EQ(in(0, 8), 0xffff'0001'0120'0000u);
  EXPECT_EQ(in(9, 2), 0x369eu);
  EXPECT_EQ(in(8, 8), 0xffff'ffff'0036'9e99u);
  EXPECT_EQ(in(3, 2), 0x0101u);
  EXPECT_EQ(in(~uint64_t{0} - 3, 4), 0xffff'ffffu);
  out(1, 4, 0x04'0701'00);  // EN low 1, EN high 7, CNT low 4
  EXPECT_EQ(in(2, 2), 0x0701u);
  EXPECT_EQ(in(4, 2), 0x0001u);
}

TEST_F(VpmtmrTest, TimeNeverGoesBack) {
  Vpmtmr::advance(s, {kSecond});
  Vpmtmr::advance(s, {5});
  now = {6};
  EXPECT_EQ(in(8, 4), 3'579'545u);
}

}  // namespace
}  // namespace dejavm
