// Odds and ends of a PC chipset and of virtual machines that are a port each.
// Source: Intel ICH9 datasheet 13.7.3 (PORT92), 13.7.5 (RST_CNT); port 0x80 by PC convention; 0xe9 and 0x402 as in
// Bochs and in firmware for virtual machines; 0xf4 as in QEMU's documentation of isa-debug-exit.
//
// Window: `offset` is the I/O port itself. A register answers at its own port with the low byte of an access; the
// rest of a wider access reads as ones and is not written.
//   0x80   POST code latch, read and write
//   0x92   bit 1 A20 gate (kept only: A20 is always enabled), bit 0: a rise asks for a reset
//   0xcf9  reset control: bit 1 SYS_RST, bit 2 RST_CPU, bit 3 FULL_RST; a rise of bit 2 asks for a reset
//   0xf4   debug exit: a write ends the machine with that value, if enabled; reads as nothing
//   0xe9, 0x402  debug console: reads 0xe9, the sign that it is there; a write emits the byte
//   0x402  can be left out, by the configuration: firmware then says nothing of what it does
#pragma once

#include "devices/core/model.h"

namespace dejavm {

struct Sysctl {
  static constexpr std::string_view kName = "sysctl";
  static constexpr uint16_t kVersion = 2;

  struct State {
    uint8_t debug_exit_value;
    bool debug_exit_enabled;  // configuration: reset() leaves it alone
    bool debug_exit;
    bool reset_requested;
    bool has_pending;
    uint8_t pending;  // byte of the debug console that nobody has popped yet; a further byte replaces it
    uint8_t post_code;
    uint8_t port92;
    uint8_t reset_control;
    bool no_firmware_debug;  // configuration: reset() leaves it alone
    static constexpr auto fields() {
      return std::tuple{field("debug_exit_value", &State::debug_exit_value),
                        field("debug_exit_enabled", &State::debug_exit_enabled),
                        field("debug_exit", &State::debug_exit),
                        field("reset_requested", &State::reset_requested),
                        field("has_pending", &State::has_pending),
                        field("pending", &State::pending),
                        field("post_code", &State::post_code),
                        field("port92", &State::port92).range(0, 0x03),
                        field("reset_control", &State::reset_control).range(0, 0x0e),
                        field("no_firmware_debug", &State::no_firmware_debug).since(2, 0)};
    }
  };

  enum Line : uint64_t { kReset = 1 << 0, kDebugExit = 1 << 1 };  // stay until reset

  static const char* invalid(const State&);
  static DeviceModel model();  // sysctl_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos) {}
  static Nanos next_event(const State&) { return kNever; }
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs

  // Takes the byte that the guest wrote to the debug console, if there is one.
  static bool pop_debug(State&, uint8_t& byte);
};

}  // namespace dejavm
