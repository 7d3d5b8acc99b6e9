// Expectations: PC16550D data sheet, section 8.
#include "devices/uart16550.h"

#include <gtest/gtest.h>

namespace dejavm {
namespace {

enum Reg : uint64_t {
  kRbr = 0,
  kThr = 0,
  kDll = 0,
  kIer = 1,
  kDlm = 1,
  kIir = 2,
  kFcr = 2,
  kLcr = 3,
  kMcr = 4,
  kLsr = 5,
  kMsr = 6,
  kScr = 7
};

class Uart : public testing::Test {
 protected:
  Uart() {
    schema_of<Uart16550>();
    Uart16550::reset(s);
  }
  ~Uart() override { EXPECT_EQ(Uart16550::invalid(s), nullptr); }
  unsigned in(uint64_t reg) { return static_cast<unsigned>(Uart16550::read(s, {0}, reg, 1)); }
  void out(uint64_t reg, unsigned value) { Uart16550::write(s, {0}, reg, 1, value); }
  bool arrive(unsigned byte) { return Uart16550::receive(s, {0}, static_cast<uint8_t>(byte)); }
  bool irq() { return Uart16550::lines(s) == Uart16550::kIrq; }
  int sent() {
    uint8_t byte;
    return Uart16550::pop_transmitted(s, byte) ? byte : -1;
  }
  Uart16550::State s;
};

TEST_F(Uart, Section8_0_AfterResetTheTransmitterIsEmptyAndNothingIsPending) {
  EXPECT_EQ(in(kIer), 0x00u);
  EXPECT_EQ(in(kIir), 0x01u);
  EXPECT_EQ(in(kLcr), 0x00u);
  EXPECT_EQ(in(kMcr), 0x00u);
  EXPECT_EQ(in(kLsr), 0x60u);
  EXPECT_EQ(in(kMsr), 0xb0u);
  EXPECT_FALSE(irq());
}

TEST_F(Uart, Section8_0_UnimplementedBitsOfIerAndMcrReadAsZero) {
  out(kIer, 0xff);
  EXPECT_EQ(in(kIer), 0x0fu);
  out(kMcr, 0xff);
  EXPECT_EQ(in(kMcr), 0x1fu);
  out(kScr, 0xa5);
  EXPECT_EQ(in(kScr), 0xa5u);
}

TEST_F(Uart, Section8_2_DlabSwitchesTheFirstTwoRegistersToTheDivisor) {
  out(kLcr, 0x83);
  out(kDll, 0x34);
  out(kDlm, 0x12);
  EXPECT_EQ(in(kDll), 0x34u);
  EXPECT_EQ(in(kDlm), 0x12u);
  out(kLcr, 0x03);
  EXPECT_EQ(in(kIer), 0x00u);
  EXPECT_EQ(sent(), -1);
  out(kLcr, 0x80);
  EXPECT_EQ(Uart16550::read(s, {0}, 0, 2), 0x1234u);
}

TEST_F(Uart, Section8_3_AWrittenByteIsSentAtOnce) {
  out(kThr, 'x');
  EXPECT_EQ(in(kLsr), 0x60u);
  EXPECT_EQ(sent(), 'x');
  EXPECT_EQ(sent(), -1);
}

TEST_F(Uart, Section8_5_TheThreInterruptComesWithItsEnableAndGoesWithReadingIir) {
  out(kMcr, 0x08);
  out(kIer, 0x02);
  EXPECT_TRUE(irq());
  EXPECT_EQ(in(kIir), 0x02u);
  EXPECT_FALSE(irq());
  EXPECT_EQ(in(kIir), 0x01u);
  out(kIer, 0x02);  // no rising edge
  EXPECT_EQ(in(kIir), 0x01u);
  out(kThr, 'a');
  EXPECT_TRUE(irq());
  out(kIer, 0x00);
  EXPECT_FALSE(irq());
  out(kIer, 0x02);
  EXPECT_EQ(in(kIir), 0x02u);
}

TEST_F(Uart, Section8_5_ReadingIirForAnotherInterruptKeepsThre) {
  arrive(1);
  out(kIer, 0x03);
  EXPECT_EQ(in(kIir), 0x04u);
  in(kRbr);
  EXPECT_EQ(in(kIir), 0x02u);
}

TEST_F(Uart, Section8_7_Out2GatesTheInterrupt) {
  out(kIer, 0x02);
  EXPECT_FALSE(irq());
  out(kMcr, 0x08);
  EXPECT_TRUE(irq());
}

TEST_F(Uart, Section8_3_WithoutFifosOneByteFits) {
  EXPECT_TRUE(arrive(0x41));
  EXPECT_FALSE(arrive(0x42));
  EXPECT_EQ(in(kLsr), 0x61u);
  EXPECT_EQ(in(kRbr), 0x41u);
  EXPECT_EQ(in(kLsr), 0x60u);
  EXPECT_TRUE(arrive(0x42));
}

TEST_F(Uart, Section8_4_TheFifoTakesSixteenBytesInOrder) {
  out(kFcr, 0x01);
  EXPECT_EQ(in(kIir), 0xc1u);
  for (unsigned i = 0; i < 16; ++i) EXPECT_TRUE(arrive(i + 1));
  EXPECT_FALSE(arrive(99));
  EXPECT_EQ(in(kLsr), 0x61u);  // refused, so no overrun
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(in(kRbr), i + 1);
  EXPECT_EQ(in(kLsr), 0x60u);
}

TEST_F(Uart, Section8_4_TheTriggerLevelDividesDataFromTimeout) {
  constexpr unsigned kLevels[] = {1, 4, 8, 14};
  for (unsigned setting = 0; setting < 4; ++setting) {
    out(kFcr, 0x03 | setting << 6);
    out(kIer, 0x01);
    EXPECT_EQ(in(kIir), 0xc1u);
    for (unsigned n = 1; n <= 16; ++n) {
      arrive(n);
      EXPECT_EQ(in(kIir), n >= kLevels[setting] ? 0xc4u : 0xccu) << setting << ' ' << n;
    }
    for (unsigned n = 15; n >= 1; --n) {
      in(kRbr);
      EXPECT_EQ(in(kIir), n >= kLevels[setting] ? 0xc4u : 0xccu) << setting << ' ' << n;
    }
    in(kRbr);
    EXPECT_EQ(in(kIir), 0xc1u);
  }
}

TEST_F(Uart, Section8_4_FcrBitsNeedBitZeroAndTogglingItClears) {
  out(kFcr, 0xc0);  // ignored without bit 0
  EXPECT_EQ(in(kIir), 0x01u);
  out(kFcr, 0x01);
  arrive(1);
  out(kFcr, 0x01);
  EXPECT_EQ(in(kLsr), 0x61u);
  out(kFcr, 0x03);
  EXPECT_EQ(in(kLsr), 0x60u);
  arrive(2);
  out(kFcr, 0x00);
  EXPECT_EQ(in(kLsr), 0x60u);
}

TEST_F(Uart, Section8_7_LoopbackReturnsDataAndSendsNothing) {
  out(kMcr, 0x10);
  out(kThr, 0x5a);
  EXPECT_EQ(sent(), -1);
  EXPECT_EQ(in(kLsr), 0x61u);
  EXPECT_EQ(in(kRbr), 0x5au);
  EXPECT_FALSE(arrive(1));  // SIN is disconnected
}

TEST_F(Uart, Section8_3_OverrunOverwritesRbrButNotTheFifo) {
  out(kMcr, 0x10);
  out(kThr, 1);
  out(kThr, 2);
  EXPECT_EQ(in(kLsr), 0x63u);
  EXPECT_EQ(in(kLsr), 0x61u);  // reading clears the error
  EXPECT_EQ(in(kRbr), 2u);
  out(kFcr, 0x01);
  for (unsigned i = 0; i < 17; ++i) out(kThr, i);
  EXPECT_EQ(in(kLsr), 0x63u);
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(in(kRbr), i);
}

TEST_F(Uart, Section8_7_LoopbackConnectsModemOutputsToInputs) {
  constexpr struct {
    unsigned mcr, msr;
  } kPairs[] = {{0x10, 0x00}, {0x11, 0x20}, {0x12, 0x10}, {0x14, 0x40}, {0x18, 0x80}};
  for (auto [mcr, msr] : kPairs) {
    out(kMcr, mcr);
    EXPECT_EQ(in(kMsr)&0xf0u, msr);
  }
}

TEST_F(Uart, Section8_8_DeltasReportChangesAndRiOnlyItsTrailingEdge) {
  out(kMcr, 0x10);
  EXPECT_EQ(in(kMsr), 0x0bu);  // CTS, DSR and DCD went away
  EXPECT_EQ(in(kMsr), 0x00u);
  out(kMcr, 0x14);
  EXPECT_EQ(in(kMsr), 0x40u);
  out(kMcr, 0x10);
  EXPECT_EQ(in(kMsr), 0x04u);
}

TEST_F(Uart, Section8_5_InterruptsHaveTheDataSheetsPriorities) {
  out(kIer, 0x0f);
  out(kMcr, 0x18);  // deltas
  out(kThr, 1);
  out(kThr, 2);  // overrun, data, THRE
  EXPECT_TRUE(irq());
  EXPECT_EQ(in(kIir), 0x06u);
  in(kLsr);
  EXPECT_EQ(in(kIir), 0x04u);
  in(kRbr);
  EXPECT_EQ(in(kIir), 0x02u);
  EXPECT_EQ(in(kIir), 0x00u);
  EXPECT_TRUE(irq());
  in(kMsr);
  EXPECT_EQ(in(kIir), 0x01u);
  EXPECT_FALSE(irq());
}

// 115200 baud, eight bits, no parity: a character takes 160 clocks of 1.8432 MHz, 86805.56 ns.
class TimedUart : public Uart {
 protected:
  static constexpr uint64_t kCharacter = 86806;
  TimedUart() {
    Uart16550::set_timed(s, {0}, true);
    out(kLcr, 0x80);
    out(kDll, 1);
    out(kDlm, 0);
    out(kLcr, 0x03);
  }
  void wait(uint64_t ns) { Uart16550::advance(s, {s.now_ns + ns}); }
};

TEST_F(TimedUart, Section8_3_ThrGoesToTheShiftRegisterAndTemtFollowsTheStopBit) {
  out(kThr, 'a');
  EXPECT_EQ(in(kLsr), 0x20u);
  EXPECT_EQ(sent(), -1);
  out(kThr, 'b');
  EXPECT_EQ(in(kLsr), 0x00u);
  wait(kCharacter - 1);
  EXPECT_EQ(sent(), -1);
  wait(1);
  EXPECT_EQ(sent(), 'a');
  EXPECT_EQ(in(kLsr), 0x20u);
  EXPECT_EQ(Uart16550::next_event(s).value, 2 * kCharacter);
  wait(kCharacter);
  EXPECT_EQ(sent(), 'b');
  EXPECT_EQ(in(kLsr), 0x60u);
  EXPECT_EQ(Uart16550::next_event(s), kNever);
}

TEST_F(TimedUart, Section8_1_ACharacterIsItsStartDataParityAndStopBits) {
  constexpr struct {
    unsigned lcr, half_bits;
  } kFormats[] = {{0x00, 14}, {0x04, 15}, {0x01, 16}, {0x05, 18}, {0x02, 18},
                  {0x03, 20}, {0x07, 22}, {0x0b, 22}, {0x0f, 24}, {0x1f, 24}};
  for (const unsigned divisor : {1u, 12u, 0x0900u, 0xffffu}) {
    for (const auto [lcr, half_bits] : kFormats) {
      out(kLcr, 0x80);
      out(kDll, divisor & 0xff);
      out(kDlm, divisor >> 8);
      out(kLcr, lcr);
      const uint64_t start = s.now_ns;
      out(kThr, 'x');
      const double ns = half_bits * 8.0 * divisor / 1843200 * 1e9;
      EXPECT_NEAR(static_cast<double>(Uart16550::next_event(s).value - start), ns, 1) << lcr << ' ' << divisor;
      wait(static_cast<uint64_t>(ns) + 1);
      EXPECT_EQ(sent(), 'x');
    }
  }
}

TEST_F(TimedUart, Section8_10_TheThreInterruptComesWhenTheFifoEmpties) {
  out(kFcr, 0x01);
  out(kMcr, 0x08);
  out(kIer, 0x02);
  in(kIir);
  for (int i = 0; i < 17; ++i) out(kThr, static_cast<unsigned>(i));
  EXPECT_EQ(in(kIir), 0xc1u);
  out(kThr, 99);  // the FIFO is full
  for (int i = 0; i < 16; ++i) {
    EXPECT_FALSE(irq());
    wait(kCharacter);
    EXPECT_EQ(sent(), i);
  }
  EXPECT_TRUE(irq());
  EXPECT_EQ(in(kIir), 0xc2u);
  EXPECT_EQ(in(kLsr), 0x20u);
  wait(kCharacter);
  EXPECT_EQ(sent(), 16);
  EXPECT_EQ(sent(), -1);
  EXPECT_EQ(in(kLsr), 0x60u);
}

TEST_F(TimedUart, Section8_4_ResettingTheTransmitFifoKeepsTheShiftRegister) {
  out(kFcr, 0x01);
  out(kThr, 'a');
  out(kThr, 'b');
  out(kThr, 'c');
  out(kFcr, 0x05);
  EXPECT_EQ(in(kLsr), 0x20u);
  wait(10 * kCharacter);
  EXPECT_EQ(sent(), 'a');
  EXPECT_EQ(sent(), -1);
}

TEST_F(TimedUart, Section8_10_TheTimeoutComesFourCharactersAfterTheFifoWasTouched) {
  out(kFcr, 0x41);
  out(kIer, 0x01);
  out(kMcr, 0x08);
  EXPECT_TRUE(arrive(1));
  EXPECT_FALSE(arrive(2));  // the line carries one byte at a time
  wait(kCharacter);
  EXPECT_TRUE(arrive(2));
  wait(4 * kCharacter - 1);
  EXPECT_EQ(in(kIir), 0xc1u);
  wait(1);
  EXPECT_TRUE(irq());
  EXPECT_EQ(in(kIir), 0xccu);
  EXPECT_TRUE(arrive(3));
  EXPECT_EQ(in(kIir), 0xccu);  // only reading ends it
  in(kRbr);
  EXPECT_EQ(in(kIir), 0xc1u);
  wait(4 * kCharacter);
  EXPECT_EQ(in(kIir), 0xccu);
  EXPECT_TRUE(arrive(4));
  wait(kCharacter);
  EXPECT_TRUE(arrive(5));
  EXPECT_EQ(in(kIir), 0xc4u);  // four bytes: the trigger level
}

TEST_F(TimedUart, Section8_7_LoopbackTakesACharactersTime) {
  out(kMcr, 0x10);
  out(kThr, 0x5a);
  EXPECT_EQ(in(kLsr), 0x20u);
  wait(kCharacter);
  EXPECT_EQ(in(kLsr), 0x61u);
  EXPECT_EQ(in(kRbr), 0x5au);
}

TEST_F(TimedUart, ResetKeepsTheTimingAndAnInstantLineEndsWhatIsOnItsWay) {
  out(kThr, 'a');
  Uart16550::reset(s);
  EXPECT_TRUE(s.timed);
  EXPECT_EQ(in(kLsr), 0x60u);
  out(kThr, 'b');
  out(kThr, 'c');
  Uart16550::set_timed(s, {0}, false);
  EXPECT_EQ(sent(), 'b');
  EXPECT_EQ(sent(), 'c');
  EXPECT_EQ(Uart16550::next_event(s), kNever);
}

TEST_F(Uart, AWideAccessIsItsBytesAndBeyondTheWindowIsOpenBus) {
  Uart16550::write(s, {0}, kLcr, 2, 0x0803);
  EXPECT_EQ(in(kLcr), 0x03u);
  EXPECT_EQ(in(kMcr), 0x08u);
  EXPECT_EQ(Uart16550::read(s, {0}, kScr, 4), 0xffffff00u);
  EXPECT_EQ(Uart16550::read(s, {0}, 100, 8), ~uint64_t{0});
}

}  // namespace
}  // namespace dejavm
