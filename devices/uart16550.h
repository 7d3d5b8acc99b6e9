// One serial port: a 16550A UART as COM1 of a PC. Window: offsets 0-7 (ports 0x3f8-0x3ff), eight byte-wide registers; a
// wider access is its bytes at ascending offsets. Source: National Semiconductor PC16550D data sheet, section 8.
//
// The line outside is never faulty: a received byte has no parity, framing or break error. It carries all eight bits
// whatever LCR says of word length. The far end holds CTS, DSR and DCD asserted, RI not. Its speed is one of two:
// - Instant, as after reset: a byte written to THR has left at once (THRE and TEMT always read as set). The character
//   timeout (8.10) is indicated as soon as the FIFO holds fewer bytes than the trigger level, not after four character
//   times, because no further byte is on its way that could reach the level first.
// - Timed (set_timed): a character takes its start, data, parity and stop bits at 1.8432 MHz / 16 / divisor (a divisor
// of
//   0 counts as 1), as programmed when it starts. The transmitter is a shift register behind THR or a FIFO of 16; a
//   write to a full one replaces THR, or is lost before the FIFO. The timeout takes four character times.
// - Overrun happens in loopback only: receive() refuses a byte that has no room, and the sender keeps it. It refuses
//   in loopback too, where SIN is disconnected.
// - MCR.OUT2 gates the interrupt, as on every PC; in loopback its register bit counts, as in Super I/O chips.
// - An empty receiver reads as 0. Not modelled: DMA pins, writes to LSR and MSR, and the delay of the THRE interrupt by
// a
//   character after a single byte (8.10).
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
  static constexpr uint64_t kLastNs = uint64_t{1} << 62;  // 146 years: sums with it do not wrap around
  static constexpr uint8_t kIerMask = 0x0f, kFcrMask = 0xc9, kMcrMask = 0x1f, kOverrun = 0x02;

  struct State {
    uint8_t ier = 0;
    uint8_t fcr = 0;  // enable, DMA mode and trigger level; 0 while the FIFOs are off
    uint8_t lcr = 0;
    uint8_t mcr = 0;
    uint8_t lsr_errors = 0;  // only overrun can happen
    uint8_t msr_deltas = 0;  // bits 0-3 of MSR; its bits 4-7 follow from mcr
    uint8_t scr = 0;
    uint8_t dll = 12, dlm = 0;  // 9600 baud; the data sheet leaves the divisor undefined at reset
    bool thre_pending = false;  // the THRE interrupt, from its cause until IIR is read
    bool timed = false;
    uint8_t shift = 0;  // from here on timed only: in the transmitter's shift register; 0 while that is empty
    uint8_t rx_len = 0, tx_len = 0, thr_len = 0, reserved = 0;
    std::array<uint8_t, kFifoBytes> rx{}, tx{}, thr{};  // received; sent and not yet taken; waiting to be sent:
                                                        // oldest first; zero past the length
    uint64_t now_ns = 0;                                // the latest time seen
    uint64_t shift_end_ns = 0;                          // when it is sent; 0: the shift register is empty
    uint64_t timeout_at_ns = kNever.value;              // kNever: indicated, if there is a byte in the FIFO
    uint64_t rx_free_at_ns = 0;                         // the line brings a byte no earlier; 0: at any time

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
                        field("timed", &State::timed),
                        field("shift", &State::shift),
                        field("rx_len", &State::rx_len).range(0, kFifoBytes).unit("bytes"),
                        field("tx_len", &State::tx_len).range(0, kFifoBytes).unit("bytes"),
                        field("thr_len", &State::thr_len).range(0, kFifoBytes).unit("bytes"),
                        field("reserved", &State::reserved).range(0, 0),
                        field("rx", &State::rx),
                        field("tx", &State::tx),
                        field("thr", &State::thr),
                        field("now_ns", &State::now_ns).range(0, kLastNs).unit("ns"),
                        field("shift_end_ns", &State::shift_end_ns).unit("ns"),
                        field("timeout_at_ns", &State::timeout_at_ns).unit("ns"),
                        field("rx_free_at_ns", &State::rx_free_at_ns).unit("ns")};
    }
  };
  enum Line : uint64_t { kIrq = 1 };

  static const char* invalid(const State&);
  static DeviceModel model();  // uart16550_model.cc
  static void reset(State&);   // keeps what set_timed said
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  // Also when the line is free to bring the next byte, and at the end of each character: at most 24 in a row change
  // nothing.
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}

  // What the machine asks for; a change ends what is on its way at once.
  static void set_timed(State&, Nanos now, bool timed);
  // A byte arrives from the far end; false if there is no room for it or the line still carries the last one, and then
  // no byte was taken.
  static bool receive(State&, Nanos now, uint8_t byte);
  // Takes the oldest byte sent; false if there is none. The board takes bytes after every access and event. Bytes
  // beyond the sixteenth that nobody took are lost.
  static bool pop_transmitted(State&, uint8_t& byte);
};

}  // namespace dejavm
