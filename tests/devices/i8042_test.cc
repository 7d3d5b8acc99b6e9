// Expectations: IBM PS/2 Hardware Interface Technical Reference, keyboard controller and keyboard.
#include "devices/i8042.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace dejavm {
namespace {

constexpr unsigned kObf = 1, kSystem = 4, kCommandFlag = 8, kAuxObf = 0x20, kTimeout = 0x40;

class Keyboard : public testing::Test {
 protected:
  Keyboard() {
    schema_of<I8042>();
    I8042::reset(s);
  }
  ~Keyboard() override { EXPECT_EQ(I8042::invalid(s), nullptr); }
  unsigned status() { return static_cast<unsigned>(I8042::read(s, {now}, 0x64, 1)); }
  unsigned data() { return static_cast<unsigned>(I8042::read(s, {now}, 0x60, 1)); }
  void command(unsigned byte) { I8042::write(s, {now}, 0x64, 1, byte); }
  void send(unsigned byte) { I8042::write(s, {now}, 0x60, 1, byte); }
  // All bytes waiting, each taken once it is there, as a driver's interrupt handler would.
  std::vector<unsigned> take() {
    std::vector<unsigned> bytes;
    for (;;) {
      if (status() & kObf) {
        bytes.push_back(data());
      } else {
        const Nanos next = I8042::next_event(s);
        if (next == kNever) return bytes;
        now = std::max(now, next.value);
      }
    }
  }
  std::vector<unsigned> answer(unsigned byte) {
    send(byte);
    return take();
  }
  std::vector<unsigned> controller(unsigned byte) {
    command(byte);
    return take();
  }
  void set_command_byte(unsigned byte) {
    command(0x60);
    send(byte);
  }
  uint64_t lines() { return I8042::lines(s); }
  using Bytes = std::vector<unsigned>;
  I8042::State s;
  uint64_t now = 0;
};

TEST_F(Keyboard, TheControllerPassesItsTests) {
  EXPECT_EQ(controller(0xaa), Bytes{0x55});
  EXPECT_EQ(status() & kSystem, kSystem);
  EXPECT_EQ(controller(0xab), Bytes{0x00});
  EXPECT_EQ(controller(0xa9), Bytes{0x00});
  EXPECT_EQ(controller(0xa4), Bytes{0xf1});
}

TEST_F(Keyboard, AnswersOfTheControllerAreThereAtOnce) {
  command(0xaa);
  EXPECT_EQ(status() & (kObf | kAuxObf | kTimeout), kObf);
  EXPECT_EQ(data(), 0x55u);
  EXPECT_EQ(status() & kObf, 0u);
  EXPECT_EQ(data(), 0x55u);  // an empty buffer shows its last byte
}

TEST_F(Keyboard, StatusTellsCommandsFromData) {
  command(0x60);
  EXPECT_EQ(status() & kCommandFlag, kCommandFlag);
  send(0x41);
  EXPECT_EQ(status() & kCommandFlag, 0u);
  EXPECT_EQ(status() & kSystem, 0u);  // follows the command byte
}

TEST_F(Keyboard, CommandByteAndRamReadBack) {
  for (unsigned i = 0; i < 32; ++i) {
    command(0x60 + i);
    send(i * 7 + 3);
  }
  for (unsigned i = 0; i < 32; ++i) EXPECT_EQ(controller(0x20 + i), Bytes{i * 7 + 3});
}

TEST_F(Keyboard, InterfacesAreDisabledAndEnabledInTheCommandByte) {
  set_command_byte(0x47);
  command(0xad);
  command(0xa7);
  EXPECT_EQ(controller(0x20), Bytes{0x77});
  command(0xae);
  command(0xa8);
  EXPECT_EQ(controller(0x20), Bytes{0x47});
}

TEST_F(Keyboard, ACommandForgetsTheParameterOfTheOneBefore) {
  set_command_byte(0x03);
  command(0xd1);
  command(0xae);
  EXPECT_EQ(answer(0x00), Bytes{0xfe});  // went to the keyboard, not to the output port
  EXPECT_EQ(lines(), 0u);
}

TEST_F(Keyboard, KeyboardCommandsAreAnswered) {
  set_command_byte(0x03);  // no translation
  EXPECT_EQ(answer(0xff), (Bytes{0xfa, 0xaa}));
  EXPECT_EQ(answer(0xf2), (Bytes{0xfa, 0xab, 0x83}));
  EXPECT_EQ(answer(0xee), Bytes{0xee});
  for (unsigned c : {0xf4u, 0xf5u, 0xf6u, 0xf7u, 0xf8u, 0xf9u, 0xfau}) EXPECT_EQ(answer(c), Bytes{0xfa});
  for (unsigned c : {0xedu, 0xf3u}) {
    EXPECT_EQ(answer(c), Bytes{0xfa});
    EXPECT_EQ(answer(0x07), Bytes{0xfa});
  }
  for (unsigned c : {0x00u, 0x12u, 0xecu, 0xefu, 0xf1u}) EXPECT_EQ(answer(c), Bytes{0xfe});
}

TEST_F(Keyboard, ScanCodeSetsAreKeptAndTold) {
  set_command_byte(0x03);
  for (unsigned set = 1; set <= 3; ++set) {
    answer(0xf0);
    EXPECT_EQ(answer(set), Bytes{0xfa});
    answer(0xf0);
    EXPECT_EQ(answer(0), (Bytes{0xfa, set}));
  }
  answer(0xf0);
  EXPECT_EQ(answer(4), Bytes{0xfe});
  answer(0xf6);
  answer(0xf0);
  EXPECT_EQ(answer(0), (Bytes{0xfa, 2}));
}

TEST_F(Keyboard, ResendRepeatsTheLastByte) {
  set_command_byte(0x03);
  answer(0xf2);
  EXPECT_EQ(answer(0xfe), Bytes{0x83});
}

TEST_F(Keyboard, ACommandInPlaceOfAParameterIsACommand) {
  set_command_byte(0x03);
  answer(0xed);
  EXPECT_EQ(answer(0xf4), Bytes{0xfa});
  EXPECT_EQ(answer(0x02), Bytes{0xfe});
}

TEST_F(Keyboard, TranslationTurnsSet2IntoSet1) {
  set_command_byte(0x43);
  EXPECT_EQ(answer(0xf2), (Bytes{0xfa, 0xab, 0x41}));
  answer(0xf0);
  EXPECT_EQ(answer(0), (Bytes{0xfa, 0x41}));
}

TEST_F(Keyboard, EachByteIsAnEdgeOfItsOwn) {
  set_command_byte(0x03);
  send(0xff);
  EXPECT_EQ(lines(), uint64_t{I8042::kIrq1});
  EXPECT_EQ(I8042::next_event(s), kNever);
  EXPECT_EQ(data(), 0xfau);
  EXPECT_EQ(lines(), 0u);
  const Nanos next = I8042::next_event(s);
  ASSERT_GT(next, Nanos{now});
  ASSERT_LT(next, kNever);
  now = next.value - 1;
  EXPECT_EQ(status() & kObf, 0u);
  I8042::advance(s, next);
  EXPECT_EQ(lines(), uint64_t{I8042::kIrq1});
  now = next.value;
  EXPECT_EQ(data(), 0xaau);
}

TEST_F(Keyboard, TheCommandByteGatesTheInterrupts) {
  set_command_byte(0x00);
  send(0xee);
  EXPECT_EQ(lines(), 0u);
  set_command_byte(0x01);
  EXPECT_EQ(lines(), uint64_t{I8042::kIrq1});
  take();
  set_command_byte(0x01);
  command(0xd3);
  send(0x5a);
  EXPECT_EQ(lines(), 0u);
  set_command_byte(0x02);
  EXPECT_EQ(lines(), uint64_t{I8042::kIrq12});
}

TEST_F(Keyboard, BufferWritesComeBackFromTheirSide) {
  command(0xd2);
  send(0x12);
  EXPECT_EQ(status() & (kObf | kAuxObf), kObf);
  EXPECT_EQ(take(), Bytes{0x12});
  command(0xd3);
  send(0x34);
  EXPECT_EQ(status() & (kObf | kAuxObf), kObf | kAuxObf);
  EXPECT_EQ(take(), Bytes{0x34});
}

TEST_F(Keyboard, NoMouseAnswersWithATimeout) {
  command(0xd4);
  send(0xff);
  EXPECT_EQ(status() & (kObf | kAuxObf | kTimeout), kObf | kAuxObf | kTimeout);
  EXPECT_EQ(take(), Bytes{0xfe});
  EXPECT_EQ(status() & (kObf | kAuxObf | kTimeout), 0u);
}

TEST_F(Keyboard, ADisabledKeyboardHoldsItsBytesBackAndTheControllerDoesNot) {
  set_command_byte(0x03);
  send(0xf2);
  command(0xad);
  EXPECT_EQ(take(), Bytes{0xfa});  // was in the buffer already
  EXPECT_EQ(controller(0x20), Bytes{0x13});
  command(0xae);
  EXPECT_EQ(take(), (Bytes{0xab, 0x83}));
  command(0xad);
  EXPECT_EQ(answer(0xee), Bytes{0xee});  // a byte to the keyboard enables it
  EXPECT_EQ(controller(0x20), Bytes{0x03});
}

TEST_F(Keyboard, ACommandsAnswerOvertakesTheKeyboard) {
  set_command_byte(0x03);
  send(0xf2);
  command(0x20);
  EXPECT_EQ(take(), (Bytes{0xfa, 0x03, 0xab, 0x83}));
}

TEST_F(Keyboard, MoreAnswersThanTheQueueHoldsAreLost) {
  set_command_byte(0x03);
  for (int i = 0; i < 30; ++i) send(0xee);
  EXPECT_EQ(take(), Bytes(17, 0xee));  // sixteen and the one in the output buffer
}

TEST_F(Keyboard, TheOutputPortHoldsA20AndResets) {
  command(0xd1);
  send(0xdd);
  EXPECT_EQ(controller(0xd0)[0] & 3, 1u);
  command(0xdf);
  EXPECT_EQ(controller(0xd0)[0] & 3, 3u);
  command(0xdd);
  EXPECT_EQ(controller(0xd0)[0] & 3, 1u);
  EXPECT_EQ(lines() & I8042::kReset, 0u);
  command(0xd1);
  send(0xfe);
  EXPECT_EQ(lines() & I8042::kReset, uint64_t{I8042::kReset});
}

TEST_F(Keyboard, TheOutputPortShowsABufferInWaiting) {
  EXPECT_EQ(controller(0xd0)[0] & 0x30, 0u);
  command(0xd2);
  send(1);
  command(0xd0);
  EXPECT_EQ(data(), 1u);
  EXPECT_EQ(take()[0] & 0x30, 0x10u);
}

TEST_F(Keyboard, PulsesOfBitZeroReset) {
  for (unsigned c = 0xf0; c <= 0xff; ++c) {
    I8042::reset(s);
    command(c);
    EXPECT_EQ(lines() & I8042::kReset, c & 1 ? 0u : uint64_t{I8042::kReset}) << c;
  }
  I8042::reset(s);
  EXPECT_EQ(lines(), 0u);
}

TEST_F(Keyboard, OtherPortsAreOpenBus) {
  EXPECT_EQ(I8042::read(s, {0}, 0x61, 1), 0xffu);
  EXPECT_EQ(I8042::read(s, {0}, 0x1234, 8), ~uint64_t{0});
}

TEST_F(Keyboard, AnyAccessesKeepTheStateValidAndTimeSplits) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 200'000; ++i) {
    const uint64_t port = random() % 2 ? 0x60 : 0x64;
    const uint64_t value = random() % 2 ? 0xe0 + random() % 32 : random();
    if (random() % 3) I8042::write(s, {now}, port, 1 + static_cast<unsigned>(random() % 8), value);
    else I8042::read(s, {now}, port, 1 + static_cast<unsigned>(random() % 8));
    ASSERT_EQ(I8042::invalid(s), nullptr);
    const uint64_t step = random() % 30'000;
    I8042::State once = s;
    I8042::advance(once, {now + step});
    const Nanos event = I8042::next_event(s);
    const uint64_t before = lines();
    I8042::advance(s, {now + step / 2});
    I8042::advance(s, {now + step});
    ASSERT_EQ(std::memcmp(&s, &once, sizeof s), 0);
    if (event > Nanos{now + step}) {
      ASSERT_EQ(lines(), before);
    }
    now += step;
  }
}

}  // namespace
}  // namespace dejavm
