// The real-time clock and CMOS memory: an MC146818 with 128 bytes, as on a PC. Window: ports 0x70-0x77, `offset` being
// the port itself. 0x70 takes the index (bit 7, NMI disable, is stored and not wired) and reads as open bus; 0x71 is
// the indexed byte. 0x72 and up, a second bank on some chipsets, are not present. A wider access is its bytes at
// ascending ports. Sources: Motorola MC146818 data sheet; the century byte 0x32 of the PC's CMOS map.
//
// Time is kept as the chip keeps it, in the time bytes themselves, in whatever format register B names; once a second
// they are increased by one. So a change of format converts nothing, and writing a time byte sets the clock.
// - The crystal is 32768 Hz, its ticks counted from virtual time 0. A second begins, and the periodic taps fire, when
//   the divider chain passes a multiple of theirs. Register A's DV = 11x holds the chain in reset; after its release
//   the first update comes half a second later. Every other DV runs as 010 does: they are for other crystals.
// - UIP reads 1 from 8 ticks (244 us) before an update. The update itself takes no time.
// - Bytes that are no valid time count on from their decoded value: the month is limited to 1-12, the rest carries.
// - DSE, the automatic daylight saving, is stored without effect, as in every later chip. Bit 7 of the seconds byte
//   cannot be written. VRT reads 1: the battery is good.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "devices/core/model.h"

namespace dejavm {

struct Vrtc {
  static constexpr std::string_view kName = "vrtc";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kIndexPort = 0x70, kDataPort = 0x71;
  static constexpr uint16_t kTicksPerSecond = 32768;

  struct State {
    int64_t base_unix_s = 0;          // what the clock shows at virtual time 0; kept over reset
    uint64_t now_ns = 0;              // the latest time seen
    std::array<uint8_t, 128> cmos{};  // time, alarm, registers A-D as stored (UIP and VRT 0), memory
    uint16_t phase = 0;               // the divider chain at crystal tick t is t + phase; 0 while the chain is held
    uint8_t index = 0;                // the last byte written to port 0x70, with its bit 7
    std::array<uint8_t, 5> reserved{};

    static constexpr auto fields() {
      return std::tuple{field("base_unix_s", &State::base_unix_s).unit("s"),
                        field("now_ns", &State::now_ns).unit("ns"),
                        field("cmos", &State::cmos),
                        field("phase", &State::phase).range(0, kTicksPerSecond - 1).unit("ticks"),
                        field("index", &State::index),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };
  enum Line : uint64_t { kIrq = 1 };  // IRQF

  static const char* invalid(const State&);
  static DeviceModel model();  // vrtc_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}

  // The chip's RESET pin: clock, calendar and memory go on, for they have a battery; interrupts are off.
  static void reset_pin(State&, Nanos now);
  // What the clock shows at virtual time 0; for the board, before the machine runs.
  static void set_start_time(State&, int64_t unix_s);
  // A byte of CMOS memory; for the board. Only 0x0e-0x7f without the century: the chip's own bytes are left alone.
  static void set_cmos(State&, unsigned index, uint8_t value);
};

}  // namespace dejavm
