// The ACPI fixed hardware: PM1 event and control registers, and the power management timer.
// Source: ACPI specification 6.4, 4.8.2.1 (PM timer), 4.8.3.1 (PM1 event), 4.8.3.2 (PM1 control).
//
// Window, byte offsets; accesses of any size and offset compose bytes, lowest first:
//   0  PM1_STS, 16 bits, write one to clear: TMR 0, GBL 5, PWRBTN 8, SLPBTN 9, RTC 10, WAK 15
//   2  PM1_EN, 16 bits: the same bits without WAK
//   4  PM1_CNT, 16 bits: SCI_EN 0 (always reads 1: there is no legacy mode), BM_RLD 1, SLP_TYP 12:10, SLP_EN 13
//      (write only); GBL_RLS 2 is write only too, and there is no firmware that would hear it
//   8  PM_TMR, 32 bits, read only: a counter at 3579545 Hz, of 24 bits or (set_extended; FADT flag TMR_VAL_EXT) 32;
//      TMR_STS sets whenever its highest bit toggles
//
// SLP_EN with SLP_TYP 5 (S5) asks for power off; with any other type the machine wakes at once: WAK_STS sets.
#pragma once

#include <array>

#include "devices/core/model.h"

namespace dejavm {

struct Vpmtmr {
  static constexpr std::string_view kName = "vpmtmr";
  static constexpr uint16_t kVersion = 1;
  static constexpr DeviceClock kClock{3'579'545};

  enum Pm1Status : uint16_t {
    kTmrSts = 1 << 0,
    kGblSts = 1 << 5,
    kPwrbtnSts = 1 << 8,
    kSlpbtnSts = 1 << 9,
    kRtcSts = 1 << 10,
    kWakSts = 1 << 15,
    kEventBits = kTmrSts | kGblSts | kPwrbtnSts | kSlpbtnSts | kRtcSts,  // those that PM1_EN has too
    kStatusBits = kEventBits | kWakSts,
  };

  struct State {
    uint64_t now_ns = 0;  // the latest time seen
    uint16_t status = 0;
    uint16_t enable = 0;
    uint16_t control = 0;  // the bits of PM1_CNT that can be written and read
    uint8_t inputs = 0;    // levels
    bool power_off = false;
    bool extended = false;  // the timer has 32 bits
    std::array<uint8_t, 7> reserved{};
    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"),
                        field("status", &State::status),
                        field("enable", &State::enable),
                        field("control", &State::control),
                        field("inputs", &State::inputs).range(0, 7),
                        field("power_off", &State::power_off),
                        field("extended", &State::extended),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };

  // A rise of an input sets its status bit.
  enum Input : unsigned { kPowerButton, kSleepButton, kRtcAlarm };
  enum Line : uint64_t { kSci = 1 << 0 };  // level: an enabled status bit is set

  static const char* invalid(const State&);
  static DeviceModel model();  // vpmtmr_model.cc
  static void reset(State&);   // keeps what set_extended said
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos now, unsigned input, bool level);

  // How the machine is built: whether the timer has 32 bits rather than 24.
  static void set_extended(State&, Nanos now, bool extended);
  // The guest has asked to be switched off; stays until reset.
  static bool wants_power_off(const State&);
};

}  // namespace dejavm
