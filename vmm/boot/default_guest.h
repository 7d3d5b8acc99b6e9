// What runs when no kernel is given: tests/guests/default_guest.S, a PVH kernel of about two kilobytes, linked into the
// program. It turns on long mode, prints its command line and the date of the RTC, handles a page fault, computes with
// SSE2; prints, for 16 timer ticks between which it halts, a checksum of pseudo-random memory; echoes what is typed;
// and powers the machine off.
#pragma once

#include <cstdint>
#include <span>

extern "C" const uint8_t dejavm_default_guest[], dejavm_default_guest_end[];

namespace dejavm::boot {

inline std::span<const uint8_t> default_guest() { return {dejavm_default_guest, dejavm_default_guest_end}; }

}  // namespace dejavm::boot
