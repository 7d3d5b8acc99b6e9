// Expectations from the Intel 8259A datasheet (231468) and, for ELCR, the ICH9 datasheet 13.4.
#include "tests/devices/vatpic_fixture.h"

#include <gtest/gtest.h>

namespace dejavm {
namespace {

TEST_F(VatpicTest, NothingIsRequestedBeforeAndDuringInitialisation) {
  raise(3);
  EXPECT_FALSE(intr());
  out(0x20, 0x11);
  lower(3);
  raise(3);
  EXPECT_FALSE(intr());
  out(0x21, 0x30);
  out(0x21, 0x04);
  EXPECT_FALSE(intr());
  out(0x21, 0x01);
  EXPECT_TRUE(intr());
}

TEST_F(VatpicTest, TheMaskIsReadableBeforeInitialisation) {
  out(0x21, 0xfb);
  out(0xa1, 0xff);
  EXPECT_EQ(in(0x21), 0xfb);
  EXPECT_EQ(in(0xa1), 0xff);
}

TEST_F(VatpicTest, Icw1ClearsMaskEdgesStatusSelectAndSpecialMask) {
  initialise();
  raise(4);
  out(0x21, 0xff);
  out(0x20, 0x0b);
  out(0x20, 0x68);
  out(0x20, 0xc3);
  initialise();
  EXPECT_EQ(in(0x21), 0x00);
  EXPECT_EQ(in(0x20), 0x00);  // IRR selected; the high line needs a new rise
  EXPECT_FALSE(s.chip[0].special_mask);
  EXPECT_EQ(s.chip[0].lowest, 7);
  lower(4);
  raise(4);
  EXPECT_EQ(in(0x20), 0x10);
}

TEST_F(VatpicTest, WithoutIcw4NeededThePairStartsAfterIcw3AndSingleSkipsIcw3) {
  out(0x20, 0x10);
  out(0x21, 0x30);
  out(0x21, 0x04);
  EXPECT_EQ(s.chip[0].stage, Vatpic::Stage::kReady);
  out(0x20, 0x13);
  out(0x21, 0x30);
  out(0x21, 0x01);
  EXPECT_EQ(s.chip[0].stage, Vatpic::Stage::kReady);
  out(0x20, 0x12);
  out(0x21, 0x30);
  EXPECT_EQ(s.chip[0].stage, Vatpic::Stage::kReady);
}

TEST_F(VatpicTest, ASingleMasterAnswersInput2Itself) {
  out(0xa0, 0x11);
  out(0xa1, 0x38);
  out(0xa1, 2);
  out(0xa1, 1);
  out(0x20, 0x13);
  out(0x21, 0x30);
  out(0x21, 0x01);
  raise(9);
  EXPECT_EQ(ack(), 0x32);
}

TEST_F(VatpicTest, In8080ModeTheVectorIsTheCallAddress) {
  out(0x20, 0x16 | 0xa0);
  out(0x21, 0x30);  // interval 4
  raise(5);
  EXPECT_EQ(ack(), 0xa0 | 5 << 2);
  out(0x20, 0x12 | 0xe0);
  out(0x21, 0x30);  // interval 8: A5 is not used
  lower(5);
  raise(5);
  EXPECT_EQ(ack(), 0xc0 | 5 << 3);
}

TEST_F(VatpicTest, LowerNumbersAreTakenFirstAndOnlyHigherPriorityInterrupts) {
  initialise();
  raise(5);
  raise(3);
  EXPECT_EQ(ack(), 0x33);
  EXPECT_EQ(isr(0x20), 0x08);
  EXPECT_EQ(irr(0x20), 0x20);
  EXPECT_FALSE(intr());
  raise(1);
  EXPECT_EQ(ack(), 0x31);
  out(0x20, 0x20);
  EXPECT_EQ(isr(0x20), 0x08);  // the highest in service ends first
  EXPECT_FALSE(intr());
  out(0x20, 0x20);
  EXPECT_EQ(ack(), 0x35);
}

TEST_F(VatpicTest, AnEdgeRequestsOnceAndVanishesWithItsLine) {
  initialise();
  raise(4);
  EXPECT_EQ(ack(), 0x34);
  out(0x20, 0x20);
  EXPECT_FALSE(intr());  // still high, no new rise
  lower(4);
  raise(4);
  EXPECT_TRUE(intr());
  lower(4);
  EXPECT_FALSE(intr());
  EXPECT_EQ(ack(), 0x37);  // default IR7
  EXPECT_EQ(isr(0x20), 0x00);
}

TEST_F(VatpicTest, ALevelRequestsUntilItFallsByElcrOrIcw1) {
  for (bool by_elcr : {true, false}) {
    Vatpic::reset(s);
    out(0x4d0, by_elcr ? 0x20 : 0);
    initialise(by_elcr ? 0x11 : 0x19);
    raise(5);
    EXPECT_EQ(ack(), 0x35);
    EXPECT_FALSE(intr());
    out(0x20, 0x20);
    EXPECT_TRUE(intr());
    lower(5);
    EXPECT_FALSE(intr());
  }
}

TEST_F(VatpicTest, ElcrKeepsOnlyTheInputsThatCanBeLevel) {
  Vatpic::write(s, {0}, 0x4d0, 2, 0xffff);
  EXPECT_EQ(Vatpic::read(s, {0}, 0x4d0, 2), 0xdef8u);
  initialise();
  EXPECT_EQ(in(0x4d1), 0xde);
}

TEST_F(VatpicTest, TheMaskHidesFromIntrButNotFromIrr) {
  initialise();
  out(0x21, 0x08);
  raise(3);
  EXPECT_FALSE(intr());
  EXPECT_EQ(irr(0x20), 0x08);
  out(0x21, 0x00);
  EXPECT_TRUE(intr());
}

TEST_F(VatpicTest, TheSlaveAnswersThroughInput2) {
  initialise();
  raise(12);
  EXPECT_EQ(irr(0x20), 0x04);
  EXPECT_EQ(ack(), 0x3c);
  EXPECT_EQ(isr(0x20), 0x04);
  EXPECT_EQ(isr(0xa0), 0x10);
  EXPECT_EQ(irr(0x20), 0x00);
  raise(3);
  EXPECT_FALSE(intr());  // input 2 is above 3
  out(0xa0, 0x20);
  out(0x20, 0x20);
  EXPECT_EQ(ack(), 0x33);
}

TEST_F(VatpicTest, ASecondSlaveRequestIsANewEdgeAfterTheSlavesEoi) {
  initialise();
  raise(8);
  raise(15);
  EXPECT_EQ(ack(), 0x38);
  out(0x20, 0x20);
  EXPECT_FALSE(intr());
  out(0xa0, 0x20);
  EXPECT_EQ(ack(), 0x3f);
}

TEST_F(VatpicTest, TheSlaveInAutomaticEoiRequestsAgainAtOnce) {
  initialise(0x11, 0x03, 0x03);
  raise(8);
  raise(9);
  EXPECT_EQ(ack(), 0x38);
  EXPECT_EQ(isr(0x20) | isr(0xa0), 0);
  EXPECT_EQ(ack(), 0x39);
  EXPECT_FALSE(intr());
}

TEST_F(VatpicTest, Input2IsTheSlavesAlone) {
  initialise();
  raise(2);
  raise(16);
  raise(~0u);
  EXPECT_EQ(irr(0x20), 0);
  EXPECT_FALSE(intr());
}

TEST_F(VatpicTest, ASlaveWithoutARequestAnswersItsInput7WithTheMastersInputInService) {
  out(0x20, 0x11);
  out(0x21, 0x30);
  out(0x21, 0x14);
  out(0x21, 0x01);  // slaves on inputs 2 and 4
  out(0xa0, 0x11);
  out(0xa1, 0x38);
  out(0xa1, 0x04);
  out(0xa1, 0x01);  // ours calls itself 4
  raise(4);
  EXPECT_EQ(ack(), 0x3f);
  EXPECT_EQ(isr(0x20), 0x10);
  EXPECT_EQ(isr(0xa0), 0x00);
  out(0x20, 0x20);
  raise(10);
  EXPECT_EQ(ack(), 0xff);  // no slave calls itself 2
}

TEST_F(VatpicTest, SpecialFullyNestedModeLetsTheSlaveInterruptItself) {
  for (bool special : {false, true}) {
    Vatpic::reset(s);
    initialise(0x11, special ? 0x11 : 0x01);
    raise(12);
    EXPECT_EQ(ack(), 0x3c);
    raise(9);
    EXPECT_EQ(intr(), special);
    if (!special) continue;
    EXPECT_EQ(ack(), 0x39);
    raise(3);
    EXPECT_FALSE(intr());
    raise(1);
    EXPECT_TRUE(intr());
    lower(1);
    // Two non-specific EOIs of the slave; the master's follows when the slave's ISR reads zero.
    out(0xa0, 0x20);
    EXPECT_EQ(isr(0xa0), 0x10);
    out(0xa0, 0x20);
    out(0x20, 0x20);
    EXPECT_EQ(ack(), 0x33);
  }
}

TEST_F(VatpicTest, SpecificEoiEndsTheNamedLevel) {
  initialise();
  raise(6);
  ack();
  raise(2);
  raise(1);
  ack();
  EXPECT_EQ(isr(0x20), 0x42);
  out(0x20, 0x66);
  EXPECT_EQ(isr(0x20), 0x02);
}

TEST_F(VatpicTest, RotateOnNonSpecificEoiMakesTheEndedLevelLowest) {
  initialise();
  raise(4);
  ack();
  out(0x20, 0xa0);
  EXPECT_EQ(isr(0x20), 0);
  lower(4);
  raise(4);
  raise(6);
  raise(3);
  EXPECT_EQ(ack(), 0x36);  // order is now 5 6 7 0 1 2 3 4
  out(0x20, 0x20);
  EXPECT_EQ(ack(), 0x33);
  out(0x20, 0x20);
  EXPECT_EQ(ack(), 0x34);
}

TEST_F(VatpicTest, RotateOnNonSpecificEoiWithNothingInServiceDoesNothing) {
  initialise();
  out(0x20, 0xa0);
  EXPECT_EQ(s.chip[0].lowest, 7);
}

TEST_F(VatpicTest, SetPriorityAndRotateOnSpecificEoiNameTheLowest) {
  initialise();
  out(0x20, 0xc0 | 5);  // 6 is highest
  raise(0);
  raise(6);
  EXPECT_EQ(ack(), 0x36);
  out(0x20, 0xe0 | 6);  // ends 6 and makes it lowest: 7 0 ..
  EXPECT_EQ(isr(0x20), 0);
  lower(6);
  raise(6);
  raise(7);
  EXPECT_EQ(ack(), 0x37);
  out(0x20, 0x20);
  EXPECT_EQ(ack(), 0x30);
  out(0x20, 0x40 | 3);  // no operation
  EXPECT_EQ(isr(0x20), 0x01);
  EXPECT_EQ(s.chip[0].lowest, 6);
}

TEST_F(VatpicTest, AutomaticEoiLeavesNothingInServiceAndRotatesIfTold) {
  initialise(0x11, 0x03);
  raise(3);
  EXPECT_EQ(ack(), 0x33);
  EXPECT_EQ(isr(0x20), 0);
  EXPECT_EQ(s.chip[0].lowest, 7);
  out(0x20, 0x80);
  lower(3);
  raise(3);
  ack();
  EXPECT_EQ(s.chip[0].lowest, 3);
  out(0x20, 0x00);
  raise(5);
  ack();
  EXPECT_EQ(s.chip[0].lowest, 3);
}

TEST_F(VatpicTest, SpecialMaskModeLetsLowerLevelsThroughAMaskedLevelInService) {
  initialise();
  raise(3);
  ack();
  raise(5);
  out(0x21, 0x08);
  EXPECT_FALSE(intr());
  out(0x20, 0x68);
  EXPECT_TRUE(intr());
  EXPECT_EQ(ack(), 0x35);
  out(0x20, 0x20);
  EXPECT_EQ(isr(0x20), 0x08);  // 5 ended: a masked level is invisible to non-specific EOI
  out(0x20, 0x20);
  EXPECT_EQ(isr(0x20), 0x08);
  out(0x20, 0x28);  // ESMM clear: SMM is not looked at
  EXPECT_TRUE(s.chip[0].special_mask);
  out(0x20, 0x48);
  out(0x20, 0x20);
  EXPECT_EQ(isr(0x20), 0x00);
}

TEST_F(VatpicTest, PollTakesTheRequestAndTellsItsLevel) {
  initialise();
  raise(6);
  out(0x20, 0x0c);
  EXPECT_EQ(in(0x20), 0x86);
  EXPECT_EQ(in(0x20), 0x00);  // IRR again, and the request is taken
  EXPECT_EQ(isr(0x20), 0x40);
  out(0x20, 0x0c);
  EXPECT_EQ(in(0x21), 0x00);  // nothing to poll; any read is the poll
  EXPECT_EQ(in(0x21), 0x00);
}

TEST_F(VatpicTest, PollingTheSlaveDropsItsInt) {
  initialise();
  raise(9);
  out(0xa0, 0x0c);
  EXPECT_EQ(in(0xa0), 0x81);
  EXPECT_FALSE(intr());
  EXPECT_EQ(irr(0x20), 0);
}

TEST_F(VatpicTest, ReadSelectionStaysUntilChanged) {
  initialise();
  raise(1);
  ack();
  raise(0);
  out(0x20, 0x0b);
  EXPECT_EQ(in(0x20), 0x02);
  out(0x20, 0x08);  // RR clear
  EXPECT_EQ(in(0x20), 0x02);
  out(0x20, 0x0a);
  EXPECT_EQ(in(0x20), 0x01);
}

TEST_F(VatpicTest, WideAccessesAreConsecutivePortsAndStrangersReadOnes) {
  initialise();
  Vatpic::write(s, {0}, 0x20, 2, 0x5520);
  EXPECT_EQ(in(0x21), 0x55);
  EXPECT_EQ(Vatpic::read(s, {0}, 0x20, 4), 0xffff5500u);
  EXPECT_EQ(Vatpic::read(s, {0}, 0x22, 8), ~uint64_t{0});
  Vatpic::write(s, {0}, ~uint64_t{0}, 8, 0);
  EXPECT_EQ(in(0x21), 0x55);
}

// Law 4 and the cascade: any sequence of calls leaves a state that the model itself calls valid.
TEST_F(VatpicTest, AnySequenceOfCallsKeepsTheStateValid) {
  static constexpr uint64_t kPorts[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
  uint32_t seed = 1;
  auto next = [&seed] { return (seed = seed * 1664525 + 1013904223) >> 8; };
  for (int i = 0; i < 200'000; ++i) {
    switch (next() % 5) {
      case 0: out(kPorts[next() % 6], static_cast<uint8_t>(next())); break;
      case 1: in(kPorts[next() % 6]); break;
      case 2: ack(); break;
      default: Vatpic::set_line(s, {0}, next() % 17, next() & 1); break;
    }
    ASSERT_EQ(Vatpic::invalid(s), nullptr) << "call " << i;
  }
}

}  // namespace
}  // namespace dejavm
