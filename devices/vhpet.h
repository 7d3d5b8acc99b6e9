// The high precision event timer. Window: 1 KiB at 0xfed00000, offsets 0-0x3ff. Source: IA-PC HPET Specification,
// revision 1.0a, sections 2.3 and 2.4.
//
// One 64-bit main counter of 10 MHz (100,000,000 fs) that ticks at virtual times divisible by 100 ns, and three 64-bit
// timers, each able to work in 32 bits: timer 0 periodic, 1 and 2 one-shot. Each may be routed to I/O APIC pins 20-23;
// another route is not stored, and the 0 of reset drives no pin. Legacy replacement instead gives timer 0 to IRQ0 and
// timer 1 to IRQ8, whatever else they are told. FSB delivery (2.3.9.3) sends an edge-triggered timer's interrupts as
// MSIs: writes of its route register's value to its address, of which those to 0xfeexxxxx are interrupts and others are
// lost; matches that nobody took in between are one. A level-triggered timer told to do so has its status bit only.
// - A timer fires at the tick at which the counter becomes equal to its comparator, not by a write that makes them
//   equal. One-shot timers fire again when the counter comes by again, after 2^32 or 2^64 ticks.
// - A level-triggered interrupt is its status bit. An edge-triggered one is a rise at its tick; the line falls a tick
//   before the timer's next match, as the 8254's OUT in mode 2 does, so that an 8259, which wants it high until the
//   acknowledge, does not lose it. It falls at once when the timer's trigger, route or enable changes, or the counter
//   halts. Status bits are set whether or not the interrupt is enabled; no timer drives a line while the counter is
//   halted.
// - Periodic timers: any comparator write is the new period; with VAL_SET it sets the comparator too. Each write of any
//   width clears VAL_SET, so 32-bit software sets it before each half (2.3.9.2.2). A period of 0 stands still,
//   one of a single tick never raises its line.
// - A write reaches exactly its own bytes of the 64-bit registers, whatever its width; a comparator in 32-bit mode
//   keeps 32 bits. Writes to the running counter take effect. Reserved registers read as 0, beyond the window all ones.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "devices/core/model.h"

namespace dejavm {

struct Vhpet {
  static constexpr std::string_view kName = "vhpet";
  static constexpr uint16_t kVersion = 1;
  static constexpr uint64_t kWindowBytes = 0x400;
  static constexpr uint64_t kTickNs = 100;
  static constexpr unsigned kTimers = 3;
  static constexpr uint32_t kPinsAllowed = 0x00f00000;
  static constexpr uint16_t kTimerConfigMask = 0x7f4e;  // what is stored of a timer's configuration; see Config

  // A timer's configuration and capability register (2.3.8).
  enum Config : uint64_t {
    kLevel = 1 << 1,
    kEnabled = 1 << 2,
    kPeriodic = 1 << 3,
    kPeriodicCapable = 1 << 4,
    k64BitCapable = 1 << 5,
    kValueSet = 1 << 6,
    k32Bit = 1 << 8,
    kFsb = 1 << 14,
    kFsbCapable = 1 << 15
  };
  static constexpr unsigned kRouteShift = 9;

  struct Timer {
    uint64_t comparator = ~uint64_t{0};
    uint64_t period = 0;  // the value last written to the comparator
    uint64_t fsb = 0;     // route register: value, and address in 63:32
    uint16_t config = 0;  // as stored: without capabilities
    std::array<uint8_t, 6> reserved{};
    static constexpr auto fields() {
      return std::tuple{field("comparator", &Timer::comparator).unit("ticks"),
                        field("period", &Timer::period).unit("ticks"), field("fsb", &Timer::fsb),
                        field("config", &Timer::config).range(0, kTimerConfigMask),
                        field("reserved", &Timer::reserved).range(0, 0)};
    }
  };

  struct State {
    uint64_t now_ns = 0;   // the latest time seen
    uint64_t counter = 0;  // the main counter at that time
    std::array<Timer, kTimers> timers{};
    uint8_t config = 0;  // general configuration: bit 0 runs, bit 1 legacy replacement
    uint8_t status = 0;  // one bit per level-triggered timer
    uint8_t fired = 0;   // one bit per edge-triggered timer that drives its line since its latest match
    uint8_t sends = 0;   // one bit per timer whose message waits to be taken
    std::array<uint8_t, 4> reserved{};
    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"),
                        field("counter", &State::counter).unit("ticks"),
                        field("timers", &State::timers),
                        field("config", &State::config).range(0, 3),
                        field("status", &State::status).range(0, 7),
                        field("fired", &State::fired).range(0, 7),
                        field("sends", &State::sends).range(0, 7),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };

  // Bit p, 0-23: I/O APIC pin p. The legacy bits say who owns IRQ0 and IRQ8, and their levels if it is us.
  enum Line : uint64_t {
    kLegacyActive = uint64_t{1} << 32,
    kLegacyIrq0 = uint64_t{1} << 33,
    kLegacyIrq8 = uint64_t{1} << 34
  };

  static const char* invalid(const State&);
  static DeviceModel model();  // vhpet_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}
  static bool pop_message(State&, BusMessage&);
};

}  // namespace dejavm
