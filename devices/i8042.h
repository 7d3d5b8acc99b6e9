// The keyboard controller (8042, PS/2 type) with a keyboard that nobody types on and no mouse. Window: ports 0x60
// (data) and 0x64 (status, command), `offset` being the port itself; a wider access is its bytes at ascending ports.
// Sources: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller" and
// "Keyboard"; the 8242 data sheet.
//
// The controller's answers are ready at once while the output buffer is empty, and so is the keyboard's first byte.
// After a byte is taken, the next one waiting follows kByteGapNs later, so that each is an edge of its own.
// - An answer of the controller goes before waiting bytes of the keyboard; a second one replaces one still waiting.
// - A disabled keyboard interface holds the keyboard's bytes back. Sending the keyboard a byte enables it again.
// - There is no mouse: a byte sent to it (D4) is answered as the controller answers for a device that keeps silent:
//   0xfe with the auxiliary and the time-out bits of the status. The interface tests themselves pass.
// - The keyboard takes a byte from 0xed on as a new command even where it awaits a parameter. It acknowledges LED,
//   typematic and scan code set commands and keeps only the set's number. Of its answers, those that translation
//   (command byte, bit 6) changes are the identification and the set's number.
// - Output port: bit 0 low, or a pulse of it (F0-FE even), asks for a reset of the machine until reset() is called.
//   A20 (bit 1) is stored; the address line is always on.
// - At reset the command byte is what PC firmware leaves, since guests start without firmware. No password is
//   installed, and commands of the password (A5, A6), diagnostic dump (AC) and port polling (C1, C2) do nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "devices/core/model.h"

namespace dejavm {

struct I8042 {
  static constexpr std::string_view kName = "i8042";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kDataPort = 0x60, kCommandPort = 0x64;
  static constexpr uint64_t kByteGapNs = 10'000;
  static constexpr unsigned kRamBytes = 32, kQueueBytes = 16;

  // What a byte in the output buffer is: where it comes from, and how it got there.
  enum Origin : uint8_t { kKeyboard = 0, kAux = 0x20, kTimeout = 0x40 };  // the status bits that accompany it
  // What the next byte written to port 0x60 is for.
  enum class Expect : uint8_t { kNone, kRam, kOutputPort, kKeyboardBuffer, kAuxBuffer, kAuxDevice };

  struct State {
    uint64_t now_ns = 0;                       // the latest time seen
    uint64_t ready_ns = 0;                     // when the emptied output buffer takes the next waiting byte
    std::array<uint8_t, kRamBytes> ram{};      // byte 0 is the command byte
    std::array<uint8_t, kQueueBytes> queue{};  // the keyboard's bytes, oldest first; zero past queue_len
    uint8_t queue_len = 0;
    bool full = false;       // the output buffer holds a byte (OBF)
    uint8_t out = 0;         // the last byte of the output buffer; read again when it is empty
    uint8_t out_origin = 0;  // 0 while !full
    bool reply_waiting = false;
    uint8_t reply = 0, reply_origin = 0;  // 0 while !reply_waiting
    Expect expect = Expect::kNone;
    uint8_t expect_index = 0;       // for kRam; else 0
    uint8_t output_port = 0;        // without bits 4 and 5, which follow from the output buffer
    bool last_was_command = false;  // status bit 3
    bool reset_requested = false;
    uint8_t keyboard_command = 0;  // the keyboard command that awaits its parameter, or 0
    uint8_t keyboard_set = 2;      // scan code set
    uint8_t keyboard_last = 0xaa;  // the byte that Resend repeats
    uint8_t reserved = 0;

    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"),
                        field("ready_ns", &State::ready_ns).unit("ns"),
                        field("ram", &State::ram),
                        field("queue", &State::queue),
                        field("queue_len", &State::queue_len).range(0, kQueueBytes).unit("bytes"),
                        field("full", &State::full),
                        field("out", &State::out),
                        field("out_origin", &State::out_origin).range(0, kAux | kTimeout),
                        field("reply_waiting", &State::reply_waiting),
                        field("reply", &State::reply),
                        field("reply_origin", &State::reply_origin).range(0, kAux | kTimeout),
                        field("expect", &State::expect).range(0, static_cast<uint64_t>(Expect::kAuxDevice)),
                        field("expect_index", &State::expect_index).range(0, kRamBytes - 1),
                        field("output_port", &State::output_port),
                        field("last_was_command", &State::last_was_command),
                        field("reset_requested", &State::reset_requested),
                        field("keyboard_command", &State::keyboard_command),
                        field("keyboard_set", &State::keyboard_set).range(1, 3),
                        field("keyboard_last", &State::keyboard_last),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };
  enum Line : uint64_t { kIrq1 = 1, kIrq12 = 2, kReset = 4 };

  static const char* invalid(const State&);
  static DeviceModel model();  // i8042_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}
};

}  // namespace dejavm
