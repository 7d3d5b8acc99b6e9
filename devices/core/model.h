// The shape every device model has. A model is a type with only static members:
//
//   struct Vatpit {
//     static constexpr std::string_view kName = "vatpit";
//     static constexpr uint16_t kVersion = 1;               // of the State's format
//     struct State { ...; static constexpr auto fields(); };
//     enum Input : unsigned { ... };                        // indices for set_line
//     enum Line : uint64_t { kOut0 = 1 << 0, ... };         // bits of lines()
//     static const char* invalid(const State&);             // cross-field rule, optional
//     static DeviceModel model();                           // for generic code: device_model.h
//     static void reset(State&);                            // the documented power-on state, at time 0
//     static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
//     static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
//     static void advance(State&, Nanos now);
//     static Nanos next_event(const State&);
//     static uint64_t lines(const State&);
//     static void set_line(State&, Nanos now, unsigned input, bool level);
//     static bool pop_message(State&, BusMessage&);         // only for models that send messages
//     static bool next_transfer(const State&, Transfer&);   // only for bus masters: transfer.h
//     static void transferred(State&, Nanos now, bool ok, std::span<const uint8_t> bytes);
//   };
//
// - `offset` is relative to the model's own window (its header says which); every offset, size (1-8) and value has
//   a defined result (law 4). Unused bits of an answer are zero; an unmapped register reads as all ones in `size`.
// - read, write and set_line first advance the state to `now` themselves. `now` never goes back; an earlier `now`
//   counts as the latest one seen.
// - advance(a); advance(b) equals advance(b) (law 2).
// - next_event: the next time at which lines() or an outgoing message may change by time alone; kNever if none.
//   Never late.
// - lines: outputs as a pure function of the state (law 3). The board compares before and after each call.
// - Times in a state are virtual ns or device ticks since reset.
#pragma once

#include <cstdint>
#include <string_view>

#include "devices/core/fields.h"
#include "devices/core/types.h"

namespace dejavm {

struct DeviceModel;  // device_model.h

// Interrupt messages on the APIC bus (Intel SDM vol. 3, 11.11 and 11.6): from an I/O APIC pin, an MSI or an ICR.
enum class Delivery : uint8_t {
  kFixed = 0,
  kLowestPriority = 1,
  kSmi = 2,
  kNmi = 4,
  kInit = 5,
  kStartup = 6,
  kExtInt = 7
};

struct BusMessage {
  enum class Kind : uint8_t { kInterrupt, kEoi };  // kEoi: broadcast by a local APIC to the I/O APICs; only `vector`
  // ICR destination shorthands; kNone: by `destination`.
  enum class Shorthand : uint8_t { kNone = 0, kSelf = 1, kAll = 2, kAllButSelf = 3 };
  Kind kind = Kind::kInterrupt;
  Delivery delivery = Delivery::kFixed;
  Shorthand shorthand = Shorthand::kNone;
  bool logical = false;      // destination mode
  bool level = false;        // trigger mode
  bool assert_level = true;  // false only for the INIT level de-assert
  uint8_t vector = 0;
  uint32_t destination = 0;  // APIC id, or logical destination; 8 bits from xAPIC and I/O APIC, 32 from x2APIC
};

// A register of eight bytes after four of them were written.
constexpr uint64_t with_half(uint64_t reg, bool high, uint32_t value) {
  return high ? (reg & 0xffffffff) | uint64_t{value} << 32 : (reg & ~uint64_t{0xffffffff}) | value;
}

// All ones in `size` bytes: what a read of nothing returns on this bus.
constexpr uint64_t open_bus(unsigned size) { return size >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * size)) - 1; }

}  // namespace dejavm
