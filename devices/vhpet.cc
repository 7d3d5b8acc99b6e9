#include "devices/vhpet.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

using State = Vhpet::State;
using Timer = Vhpet::Timer;
using Wide = unsigned __int128;

enum Register : uint64_t {
  kCapabilities = 0x000,
  kGeneralConfig = 0x010,
  kStatus = 0x020,
  kCounter = 0x0f0,
  kFirstTimer = 0x100,
  kTimerBytes = 0x20,
  kTimerConfig = 0x00,
  kTimerComparator = 0x08,
  kTimerFsb = 0x10
};
enum class GeneralConfig : uint8_t { kRun = 1, kLegacy = 2, kGeneralMask = 3 };
constexpr uint64_t kFemtosecondsPerTick = Vhpet::kTickNs * 1'000'000;
// Period; vendor 8086; legacy replacement; 64-bit counter; number of the last timer; revision 1 (2.3.4).
constexpr uint64_t kCapabilityValue =
    kFemtosecondsPerTick << 32 | uint64_t{0x8086} << 16 | 1 << 15 | 1 << 13 | (Vhpet::kTimers - 1) << 8 | 1;

bool running(const State& s) { return s.config & GeneralConfig::kRun; }
bool is_level(const Timer& t) { return t.config & Vhpet::kLevel; }
bool is_enabled(const Timer& t) { return t.config & Vhpet::kEnabled; }
// Interrupts as messages rather than on a line.
bool by_message(const State& s, unsigned n) {
  return (s.timers[n].config & Vhpet::kFsb) && !((s.config & GeneralConfig::kLegacy) && n < 2);
}
bool is_msi(const Timer& t) { return t.fsb >> 52 == 0xfee; }
unsigned route(const Timer& t) { return t.config >> Vhpet::kRouteShift & 0x1f; }
uint64_t width_mask(const Timer& t) { return t.config & Vhpet::k32Bit ? 0xffffffff : ~uint64_t{0}; }

// Ticks from `counter` to the next match: 1 to 2^32 or 2^64.
Wide ticks_to_match(const Timer& t, uint64_t counter) { return Wide{(t.comparator - counter - 1) & width_mask(t)} + 1; }

// Lets the counter pass `ticks` ticks by the timer; whether it matched.
bool pass(Timer& t, uint64_t counter, uint64_t ticks) {
  const Wide first = ticks_to_match(t, counter);
  if (first > ticks) return false;
  if (!(t.config & Vhpet::kPeriodic)) return true;
  const Wide step = t.period ? Wide{t.period} : Wide{width_mask(t)} + 1;
  const Wide more = (ticks - first) / step;
  t.comparator = (t.comparator + static_cast<uint64_t>(more + 1) * t.period) & width_mask(t);
  return true;
}

uint64_t merge(uint64_t old, uint64_t value, uint64_t mask) { return (old & ~mask) | (value & mask); }

void write_timer_config(State& s, unsigned n, uint64_t value, uint64_t mask) {
  Timer& t = s.timers[n];
  uint64_t config = merge(t.config, value, mask) & Vhpet::kTimerConfigMask;
  if (n != 0) config &= ~uint64_t{Vhpet::kPeriodic};
  if (!(config & Vhpet::kPeriodic)) config &= ~uint64_t{Vhpet::kValueSet};
  constexpr uint64_t kRoute = uint64_t{0x1f} << Vhpet::kRouteShift;
  const auto pin = static_cast<unsigned>((config & kRoute) >> Vhpet::kRouteShift);
  if (pin != 0 && !(Vhpet::kPinsAllowed >> pin & 1)) config = merge(config, t.config, kRoute);
  const uint64_t changed = config ^ t.config;
  t.config = static_cast<uint16_t>(config);
  t.comparator &= width_mask(t);
  t.period &= width_mask(t);
  const auto others = static_cast<uint8_t>(~(1u << n));
  if (!is_level(t)) s.status &= others;
  if (changed & (Vhpet::kLevel | Vhpet::kEnabled | Vhpet::kFsb | kRoute)) s.fired &= others;
}

void write_general_config(State& s, uint8_t config) {
  if (!(config & GeneralConfig::kRun) || ((config ^ s.config) & GeneralConfig::kLegacy)) s.fired = 0;
  s.config = config;
}

