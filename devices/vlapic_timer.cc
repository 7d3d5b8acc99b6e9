// The local APIC's timer (11.5.4). Everything is closed form: the count is kept as the time of its zero.
#include <algorithm>

#include "devices/vlapic_parts.h"

namespace dejavm {
namespace vlapic {
namespace {

constexpr uint64_t kMax = ~uint64_t{0};

uint64_t add(uint64_t a, uint64_t b) { return a > kMax - b ? kMax : a + b; }

// 1, 2, 4 ... 128 ns per count: bits 3, 1 and 0 are the logarithm less one, 7 being 1 (11.5.4).
uint64_t ns_per_count(const State& s) { return uint64_t{1} << (((s.divide >> 1 & 4) + (s.divide & 3) + 1) & 7); }

void expire(State& s) {
  const uint32_t lvt = s.lvt[Vlapic::kTimer];
  if (!(lvt & Lvt::kMasked)) raise_fixed(s, static_cast<uint8_t>(lvt & Lvt::kVector), false);
}

void advance_count(State& s, uint64_t now) {
  if (s.timer_expiry_ns == 0 || now < s.timer_expiry_ns) return;
  if (timer_mode(s.lvt[Vlapic::kTimer]) == TimerMode::kPeriodic) {
    const uint64_t period = s.initial_count * ns_per_count(s);
    const uint64_t late = now - s.timer_expiry_ns;
    s.timer_expiry_ns = add(now, period - late % period);
  } else {
    s.timer_expiry_ns = 0;
  }
  expire(s);
}

void advance_deadline(State& s, uint64_t now) {
  if (s.deadline == 0 || now - s.now_ns < s.deadline - tsc(s)) return;
  s.deadline = 0;
  expire(s);
}

}  // namespace

uint64_t tsc(const State& s) { return s.now_ns + static_cast<uint64_t>(s.tsc_offset_ns); }

uint32_t current_count(const State& s) {
  if (s.timer_expiry_ns == 0) return 0;
  return static_cast<uint32_t>(mul_div_ceil(s.timer_expiry_ns - s.now_ns, 1, ns_per_count(s)));
}

void write_initial_count(State& s, uint32_t value) {
  if (!counts(timer_mode(s.lvt[Vlapic::kTimer]))) return;
  s.initial_count = value;
  s.timer_expiry_ns = value == 0 ? 0 : add(s.now_ns, value * ns_per_count(s));
}

void write_divide(State& s, uint8_t value) {
  const uint64_t count = current_count(s);
  s.divide = value;
  if (s.timer_expiry_ns != 0) s.timer_expiry_ns = add(s.now_ns, count * ns_per_count(s));
}

void timer_mode_changed(State& s, TimerMode before) {
  const TimerMode mode = timer_mode(s.lvt[Vlapic::kTimer]);
  if (mode == before || (counts(mode) && counts(before))) return;
  s.initial_count = 0;
  s.timer_expiry_ns = 0;
  s.deadline = 0;
}

void write_deadline(State& s, uint64_t value) {
  if (timer_mode(s.lvt[Vlapic::kTimer]) != TimerMode::kDeadline) return;
  s.deadline = value;
  deadline_reached(s);
}

void deadline_reached(State& s) {
  if (s.deadline == 0 || tsc(s) < s.deadline) return;
  s.deadline = 0;
  expire(s);
}

const char* invalid_timer(const State& s) {
  const TimerMode mode = timer_mode(s.lvt[Vlapic::kTimer]);
  if (s.divide & 4) return "the divide configuration has a bit that is always zero";
  if (s.deadline != 0 && mode != TimerMode::kDeadline) return "a deadline is armed outside TSC-deadline mode";
  if (s.deadline != 0 && tsc(s) >= s.deadline) return "a deadline has passed and did not fire";
  if (s.initial_count != 0 && !counts(mode)) return "an initial count in a mode that does not count";
  // A one-shot count that ran out stands still, and so it does when it is then made periodic.
  if (s.timer_expiry_ns == 0)
    return s.initial_count != 0 && s.now_ns == 0 ? "a count has run out before any time has passed" : nullptr;
  if (s.initial_count == 0) return "the timer counts from nothing";
  if (s.timer_expiry_ns < s.now_ns || (s.timer_expiry_ns == s.now_ns && s.now_ns != kMax))
    return "the timer has reached zero and did not fire";
  if (s.timer_expiry_ns - s.now_ns > s.initial_count * ns_per_count(s)) return "the count exceeds the initial count";
  return nullptr;
}

}  // namespace vlapic

void Vlapic::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  vlapic::advance_count(s, now.value);
  vlapic::advance_deadline(s, now.value);
  s.now_ns = now.value;
}

Nanos Vlapic::next_event(const State& s) {
  using namespace register_bits;
  const uint32_t lvt = s.lvt[kTimer];
  if ((lvt & vlapic::Lvt::kMasked) || vlapic::already_raised(s, static_cast<uint8_t>(lvt & vlapic::Lvt::kVector)))
    return kNever;
  if (s.timer_expiry_ns != 0) return {s.timer_expiry_ns};
  if (s.deadline != 0) return {vlapic::add(s.now_ns, s.deadline - vlapic::tsc(s))};
  return kNever;
}

}  // namespace dejavm
