// One serial port: a 16550A UART as COM1 of a PC. Window: offsets 0-7 (ports 0x3f8-0x3ff), eight byte-wide registers; a
// wider access is its bytes at ascending offsets. Source: National Semiconductor PC16550D data sheet, section 8.
//
// The line outside is instant and never faulty: a byte written to THR has left at once (THRE and TEMT always read as
// set), and a received byte has no parity, framing or break error. It carries all eight bits whatever LCR says of word
// length. The far end holds CTS, DSR and DCD asserted, RI not.
// - Character timeout (8.4.1): indicated as soon as the FIFO holds fewer bytes than the trigger level, not after four
//   character times, because no further byte is on its way that could reach the level first.
// - Overrun happens in loopback only: receive() refuses a byte that has no room, and the sender keeps it. It refuses
//   in loopback too, where SIN is disconnected.
// - MCR.OUT2 gates the interrupt, as on every PC; in loopback its register bit counts, as in Super I/O chips.
// - An empty receiver reads as 0. The divisor is stored without effect. Not modelled: DMA pins, writes to LSR and MSR.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "devices/core/model.h"

namespace dejavm {

struct Uart16550 {
  static constexpr std::string_view kName = "uart16550";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kFifoBytes = 16;
  static constexpr uint8_t kIerMask = 0x0f, kFcrMask = 0xc9, kMcrMask = 0x1f, kOverrun = 0x02;

  struct State {
    uint8_t ier = 0;
    uint8_t fcr = 0;                // enable, DMA mode and trigger level; 0 while the FIFOs are off
    uint8_t lcr = 0;
    uint8_t mcr = 0;
    uint8_t lsr_errors = 0;         // only overrun can happen
    uint8_t msr_deltas = 0;         // bits 0-3 of MSR; its bits 4-7 follow from mcr
    uint8_t scr = 0;
    uint8_t dll = 12, dlm = 0;      // 9600 baud; the data sheet leaves the divisor undefined at reset
    bool thre_pending = false;      // the THRE interrupt, from its cause until IIR is read
    uint8_t rx_len = 0, tx_len = 0;
    std::array<uint8_t, kFifoBytes> rx{}, tx{};  // oldest first; zero past the length

    static constexpr auto fields() {
      return std::tuple{field("ier", &State::ier).range(0, kIerMask),
                        field("fcr", &State::fcr).range(0, kFcrMask),
                        field("lcr", &State::lcr),
                        field("mcr", &State::mcr).range(0, kMcrMask),
                        field("lsr_errors", &State::lsr_errors).range(0, kOverrun),
                        field("msr_deltas", &State::msr_deltas).range(0, 0x0f),
                        field("scr", &State::scr),
                        field("dll", &State::dll),
                        field("dlm", &State::dlm),
                        field("thre_pending", &State::thre_pending),
                        field("rx_len", &State::rx_len).range(0, kFifoBytes).unit("bytes"),
                        field("tx_len", &State::tx_len).range(0, kFifoBytes).unit("bytes"),
                        field("rx", &State::rx),
                        field("tx", &State::tx)};
    }
  };
  enum Line : uint64_t { kIrq = 1 };

  static const char* invalid(const State&);
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos) {}
  static Nanos next_event(const State&) { return kNever; }
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}

  // A byte arrives from the far end; false if there is no room for it, and then nothing changed.
  static bool receive(State&, Nanos now, uint8_t byte);
  // Takes the oldest byte sent; false if there is none. An access sends at most one byte; the board takes it before the
  // next access. Bytes beyond the sixteenth that nobody took are lost.
  static bool pop_transmitted(State&, uint8_t& byte);
};

}  // namespace dejavm