void write_comparator(Timer& t, uint64_t value, uint64_t mask) {
  t.period = merge(t.period, value, mask) & width_mask(t);
  if (!(t.config & Vhpet::kPeriodic) || (t.config & Vhpet::kValueSet))
    t.comparator = merge(t.comparator, value, mask) & width_mask(t);
  t.config &= static_cast<uint16_t>(~Vhpet::kValueSet);
}

// The registers are 64 bits wide at multiples of 8; `reg` is below kWindowBytes.
uint64_t read_register(const State& s, uint64_t reg) {
  switch (reg) {
    case kCapabilities: return kCapabilityValue;
    case kGeneralConfig: return s.config;
    case kStatus: return s.status;
    case kCounter: return s.counter;
    default: break;
  }
  const uint64_t n = (reg - kFirstTimer) / kTimerBytes;
  if (reg < kFirstTimer || n >= Vhpet::kTimers) return 0;
  const Timer& t = s.timers[n];
  switch (reg % kTimerBytes) {
    case kTimerConfig:
      return uint64_t{Vhpet::kPinsAllowed} << 32 | Vhpet::k64BitCapable |
             (n == 0 ? uint64_t{Vhpet::kPeriodicCapable} : 0) | Vhpet::kFsbCapable | t.config;
    case kTimerComparator: return t.comparator;
    case kTimerFsb: return t.fsb;
    default: return 0;
  }
}

void write_register(State& s, uint64_t reg, uint64_t value, uint64_t mask) {
  switch (reg) {
    case kGeneralConfig:
      return write_general_config(s, static_cast<uint8_t>(merge(s.config, value, mask) & GeneralConfig::kGeneralMask));
    case kStatus: s.status &= static_cast<uint8_t>(~(value & mask)); return;
    case kCounter: s.counter = merge(s.counter, value, mask); return;
    default: break;
  }
  const uint64_t n = (reg - kFirstTimer) / kTimerBytes;
  if (reg < kFirstTimer || n >= Vhpet::kTimers) return;
  if (reg % kTimerBytes == kTimerConfig) write_timer_config(s, static_cast<unsigned>(n), value, mask);
  if (reg % kTimerBytes == kTimerComparator) write_comparator(s.timers[n], value, mask);
  if (reg % kTimerBytes == kTimerFsb) s.timers[n].fsb = merge(s.timers[n].fsb, value, mask);
}

// Cuts an access into pieces within one register each: f(register, bit shift, bits, shift within the access).
template <class F>
void for_each_piece(uint64_t offset, unsigned size, F f) {
  for (unsigned done = 0; done < size && offset < Vhpet::kWindowBytes;) {
    const auto skip = static_cast<unsigned>(offset % 8);
    const unsigned bytes = std::min(size - done, 8 - skip);
    f(offset - skip, 8 * skip, open_bus(bytes), 8 * done);
    done += bytes;
    offset += bytes;
  }
}

}  // namespace

const char* Vhpet::invalid(const State& s) {
  for (unsigned n = 0; n < kTimers; ++n) {
    const Timer& t = s.timers[n];
    if (t.config & ~kTimerConfigMask) return "a timer's configuration holds bits that are not stored";
    if (n != 0 && (t.config & kPeriodic)) return "a timer that is not capable of it is periodic";
    if ((t.config & kValueSet) && !(t.config & kPeriodic)) return "VAL_SET on a timer that is not periodic";
    if (route(t) != 0 && !(kPinsAllowed >> route(t) & 1)) return "a timer is routed to a pin that is not allowed";
    if ((t.comparator | t.period) & ~width_mask(t)) return "a 32-bit timer holds more than 32 bits";
    if (!is_level(t) && (s.status >> n & 1)) return "an edge-triggered timer has a status";
    if ((s.fired >> n & 1) && (is_level(t) || !is_enabled(t) || by_message(s, n) || !running(s)))
      return "a timer drives a line that it has not";
  }
  return nullptr;
}

void Vhpet::reset(State& s) { s = State{}; }

uint64_t Vhpet::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  uint64_t value = open_bus(size);
  for_each_piece(offset, size, [&](uint64_t reg, unsigned shift, uint64_t bits, unsigned at) {
    value = merge(value, (read_register(s, reg) >> shift & bits) << at, bits << at);
  });
  return value;
}

void Vhpet::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  for_each_piece(offset, size, [&](uint64_t reg, unsigned shift, uint64_t bits, unsigned at) {
    write_register(s, reg, (value >> at & bits) << shift, bits << shift);
  });
}

