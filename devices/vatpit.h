// The PC's 8254 programmable interval timer and the system control port 0x61 around its channel 2.
// Source: Intel 8254 datasheet (231164); port 0x61: Intel ICH9 datasheet 13.7.1 (NMI status and control).
//
// Window: `offset` is the I/O port itself: 0x40-0x42 (channels), 0x43 (control word, write only) and 0x61. Wider
// accesses are bytes at consecutive ports, lowest first. All channels run at 1193182 Hz; a count that is written
// between two clock ticks is loaded at the second; reads show it at once, since port accesses take no time here and
// software counts on an ISA bus cycle being longer than a tick. The gates of channels 0 and 1 are high, that of channel
// 2 is bit 0 of port 0x61. Channels keep the chip's own registers as of the last tick, so that time passes by plain
// arithmetic.
//
// Port 0x61: bits 0 (gate 2), 1 (speaker data), 2 and 3 (NMI enables, kept only) can be written; bit 4 toggles with
// each memory refresh, every 15085 ns; bit 5 is OUT of channel 2; bits 6 and 7 (NMI sources) are 0.
//
// Choices where the datasheet is silent: at power-on every channel is in mode 0, low byte then high byte, without a
// count, and the status says that none is waited for (guests without firmware wait for that); a control word stops the
// counter at 0 until a count is loaded and drops a latched status as well; the illegal count 1 leaves OUT high in modes
// 2 and 3; BCD digits above nine weigh what they say, modulo 10000.
#pragma once

#include "devices/core/model.h"

namespace dejavm {

struct Vatpit {
  static constexpr std::string_view kName = "vatpit";
  static constexpr uint16_t kVersion = 1;
  static constexpr DeviceClock kClock{1'193'182};
  static constexpr uint64_t kRefreshNs = 15'085;

  struct Channel {
    uint32_t reload;   // count register in ticks, 1-65536; 0: none written since the control word
    uint32_t count;    // counting element, 0-65536; 65536 (BCD: 10000) reads as 0
    uint16_t latch;    // output latch, as read
    uint8_t control;   // bits 5-0 of the control word: access, mode, BCD
    uint8_t status;    // status latch
    uint8_t low_byte;  // first byte of a two-byte count
    bool high_next_write;
    bool high_next_read;
    bool count_latched;
    bool status_latched;
    bool gate;
    bool out;
    bool null_count;  // a new count or control word has not reached the counting element
    bool running;     // the counting element was loaded since the control word
    bool load;        // the next tick loads the counting element
    bool armed;       // modes 0, 1, 4, 5: the end of the count will act on OUT
    bool odd;         // mode 3: the count in use is odd
    static constexpr auto fields() {
      return std::tuple{field("reload", &Channel::reload).range(0, 0x10000).unit("ticks"),
                        field("count", &Channel::count).range(0, 0x10000).unit("ticks"),
                        field("latch", &Channel::latch),
                        field("control", &Channel::control).range(0x10, 0x3f),
                        field("status", &Channel::status),
                        field("low_byte", &Channel::low_byte),
                        field("high_next_write", &Channel::high_next_write),
                        field("high_next_read", &Channel::high_next_read),
                        field("count_latched", &Channel::count_latched),
                        field("status_latched", &Channel::status_latched),
                        field("gate", &Channel::gate),
                        field("out", &Channel::out),
                        field("null_count", &Channel::null_count),
                        field("running", &Channel::running),
                        field("load", &Channel::load),
                        field("armed", &Channel::armed),
                        field("odd", &Channel::odd)};
    }
  };

  struct State {
    uint64_t now_ns;  // the latest time seen
    std::array<Channel, 3> channel;
    uint64_t port61;  // the bits that can be written
    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"), field("channel", &State::channel),
                        field("port61", &State::port61).range(0, 0x0f)};
    }
  };

  // Outputs of channels 0 (IRQ0) and 2 (speaker); channel 1's refresh request leads nowhere.
  enum Line : uint64_t { kOut0 = 1 << 0, kOut2 = 1 << 2 };

  static const char* invalid(const State&);
  static DeviceModel model();  // vatpit_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  // Whether all that happens from here on by itself happens again and again, each OUT in its period, or nothing does.
  static bool only_repeats(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos now, unsigned input, bool level);  // there are no inputs
};

}  // namespace dejavm
