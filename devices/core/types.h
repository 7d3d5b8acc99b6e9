// Strong types for the quantities that must not be mixed. Each holds one unsigned 64-bit (or narrower) value,
// is trivially copyable and has no default conversions. Units are in the type's comment.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace dejavm {

// Virtual time, in nanoseconds since the machine's reset. Never the host's clock. kNever: no event is due.
struct Nanos {
  uint64_t value = 0;
  constexpr auto operator<=>(const Nanos&) const = default;
  friend constexpr Nanos operator+(Nanos a, Nanos b) { return {a.value + b.value}; }
  friend constexpr Nanos operator-(Nanos a, Nanos b) { return {a.value - b.value}; }
};
inline constexpr Nanos kNever{std::numeric_limits<uint64_t>::max()};

// Guest instructions completed by a machine since its start, by all its vCPUs together; an iteration of a REP string
// instruction counts as one. The order of everything that happens in a machine: the coordinate of keyframes, stops,
// seeks and log events.
struct Retired {
  uint64_t value = 0;
  constexpr auto operator<=>(const Retired&) const = default;
  friend constexpr Retired operator+(Retired a, uint64_t n) { return {a.value + n}; }
  friend constexpr uint64_t operator-(Retired a, Retired b) { return a.value - b.value; }
};
inline constexpr Retired kForever{std::numeric_limits<uint64_t>::max()};

// Guest-physical address, bytes.
struct Gpa {
  uint64_t value = 0;
  constexpr auto operator<=>(const Gpa&) const = default;
  friend constexpr Gpa operator+(Gpa a, uint64_t n) { return {a.value + n}; }
};

// Guest-virtual (linear) address, bytes.
struct Gva {
  uint64_t value = 0;
  constexpr auto operator<=>(const Gva&) const = default;
  friend constexpr Gva operator+(Gva a, uint64_t n) { return {a.value + n}; }
};

// x86 I/O port number.
struct Port {
  uint16_t value = 0;
  constexpr auto operator<=>(const Port&) const = default;
};

// Exact time arithmetic: floor and ceiling of a*b/c over 128-bit intermediates; saturates at 2^64-1.
constexpr uint64_t mul_div_floor(uint64_t a, uint64_t b, uint64_t c) {
  const unsigned __int128 q = static_cast<unsigned __int128>(a) * b / c;
  return q >> 64 ? std::numeric_limits<uint64_t>::max() : static_cast<uint64_t>(q);
}
constexpr uint64_t mul_div_ceil(uint64_t a, uint64_t b, uint64_t c) {
  const unsigned __int128 q = (static_cast<unsigned __int128>(a) * b + (c - 1)) / c;
  return q >> 64 ? std::numeric_limits<uint64_t>::max() : static_cast<uint64_t>(q);
}

// A device clock of `hz` ticks per second that ticks at exact rational instants: tick n happens at
// ceil(n * 1e9 / hz) ns; the count at time t is floor(t * hz / 1e9). So ticks_at(time_of(n)) == n.
struct DeviceClock {
  uint64_t hz;
  constexpr uint64_t ticks_at(Nanos t) const { return mul_div_floor(t.value, hz, 1'000'000'000); }
  constexpr Nanos time_of(uint64_t tick) const { return {mul_div_ceil(tick, 1'000'000'000, hz)}; }
};

}  // namespace dejavm
