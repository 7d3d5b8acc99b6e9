// What runs when no kernel is given: a PVH kernel of about a kilobyte, linked into the program. It prints its command
// line, the date of the RTC and, for 16 timer ticks, a checksum of pseudo-random memory; echoes what is typed; and
// powers the machine off.
#pragma once

#include <cstdint>
#include <span>

extern "C" const uint8_t dejavm_default_guest[], dejavm_default_guest_end[];

namespace dejavm::boot {

inline std::span<const uint8_t> default_guest() { return {dejavm_default_guest, dejavm_default_guest_end}; }

}  // namespace dejavm::boot
