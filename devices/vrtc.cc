#include "devices/vrtc.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

using State = Vrtc::State;

enum Byte : uint8_t {
  kSeconds,
  kSecondsAlarm,
  kMinutes,
  kMinutesAlarm,
  kHours,
  kHoursAlarm,
  kWeekday,
  kDay,
  kMonth,
  kYear,
  kA,
  kB,
  kC,
  kD,
  kMemory,
  kCentury = 0x32
};
enum class RegA : uint8_t { kUip = 0x80, kDividerHeld = 0x60, kRateSelect = 0x0f };
enum class RegB : uint8_t {
  kSet = 0x80,
  kPie = 0x40,
  kAie = 0x20,
  kUie = 0x10,
  kSqwe = 0x08,
  kBinary = 0x04,
  k24Hours = 0x02
};
enum class RegC : uint8_t { kIrqf = 0x80, kPf = 0x40, kAf = 0x20, kUf = 0x10, kFlags = kPf | kAf | kUf };
constexpr uint8_t kVrt = 0x80, kPm = 0x80, kDontCare = 0xc0;
constexpr uint64_t kUipTicks = 8;

constexpr DeviceClock kCrystal{Vrtc::kTicksPerSecond};
constexpr int64_t kDaySeconds = 86400;
constexpr int64_t kCycleDays = 25 * 146097;  // 10000 Gregorian years, after which the four year digits wrap

// --- The calendar: days since 0000-01-01, Gregorian throughout. ---

constexpr bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }
constexpr int64_t days_before_year(int64_t y) { return 365 * y + (y + 3) / 4 - (y + 99) / 100 + (y + 399) / 400; }
constexpr int64_t days_before_month(int64_t year, int64_t month) {
  constexpr int16_t kBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  return kBefore[month - 1] + (month > 2 && is_leap(year));
}
constexpr int64_t kUnixEpochDays = days_before_year(1970);
constexpr int64_t floor_mod(int64_t a, int64_t b) { return (a % b + b) % b; }
constexpr int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// --- The formats (MC146818, table 3). ---

uint8_t encode(const State& s, int64_t v) {
  return static_cast<uint8_t>(s.cmos[kB] & RegB::kBinary ? v : v / 10 * 16 + v % 10);
}
int64_t decode(const State& s, uint8_t byte) {
  return s.cmos[kB] & RegB::kBinary ? byte : (byte >> 4) * 10 + (byte & 15);
}

uint8_t encode_hour(const State& s, int64_t hour) {
  if (s.cmos[kB] & RegB::k24Hours) return encode(s, hour);
  return encode(s, (hour + 11) % 12 + 1) | (hour >= 12 ? kPm : 0);
}
int64_t decode_hour(const State& s, uint8_t byte) {
  if (s.cmos[kB] & RegB::k24Hours) return decode(s, byte);
  return decode(s, byte & 0x7f) % 12 + (byte & kPm ? 12 : 0);
}

// --- The time bytes as a number and back. ---

int64_t decode_date(const State& s) {
  const int64_t year = (decode(s, s.cmos[kCentury]) * 100 + decode(s, s.cmos[kYear])) % 10000;
  const int64_t month = std::clamp<int64_t>(decode(s, s.cmos[kMonth]), 1, 12);
  return days_before_year(year) + days_before_month(year, month) + decode(s, s.cmos[kDay]) - 1;
}

int64_t decode_time(const State& s) {  // seconds since midnight; more than a day if the bytes are no valid time
  return (decode_hour(s, s.cmos[kHours]) * 60 + decode(s, s.cmos[kMinutes])) * 60 + decode(s, s.cmos[kSeconds]);
}

void encode_date_time(State& s, int64_t days, int64_t time) {
  days = floor_mod(days, kCycleDays);
  int64_t year = days * 400 / 146097;  // exact or one off
  if (days_before_year(year) > days) --year;
  if (days_before_year(year + 1) <= days) ++year;
  const int64_t day_of_year = days - days_before_year(year);
  int64_t month = 12;
  while (days_before_month(year, month) > day_of_year) --month;
  s.cmos[kCentury] = encode(s, year / 100);
  s.cmos[kYear] = encode(s, year % 100);
  s.cmos[kMonth] = encode(s, month);
  s.cmos[kDay] = encode(s, day_of_year - days_before_month(year, month) + 1);
  s.cmos[kHours] = encode_hour(s, time / 3600);
  s.cmos[kMinutes] = encode(s, time / 60 % 60);
  s.cmos[kSeconds] = encode(s, time % 60);
}

