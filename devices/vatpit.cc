#include "devices/vatpit.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

using Channel = Vatpit::Channel;

constexpr uint64_t kNoTick = ~uint64_t{0};
constexpr uint8_t kAccessLow = 1, kAccessHigh = 2, kAccessBoth = 3;
enum class Status : uint8_t { kNull = 0x40, kOut = 0x80 };
enum class ReadBack : uint8_t { kNotStatus = 0x10, kNotCount = 0x20 };
enum class Port61 : uint8_t { kGate2 = 0x01, kWritable = 0x0f, kRefresh = 0x10, kOut2High = 0x20 };

unsigned mode_number(const Channel& c) {
  const unsigned m = c.control >> 1 & 7;
  return m > 5 ? m - 4 : m;  // the top bit of modes 2 and 3 is "don't care"
}
unsigned access_of(const Channel& c) { return c.control >> 4 & 3; }
bool bcd(const Channel& c) { return c.control & 1; }
uint32_t modulus(const Channel& c) { return bcd(c) ? 10'000 : 0x10000; }

// A written count in ticks; 0 stands for the largest.
uint32_t decode_count(const Channel& c, uint16_t raw) {
  uint32_t n = raw;
  if (bcd(c)) n = ((raw >> 12) * 1000u + (raw >> 8 & 15) * 100u + (raw >> 4 & 15) * 10u + (raw & 15)) % 10'000;
  return n ? n : modulus(c);
}

uint16_t encode_count(const Channel& c) {
  const uint32_t n = (c.load ? c.reload : c.count) % modulus(c);
  if (!bcd(c)) return static_cast<uint16_t>(n);
  return static_cast<uint16_t>(n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10);
}

// Ticks until the counting element reaches zero in modes 0, 1, 4 and 5.
uint32_t ticks_to_zero(const Channel& c) { return c.count ? c.count : modulus(c); }

// Mode 3: ticks until this half of the square wave ends. It counts by twos; an odd count gives the high half one more.
uint32_t ticks_of_half(const Channel& c) { return std::max(1u, c.count / 2 + (c.odd && c.out)); }

// Mode 3: starts a half with the count register's value, `out` being its level.
void start_half(Channel& c, bool out) {
  c.out = out || c.reload == 1;
  c.odd = c.reload & 1;
  c.count = c.reload & ~1u;
  c.null_count = false;
}

// Each of the following passes n >= 1 ticks in an enabled counter, however many.

void count_down(Channel& c, uint64_t n) {
  const uint32_t m = modulus(c);
  c.count = static_cast<uint32_t>((c.count + m - n % m) % m);
}

// Modes 0 and 1: ____low____|~~~high~~~ from the tick that reaches zero.
void count_to_level(Channel& c, uint64_t n) {
  if (c.armed && n >= ticks_to_zero(c)) {
    c.armed = false;
    c.out = true;
  }
  count_down(c, n);
}

// Modes 4 and 5: ~~~high~~~|_|~~~ low for the one tick at zero.
void count_to_strobe(Channel& c, uint64_t n) {
  const uint64_t end = ticks_to_zero(c);
  c.out = !(c.armed && n == end);
  if (n >= end) c.armed = false;
  count_down(c, n);
}

// Mode 2: N ticks, N, N-1 .. 1, OUT low at 1; then the count register again.
void count_rate(Channel& c, uint64_t n) {
  const uint64_t left = std::max(1u, c.count);
  if (n < left) {
    c.count -= static_cast<uint32_t>(n);
    c.out = c.count != 1;
    return;
  }
  c.null_count = false;
  c.count = c.reload - static_cast<uint32_t>((n - left) % c.reload);
  c.out = c.count != 1 || c.reload == 1;
}

// Mode 3: (N+1)/2 ticks high, N/2 ticks low; each half begins with the count register again.
void count_square(Channel& c, uint64_t n) {
  const uint64_t left = ticks_of_half(c);
  if (n < left) {
    c.count -= static_cast<uint32_t>(2 * n);
    return;
  }
  start_half(c, !c.out);
  n = (n - left) % c.reload;
  const uint64_t half = ticks_of_half(c);
  if (n >= half) {
    start_half(c, !c.out);
    n -= half;
  }
  c.count -= static_cast<uint32_t>(2 * n);
}

// Each of the following says in how many ticks OUT of an enabled counter may change, or kNoTick.

uint64_t until_level(const Channel& c) { return c.armed && !c.out ? ticks_to_zero(c) : kNoTick; }

uint64_t until_strobe(const Channel& c) { return c.armed ? ticks_to_zero(c) : kNoTick; }

uint64_t until_rate_pulse(const Channel& c) {
  if (!c.out) return 1;
  if (c.count > 1) return c.count - 1;
  return c.reload == 1 ? kNoTick : uint64_t{c.reload};  // one tick to the reload, reload - 1 to OUT low
}

uint64_t until_half_ends(const Channel& c) { return c.out && c.reload == 1 ? kNoTick : ticks_of_half(c); }

// What a mode is made of: datasheet, "Mode definitions" and the table "Gate pin operations".
struct Mode {
  enum class Count : uint8_t { kAtOnce, kFirstAtOnce, kAtTrigger };  // when a written count is loaded, at the next tick
  bool out_after_control = false;
  bool out_after_load = false;
  Count loads = Count::kAtOnce;
  bool gate_counts = false;          // a low gate stops the count
  bool gate_triggers = false;        // a rising gate loads the count again
  bool low_gate_raises_out = false;  // at once
  bool repeats = false;              // by itself, each time the same
  bool strobes = false;              // OUT is low for one tick, whatever the gate does meanwhile
  void (*pass)(Channel&, uint64_t ticks) = nullptr;
  uint64_t (*until_change)(const Channel&) = nullptr;
};

constexpr Mode interrupt_on_terminal_count{
    .gate_counts = true,
    .pass = count_to_level,
    .until_change = until_level,
};
constexpr Mode one_shot{
    .out_after_control = true,
    .loads = Mode::Count::kAtTrigger,
    .gate_triggers = true,
    .pass = count_to_level,
    .until_change = until_level,
};
constexpr Mode rate_generator{
    .out_after_control = true,
    .out_after_load = true,
    .loads = Mode::Count::kFirstAtOnce,
    .gate_counts = true,
    .gate_triggers = true,
    .low_gate_raises_out = true,
    .repeats = true,
    .pass = count_rate,
    .until_change = until_rate_pulse,
};
constexpr Mode square_wave{
    .out_after_control = true,
    .out_after_load = true,
    .loads = Mode::Count::kFirstAtOnce,
    .gate_counts = true,
    .gate_triggers = true,
    .low_gate_raises_out = true,
    .repeats = true,
    .pass = count_square,
    .until_change = until_half_ends,
};
constexpr Mode software_strobe{
    .out_after_control = true,
    .out_after_load = true,
    .gate_counts = true,
    .strobes = true,
    .pass = count_to_strobe,
    .until_change = until_strobe,
};
constexpr Mode hardware_strobe{
    .out_after_control = true,
    .out_after_load = true,
    .loads = Mode::Count::kAtTrigger,
    .gate_triggers = true,
    .strobes = true,
    .pass = count_to_strobe,
    .until_change = until_strobe,
};
constexpr const Mode* kModes[] = {
    &interrupt_on_terminal_count, &one_shot, &rate_generator, &square_wave, &software_strobe, &hardware_strobe};

const Mode& mode_of(const Channel& c) { return *kModes[mode_number(c)]; }

// Whether ticks decrement the counting element. In mode 0 the first byte of a two-byte count stops it until the second.
bool enabled(const Channel& c) {
  if (!c.running) return false;
  if (mode_number(c) == 0 && c.high_next_write) return false;
  return c.gate || !mode_of(c).gate_counts;
}

// The tick that moves the count register into the counting element.
void load_tick(Channel& c) {
  c.load = false;
  c.running = true;
  c.armed = true;
  c.null_count = false;
  c.count = c.reload;
  if (mode_number(c) == 3) start_half(c, true);
  else c.out = mode_of(c).out_after_load;
}

void pass_ticks(Channel& c, uint64_t n) {
  if (n == 0) return;
  if (c.load) {
    load_tick(c);
    if (--n == 0) return;
  }
  if (enabled(c)) mode_of(c).pass(c, n);
  else if (mode_of(c).strobes) c.out = true;
}

// Ticks until OUT may change, or kNoTick.
uint64_t ticks_to_change(const Channel& c) {
  if (c.load || (!c.out && mode_of(c).strobes)) return 1;
  return enabled(c) ? mode_of(c).until_change(c) : kNoTick;
}

void set_gate(Channel& c, bool level) {
  if (level == c.gate) return;
  c.gate = level;
  const Mode& mode = mode_of(c);
  if (!level) c.out = c.out || mode.low_gate_raises_out;
  else if (mode.gate_triggers) c.load = c.load || c.reload != 0;  // the trigger's flip-flop waits for the next tick
}

void set_count(Channel& c, uint16_t raw) {
  const bool first = c.reload == 0;
  c.reload = decode_count(c, raw);
  c.null_count = true;
  switch (mode_of(c).loads) {
    case Mode::Count::kAtOnce: c.load = true; break;
    case Mode::Count::kFirstAtOnce: c.load = c.load || first; break;  // later ones wait for the end of the cycle
    case Mode::Count::kAtTrigger: break;
  }
}

void write_count(Channel& c, uint8_t value) {
  if (mode_number(c) == 0) c.out = false;
  switch (access_of(c)) {
    case kAccessLow: return set_count(c, value);
    case kAccessHigh: return set_count(c, static_cast<uint16_t>(value << 8));
    default: break;
  }
  c.high_next_write = !c.high_next_write;
  if (c.high_next_write) c.low_byte = value;
  else set_count(c, static_cast<uint16_t>(value << 8 | c.low_byte));
}

uint8_t read_count(Channel& c) {
  if (c.status_latched) {
    c.status_latched = false;
    return c.status;
  }
  const uint16_t value = c.count_latched ? c.latch : encode_count(c);
  bool high = access_of(c) == kAccessHigh;
  bool last = true;
  if (access_of(c) == kAccessBoth) {
    high = c.high_next_read;
    c.high_next_read = !high;
    last = high;
  }
  if (last) c.count_latched = false;
  return static_cast<uint8_t>(high ? value >> 8 : value);
}

void latch_count(Channel& c) {
  if (c.count_latched) return;  // held until it is read
  c.count_latched = true;
  c.latch = encode_count(c);
}

void latch_status(Channel& c) {
  if (c.status_latched) return;
  c.status_latched = true;
  c.status = static_cast<uint8_t>(c.control | bits_if(c.null_count, Status::kNull) | bits_if(c.out, Status::kOut));
}

void program(Channel& c, uint8_t control) {
  const bool gate = c.gate;
  c = Channel{};
  c.gate = gate;
  c.control = control & 0x3f;
  c.null_count = true;
  c.out = mode_of(c).out_after_control;
}

void write_control(Vatpit::State& s, uint8_t value) {
  const unsigned select = value >> 6;
  if (select == 3) {
    for (unsigned i = 0; i < 3; ++i) {
      if (!(value & 2u << i)) continue;
      if (!(value & ReadBack::kNotCount)) latch_count(s.channel[i]);
      if (!(value & ReadBack::kNotStatus)) latch_status(s.channel[i]);
    }
  } else if (!(value & 0x30)) {
    latch_count(s.channel[select]);
  } else {
    program(s.channel[select], value);
  }
}

uint8_t read_port(Vatpit::State& s, uint64_t port) {
  switch (port) {
    case 0x40:
    case 0x41:
    case 0x42: return read_count(s.channel[port & 3]);
    case 0x61:
      return static_cast<uint8_t>(s.port61 | bits_if(s.now_ns / Vatpit::kRefreshNs & 1, Port61::kRefresh) |
                                  bits_if(s.channel[2].out, Port61::kOut2High));
    default: return 0xff;
  }
}

void write_port(Vatpit::State& s, uint64_t port, uint8_t value) {
  switch (port) {
    case 0x40:
    case 0x41:
    case 0x42: return write_count(s.channel[port & 3], value);
    case 0x43: return write_control(s, value);
    case 0x61: s.port61 = value & Port61::kWritable; return set_gate(s.channel[2], value & Port61::kGate2);
    default: return;
  }
}

}  // namespace

