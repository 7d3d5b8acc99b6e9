#include "devices/vpmtmr.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

constexpr unsigned kTypeSoftOff = 5;

enum class Pm1Control : uint16_t {
  kSciEn = 1 << 0,
  kBmRld = 1 << 1,
  kSlpTyp = 7 << 10,
  kSlpEn = 1 << 13,
  kKept = kBmRld | kSlpTyp
};

// The timer's highest bit: its toggles set TMR_STS.
unsigned toggle_bit(const Vpmtmr::State& s) { return s.extended ? 31 : 23; }

uint32_t timer(const Vpmtmr::State& s) {
  const auto ticks = static_cast<uint32_t>(Vpmtmr::kClock.ticks_at({s.now_ns}));
  return s.extended ? ticks : ticks & 0xff'ffff;
}

constexpr uint8_t byte_of(uint64_t value, uint64_t index) { return static_cast<uint8_t>(value >> (8 * index)); }

// `reg` with byte `index` replaced, within the bits of `mask`.
constexpr uint16_t with_byte(uint16_t reg, uint64_t index, uint8_t value, unsigned mask) {
  const unsigned shift = static_cast<unsigned>(8 * index);
  return static_cast<uint16_t>(((reg & ~(0xffu << shift)) | unsigned{value} << shift) & mask);
}

uint8_t read_byte(const Vpmtmr::State& s, uint64_t offset) {
  switch (offset) {
    case 0:
    case 1: return byte_of(s.status, offset);
    case 2:
    case 3: return byte_of(s.enable, offset - 2);
    case 4:
    case 5: return byte_of(s.control | Pm1Control::kSciEn, offset - 4);
    case 8:
    case 9:
    case 10:
    case 11: return byte_of(timer(s), offset - 8);
    default: return 0xff;
  }
}

void sleep(Vpmtmr::State& s) {
  if ((s.control & Pm1Control::kSlpTyp) >> 10 == kTypeSoftOff) s.power_off = true;
  else s.status |= Vpmtmr::kWakSts;
}

void write_byte(Vpmtmr::State& s, uint64_t offset, uint8_t value) {
  switch (offset) {
    case 0:
    case 1: s.status = static_cast<uint16_t>(s.status & ~(unsigned{value} << (8 * offset))); return;
    case 2:
    case 3: s.enable = with_byte(s.enable, offset - 2, value, Vpmtmr::kEventBits); return;
    case 4:
    case 5:
      s.control = with_byte(s.control, offset - 4, value, number(Pm1Control::kKept));
      if (offset == 5 && value & number(Pm1Control::kSlpEn) >> 8) sleep(s);
      return;
    default: return;
  }
}

}  // namespace

const char* Vpmtmr::invalid(const State& s) {
  if (s.status & ~unsigned{kStatusBits}) return "PM1_STS has a bit that is always zero";
  if (s.enable & ~unsigned{kEventBits}) return "PM1_EN has a bit that is always zero";
  if (s.control & ~unsigned{number(Pm1Control::kKept)}) return "PM1_CNT has a bit that is not kept";
  return nullptr;
}

void Vpmtmr::reset(State& s) {
  const bool extended = s.extended;
  s = State{};
  s.extended = extended;
}

uint64_t Vpmtmr::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  uint64_t out = 0;
  for (unsigned i = 0; i < std::min(size, 8u); ++i) out |= uint64_t{read_byte(s, offset + i)} << (8 * i);
  return out;
}

void Vpmtmr::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  for (unsigned i = 0; i < std::min(size, 8u); ++i) write_byte(s, offset + i, byte_of(value, i));
}

void Vpmtmr::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  const uint64_t before = kClock.ticks_at({s.now_ns}), after = kClock.ticks_at(now);
  if (before >> toggle_bit(s) != after >> toggle_bit(s)) s.status |= kTmrSts;
  s.now_ns = now.value;
}

Nanos Vpmtmr::next_event(const State& s) {
  if (!(s.enable & kTmrSts) || (s.status & kTmrSts)) return kNever;
  const uint64_t toggles = kClock.ticks_at({s.now_ns}) >> toggle_bit(s);
  return kClock.time_of((toggles + 1) << toggle_bit(s));
}

uint64_t Vpmtmr::lines(const State& s) { return s.status & s.enable & kEventBits ? uint64_t{kSci} : 0; }

void Vpmtmr::set_line(State& s, Nanos now, unsigned input, bool level) {
  advance(s, now);
  if (input > kRtcAlarm) return;
  const uint8_t mask = static_cast<uint8_t>(1u << input);
  if (level && !(s.inputs & mask)) s.status |= static_cast<uint16_t>(kPwrbtnSts << input);
  s.inputs = static_cast<uint8_t>(level ? s.inputs | mask : s.inputs & ~mask);
}

void Vpmtmr::set_extended(State& s, Nanos now, bool extended) {
  advance(s, now);
  s.extended = extended;
}

bool Vpmtmr::wants_power_off(const State& s) { return s.power_off; }

}  // namespace dejavm