void load_base(State& s) {
  const int64_t days = floor_div(s.base_unix_s, kDaySeconds) + kUnixEpochDays;
  encode_date_time(s, days, floor_mod(s.base_unix_s, kDaySeconds));
  s.cmos[kWeekday] = static_cast<uint8_t>(floor_mod(days + 6, 7) + 1);  // 0000-01-01 was a Saturday (7)
}

// --- The divider chain. ---

bool held(const State& s) { return (s.cmos[kA] & RegA::kDividerHeld) == RegA::kDividerHeld; }
bool updating(const State& s) { return !held(s) && !(s.cmos[kB] & RegB::kSet); }
uint64_t chain(const State& s) { return kCrystal.ticks_at({s.now_ns}) + s.phase; }

// Ticks between periodic interrupts, 0 for none (table 5): rates 1 and 2 repeat 8 and 9.
uint64_t periodic_ticks(const State& s) {
  const unsigned rate = s.cmos[kA] & RegA::kRateSelect;
  if (rate == 0) return 0;
  return uint64_t{1} << (rate <= 2 ? rate + 6 : rate - 1);
}

Nanos time_of_next(const State& s, uint64_t period, uint64_t nth = 1) {
  return kCrystal.time_of((chain(s) / period + nth) * period - s.phase);
}

// How many updates until the time matches the alarm bytes: 1 to 86400; 0 if no time does. A byte with its two top bits
// set matches everything. Skips to the next hour, minute or second by the first byte that differs.
int64_t updates_to_alarm(const State& s, int64_t time) {
  auto any = [&](Byte alarm) { return (s.cmos[alarm] & kDontCare) == kDontCare; };
  const int64_t hour = decode_hour(s, s.cmos[kHoursAlarm]), minute = decode(s, s.cmos[kMinutesAlarm]),
                second = decode(s, s.cmos[kSecondsAlarm]);
  auto is_shown = [&](Byte alarm, int64_t value, int64_t limit, uint8_t shown) {
    return any(alarm) || (value < limit && s.cmos[alarm] == shown);
  };
  if (!is_shown(kHoursAlarm, hour, 24, encode_hour(s, hour)) ||
      !is_shown(kMinutesAlarm, minute, 60, encode(s, minute)) ||
      !is_shown(kSecondsAlarm, second, 60, encode(s, second)))
    return 0;
  for (int64_t t = time + 1; t <= time + kDaySeconds;) {
    const int64_t of_day = t % kDaySeconds;
    if (!any(kHoursAlarm) && of_day / 3600 != hour) t += 3600 - of_day % 3600;
    else if (!any(kMinutesAlarm) && of_day / 60 % 60 != minute) t += 60 - of_day % 60;
    else if (!any(kSecondsAlarm) && of_day % 60 != second) t += (second - of_day % 60 + 60) % 60;
    else return t - time;
  }
  return 0;
}

void update(State& s, uint64_t count) {
  const int64_t date = decode_date(s), time = decode_time(s);
  const int64_t to_alarm = updates_to_alarm(s, time);
  if (to_alarm && static_cast<uint64_t>(to_alarm) <= count) s.cmos[kC] |= RegC::kAf;
  s.cmos[kC] |= RegC::kUf;
  const int64_t total = time + static_cast<int64_t>(count);
  const int64_t days = total / kDaySeconds;
  encode_date_time(s, date + days, total % kDaySeconds);
  s.cmos[kWeekday] = static_cast<uint8_t>(floor_mod(s.cmos[kWeekday] + days - 1, 7) + 1);
}

uint8_t read_byte(State& s) {
  const uint8_t index = s.index & 0x7f;
  switch (index) {
    case kA: {
      const bool soon = updating(s) && chain(s) % Vrtc::kTicksPerSecond >= Vrtc::kTicksPerSecond - kUipTicks;
      return s.cmos[kA] | bits_if(soon, RegA::kUip);
    }
    case kC: {
      const uint8_t flags = s.cmos[kC] | bits_if(Vrtc::lines(s) != 0, RegC::kIrqf);
      s.cmos[kC] = 0;
      return flags;
    }
    case kD: return kVrt;
    default: return s.cmos[index];
  }
}

