// A device model that is not dejavm's: a watchdog timer, as another virtual machine monitor might have one. Registers,
// 4 bytes each, at 0: control (bit 0 enables), 4: period in ms (1 to 65535), 8: a write of 0x5a kicks; reads the ms
// that are left. Its line rises when the period passes without a kick, and falls with the next kick or when it is
// disabled.
#pragma once

#include "devices/core/device_model.h"

namespace other {

using dejavm::field;
using dejavm::kNever;
using dejavm::Nanos;

struct Watchdog {
  static constexpr std::string_view kName = "watchdog";
  static constexpr uint16_t kVersion = 1;
  struct State {
    uint64_t now_ns = 0;
    uint64_t bites_at_ns = kNever.value;
    uint32_t period_ms = 1000;
    bool enabled = false;
    bool biting = false;
    uint16_t reserved = 0;
    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"),
                        field("bites_at_ns", &State::bites_at_ns).unit("ns"),
                        field("period_ms", &State::period_ms).range(1, 65535).unit("ms"),
                        field("enabled", &State::enabled),
                        field("biting", &State::biting),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };
  static constexpr uint64_t kMs = 1'000'000;

  static const char* invalid(const State& s) {
    if (s.biting && !s.enabled) return "it bites although it is disabled";
    if ((s.bites_at_ns != kNever.value) != (s.enabled && !s.biting))
      return "it waits although it is disabled or bites, or the other way round";
    return s.bites_at_ns <= s.now_ns ? "it should have bitten already" : nullptr;
  }
  static void reset(State& s) { s = State{}; }
  static void advance(State& s, Nanos now) {
    if (s.bites_at_ns <= now.value && s.bites_at_ns != kNever.value) {
      s.biting = true;
      s.bites_at_ns = kNever.value;
    }
    if (now.value > s.now_ns) s.now_ns = now.value;
  }
  static Nanos next_event(const State& s) { return {s.bites_at_ns}; }
  static uint64_t lines(const State& s) { return s.biting; }
  static void set_line(State&, Nanos, unsigned, bool) {}
  static uint64_t read(State& s, Nanos now, uint64_t offset, unsigned size) {
    advance(s, now);
    if (size != 4) return dejavm::open_bus(size);
    if (offset == 0) return s.enabled;
    if (offset == 4) return s.period_ms;
    if (offset == 8) return s.bites_at_ns == kNever.value ? 0 : (s.bites_at_ns - s.now_ns + kMs - 1) / kMs;
    return dejavm::open_bus(size);
  }
  static void write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
    advance(s, now);
    if (size != 4) return;
    if (offset == 4 && value >= 1 && value <= 65535) s.period_ms = static_cast<uint32_t>(value);
    if (offset == 0) s.enabled = value & 1;
    if (offset == 0 || (offset == 8 && value == 0x5a)) restart(s);
  }

 private:
  static void restart(State& s) {
    s.biting = false;
    s.bites_at_ns = s.enabled ? s.now_ns + s.period_ms * kMs : kNever.value;
  }
};

inline dejavm::DeviceModel watchdog_model() {
  static constexpr uint32_t kRegisters[] = {0, 4, 8};
  static constexpr std::string_view kLines[] = {"BITE"};
  return dejavm::device_model<Watchdog>({.summary = "a watchdog timer",
                                         .sources = "this file",
                                         .registers = kRegisters,
                                         .line_names = kLines,
                                         .idle_events = 1});
}

}  // namespace other