const char* Vatpit::invalid(const State& s) {
  for (const Channel& c : s.channel) {
    if (c.reload > modulus(c) || c.count > modulus(c)) return "a count is above the modulus";
    if ((c.load || c.running) && c.reload == 0) return "a channel counts without a count";
    if (c.high_next_write && access_of(c) != kAccessBoth) return "a second byte is due in single-byte access";
    if (c.high_next_read && access_of(c) != kAccessBoth) return "a second byte is due in single-byte access";
  }
  if (!s.channel[0].gate || !s.channel[1].gate) return "the gate of channel 0 or 1 is low";
  if (s.channel[2].gate != ((s.port61 & Port61::kGate2) != 0)) return "the gate of channel 2 is not bit 0 of port 0x61";
  return nullptr;
}

void Vatpit::reset(State& s) {
  s = State{};
  s.channel[0].gate = s.channel[1].gate = true;
  for (Channel& c : s.channel) {
    program(c, 0x30);
    c.null_count = false;
  }
}

uint64_t Vatpit::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  uint64_t out = 0;
  for (unsigned i = 0; i < std::min(size, 8u); ++i) out |= uint64_t{read_port(s, offset + i)} << (8 * i);
  return out;
}

void Vatpit::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  for (unsigned i = 0; i < std::min(size, 8u); ++i) write_port(s, offset + i, static_cast<uint8_t>(value >> (8 * i)));
}

void Vatpit::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  const uint64_t ticks = kClock.ticks_at(now) - kClock.ticks_at({s.now_ns});
  s.now_ns = now.value;
  for (Channel& c : s.channel) pass_ticks(c, ticks);
}

Nanos Vatpit::next_event(const State& s) {
  const uint64_t ticks = std::min(ticks_to_change(s.channel[0]), ticks_to_change(s.channel[2]));
  if (ticks == kNoTick) return kNever;
  return kClock.time_of(kClock.ticks_at({s.now_ns}) + ticks);
}

bool Vatpit::only_repeats(const State& s) {
  for (const Channel* c : {&s.channel[0], &s.channel[2]}) {
    const bool periodic = mode_of(*c).repeats && !c->load && c->reload > 1;
    if (!periodic && ticks_to_change(*c) != kNoTick) return false;
  }
  return true;
}

uint64_t Vatpit::lines(const State& s) {
  return (s.channel[0].out ? uint64_t{kOut0} : 0) | (s.channel[2].out ? uint64_t{kOut2} : 0);
}

void Vatpit::set_line(State& s, Nanos now, unsigned, bool) { advance(s, now); }

}  // namespace dejavm