void write_byte(State& s, uint8_t value) {
  const uint8_t index = s.index & 0x7f;
  switch (index) {
    case kSeconds: s.cmos[index] = value & 0x7f; return;
    case kA: {
      const bool was_held = held(s);
      s.cmos[kA] = value & static_cast<uint8_t>(~RegA::kUip);
      if (held(s)) {
        s.phase = 0;
      } else if (was_held) {
        constexpr uint64_t kSecond = Vrtc::kTicksPerSecond;
        s.phase = static_cast<uint16_t>((kSecond + kSecond / 2 - kCrystal.ticks_at({s.now_ns}) % kSecond) % kSecond);
      }
      return;
    }
    case kB:
      if ((value & RegB::kSet) && !(s.cmos[kB] & RegB::kSet))
        value &= static_cast<uint8_t>(~RegB::kUie);  // SET going high clears UIE
      s.cmos[kB] = value;
      return;
    case kC:
    case kD: return;
    default: s.cmos[index] = value;
  }
}

}  // namespace

const char* Vrtc::invalid(const State& s) {
  if (s.cmos[kA] & RegA::kUip) return "register A holds UIP";
  if (s.cmos[kC] & ~RegC::kFlags) return "register C holds bits that are not stored";
  if (s.cmos[kD]) return "register D is not zero";
  if (s.cmos[kSeconds] & 0x80) return "bit 7 of the seconds is set";
  if (held(s) && s.phase) return "the divider chain is held and not zero";
  return nullptr;
}

void Vrtc::reset(State& s) {
  const int64_t base = s.base_unix_s;
  s = State{};
  s.base_unix_s = base;
  s.cmos[kA] = 0x26;  // 32768 Hz, periodic rate 1024 Hz
  s.cmos[kB] = number(RegB::k24Hours);
  load_base(s);
}

void Vrtc::reset_pin(State& s, Nanos now) {
  advance(s, now);
  s.cmos[kB] &= static_cast<uint8_t>(~(RegB::kPie | RegB::kAie | RegB::kUie | RegB::kSqwe));
  s.cmos[kC] = 0;
  s.index = 0;
}

uint64_t Vrtc::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i)
    value |= uint64_t{offset + i == kDataPort ? read_byte(s) : uint8_t{0xff}} << (8 * i);
  return value;
}

void Vrtc::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  for (unsigned i = 0; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(value >> (8 * i));
    if (offset + i == kIndexPort) s.index = byte;
    else if (offset + i == kDataPort) write_byte(s, byte);
  }
}

void Vrtc::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  const uint64_t before = chain(s);
  s.now_ns = now.value;
  if (held(s)) return;
  const uint64_t after = chain(s);
  const uint64_t period = periodic_ticks(s);
  if (period && after / period > before / period) s.cmos[kC] |= RegC::kPf;
  const uint64_t seconds = after / kTicksPerSecond - before / kTicksPerSecond;
  if (seconds && updating(s)) update(s, seconds);
}

Nanos Vrtc::next_event(const State& s) {
  if (held(s) || lines(s)) return kNever;
  Nanos next = kNever;
  const uint8_t enabled = s.cmos[kB];
  const uint64_t period = periodic_ticks(s);
  if ((enabled & RegB::kPie) && period) next = std::min(next, time_of_next(s, period));
  if (!updating(s)) return next;
  if (enabled & RegB::kUie) next = std::min(next, time_of_next(s, kTicksPerSecond));
  if (enabled & RegB::kAie) {
    const int64_t count = updates_to_alarm(s, decode_time(s));
    if (count) next = std::min(next, time_of_next(s, kTicksPerSecond, static_cast<uint64_t>(count)));
  }
  return next;
}

uint64_t Vrtc::lines(const State& s) { return s.cmos[kB] & s.cmos[kC] & RegC::kFlags ? uint64_t{kIrq} : 0; }

void Vrtc::set_start_time(State& s, int64_t unix_s) {
  s.base_unix_s = unix_s;
  load_base(s);
}

void Vrtc::set_cmos(State& s, unsigned index, uint8_t value) {
  if (index >= kMemory && index < s.cmos.size() && index != kCentury) s.cmos[index] = value;
}

}  // namespace dejavm
