// The I/O APIC: 24 pins, version 20h, with the EOI register of chipset I/O APICs.
// Source: Intel 82093AA datasheet (290566) section 3; EOI register, version and remote IRR: Intel ICH9 datasheet 13.5.
//
// Window: 0xfec00000, offsets 0-0xfff. IOREGSEL at 0x00 (one byte), IOWIN at 0x10, EOIR at 0x40 (write only). A read of
// any size inside one of those 32-bit registers returns its bytes; a write to IOREGSEL or EOIR uses its low byte, if it
// begins at the register; a write to IOWIN must begin at it and have 4 or 8 bytes, whose low 4 are taken. Other writes
// are ignored, other reads are all ones. Inputs 0-23 of set_line are the pins; true is "asserted", whatever the
// polarity bit says, which is kept for software to read and does nothing. The model keeps no time.
//
// - Edge: a rise on an unmasked pin is one message. A rise on a masked pin is lost (82093AA 3.2.4, bit 16). A rise that
//   comes while the pin's earlier message still waits is the same message.
// - Level: asserted, unmasked and remote IRR clear is one message; remote IRR is set as it is taken. An EOI of the
//   vector clears remote IRR, and a pin still asserted sends again. SMI, NMI, INIT and ExtINT are edge-triggered
//   whatever the trigger bit says (3.2.4, bits 10:8): they have no EOI.
// - Choosing edge clears remote IRR (as chipsets do; software without EOIR ends an interrupt so). Choosing level on an
//   asserted pin sends at once.
// - Messages are taken with pop_message, lowest pin first, and carry the entry as it is then. Masking does not take a
//   message back; delivery status reads 1 while it waits.
// - Reserved indirect registers read as 0.
// Not modelled: the arbitration register has the identification register's value and no life of its own; the reserved
// delivery modes 3 and 6 send nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "devices/core/model.h"

namespace dejavm {

struct Vioapic {
  static constexpr std::string_view kName = "vioapic";
  static constexpr uint16_t kVersion = 1;
  static constexpr uint64_t kWindowBytes = 0x1000;
  static constexpr unsigned kPins = 24;

  // A redirection table entry. Delivery status is not stored: it is the pin's bit in `pending`.
  enum Entry : uint64_t {
    kVectorMask = 0xff,
    kDeliveryShift = 8,
    kLogical = uint64_t{1} << 11,
    kDeliveryStatus = uint64_t{1} << 12,
    kActiveLow = uint64_t{1} << 13,
    kRemoteIrr = uint64_t{1} << 14,
    kLevel = uint64_t{1} << 15,
    kMasked = uint64_t{1} << 16,
    kDestinationShift = 56,
    kWritable = 0xff0000000001afff,
    kStored = kWritable | kRemoteIrr,
  };

  struct State {
    std::array<uint64_t, kPins> entry;
    uint32_t levels;   // bit n: pin n is asserted
    uint32_t pending;  // bit n: pin n's message waits to be taken
    uint8_t select;    // IOREGSEL
    uint8_t id;        // bits 27:24 of the identification register
    std::array<uint8_t, 6> reserved;
    static constexpr auto fields() {
      return std::tuple{field("entry", &State::entry).range(0, kStored),
                        field("levels", &State::levels).range(0, (1u << kPins) - 1),
                        field("pending", &State::pending).range(0, (1u << kPins) - 1),
                        field("select", &State::select),
                        field("id", &State::id).range(0, 15),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };

  static const char* invalid(const State&);
  static DeviceModel model();  // vioapic_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos) {}
  static Nanos next_event(const State&) { return kNever; }
  static uint64_t lines(const State&) { return 0; }
  static void set_line(State&, Nanos now, unsigned input, bool level);
  static bool pop_message(State&, BusMessage&);

  // The EOI message of a local APIC, or EOIR: ends the level interrupts of this vector.
  static void eoi(State&, Nanos now, uint8_t vector);
};

}  // namespace dejavm