void Vhpet::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  const uint64_t ticks = now.value / kTickNs - s.now_ns / kTickNs;
  s.now_ns = now.value;
  if (ticks == 0) return;
  if (!running(s)) return;
  for (unsigned n = 0; n < kTimers; ++n) {
    Timer& t = s.timers[n];
    if (!pass(t, s.counter, ticks)) continue;
    if (is_level(t)) s.status |= static_cast<uint8_t>(1 << n);
    else if (!is_enabled(t)) continue;
    else if (by_message(s, n)) s.sends |= static_cast<uint8_t>(is_msi(t) << n);
    else s.fired |= static_cast<uint8_t>(1 << n);
  }
  s.counter += ticks;
}

namespace {

// The line that a timer drives, if it drives one.
uint64_t line_of(const Vhpet::State& s, unsigned n) {
  const bool legacy = s.config & GeneralConfig::kLegacy;
  if (by_message(s, n)) return 0;
  if (legacy && n < 2) return n == 0 ? Vhpet::kLegacyIrq0 : Vhpet::kLegacyIrq8;
  const unsigned pin = route(s.timers[n]);
  return pin != 0 ? uint64_t{1} << pin : 0;
}

// Whether an edge-triggered timer holds its line: until a tick before its next match.
bool is_high(const Vhpet::State& s, unsigned n) {
  return (s.fired >> n & 1) && ticks_to_match(s.timers[n], s.counter) > 1;
}

uint64_t lines_of(const Vhpet::State& s, unsigned timers) {
  uint64_t lines = 0;
  for (unsigned n = 0; running(s) && n < Vhpet::kTimers; ++n)
    if (is_enabled(s.timers[n]) && (timers >> n & 1)) lines |= line_of(s, n);
  return lines;
}

}  // namespace

Nanos Vhpet::next_event(const State& s) {
  const Wide tick = s.now_ns / kTickNs;
  const uint64_t held = lines_of(s, s.status);  // time does not lower these, so an edge on them is no event
  Wide next_tick = kNever.value;
  auto event_of = [&](unsigned n) { return tick + ticks_to_match(s.timers[n], s.counter) - is_high(s, n); };
  // Nor is the match of an edge-triggered timer with a period of one tick, whose line falls as it rises, nor any while
  // another timer holds the line.
  auto hidden = [&](unsigned n) {
    const Timer& t = s.timers[n];
    if ((t.config & kPeriodic) && !is_level(t) && t.period == 1 && !is_high(s, n)) return true;
    for (unsigned m = 0; m < kTimers; ++m)
      if (m != n && is_enabled(s.timers[m]) && line_of(s, m) == line_of(s, n) && is_high(s, m) &&
          event_of(m) > event_of(n))
        return true;
    return false;
  };
  for (unsigned n = 0; running(s) && n < kTimers; ++n) {
    const Timer& t = s.timers[n];
    const bool sends = by_message(s, n) && is_msi(t) && !is_level(t) && !(s.sends >> n & 1);
    if (is_enabled(t) && (sends || ((line_of(s, n) & ~held) && !hidden(n))))
      next_tick = std::min(next_tick, event_of(n));
  }
  const Wide next_ns = next_tick * kTickNs;
  return next_ns < kNever.value ? Nanos{static_cast<uint64_t>(next_ns)} : kNever;
}

bool Vhpet::pop_message(State& s, BusMessage& message) {
  for (unsigned n = 0; n < kTimers; ++n) {
    if (!(s.sends >> n & 1)) continue;
    s.sends &= static_cast<uint8_t>(~(1u << n));
    const uint64_t data = s.timers[n].fsb & 0xffffffff, address = s.timers[n].fsb >> 32;
    if (!is_msi(s.timers[n])) continue;  // a store to memory, by a device that has none
    message = BusMessage{};
    message.vector = static_cast<uint8_t>(data);
    message.delivery = static_cast<Delivery>(data >> 8 & 7);
    message.destination = address >> 12 & 0xff;
    message.logical = address & 4;
    return true;
  }
  return false;
}

uint64_t Vhpet::lines(const State& s) {
  return (s.config & GeneralConfig::kLegacy ? uint64_t{kLegacyActive} : 0) |
         lines_of(s, s.status | is_high(s, 0) | is_high(s, 1) << 1 | is_high(s, 2) << 2);
}

}  // namespace dejavm
