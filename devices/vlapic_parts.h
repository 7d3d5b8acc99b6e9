// What the parts of Vlapic share: register bits, and the functions each part offers to the others.
// vlapic.cc: registers and MSRs. vlapic_timer.cc: the timer. vlapic_interrupt.cc: requests, messages, acknowledge.
#pragma once

#include "devices/core/register_bits.h"
#include "devices/vlapic.h"

namespace dejavm::vlapic {

using namespace register_bits;
using State = Vlapic::State;

// Bits of LVT entries (11.5.1).
enum class Lvt : uint32_t {
  kVector = 0xff,
  kRemoteIrr = 1 << 14,
  kLevel = 1 << 15,
  kMasked = 1 << 16,
};
inline constexpr unsigned kLvtDeliveryShift = 8, kLvtTimerModeShift = 17;
enum class TimerMode : uint8_t { kOneShot = 0, kPeriodic = 1, kDeadline = 2, kReserved = 3 };

// Software-writable bits, per entry in the order of Vlapic::Entry. Delivery status (bit 12) is always 0: a local
// interrupt is accepted at once.
inline constexpr std::array<uint32_t, Vlapic::kEntries> kLvtWritable = {0x107ff, 0x700ff, 0x107ff, 0x107ff,
                                                                        0x1a7ff, 0x1a7ff, 0x100ff};
inline constexpr uint32_t kLvtReadOnly = 1 << 12 | Lvt::kRemoteIrr;  // delivery status, remote IRR

enum class Svr : uint32_t { kVector = 0xff, kSoftwareEnabled = 1 << 8, kNoEoiBroadcast = 1 << 12, kWritable = 0x13ff };

// ICR's low half (11.6.1).
inline constexpr unsigned kIcrDeliveryShift = 8, kIcrShorthandShift = 18;
enum class Icr : uint32_t {
  kLogical = 1 << 11,
  kBusy = 1 << 12,  // delivery status: always 0
  kAssert = 1 << 14,
  kLevel = 1 << 15,
  kWritable = 0xccfff & ~uint32_t{kBusy},
};

// Error status register (11.5.3).
enum class Esr : uint8_t { kSendIllegalVector = 1 << 5, kReceiveIllegalVector = 1 << 6, kIllegalRegister = 1 << 7 };

inline bool enabled(const State& s) { return s.base & Vlapic::kEnabled; }
inline bool x2apic(const State& s) { return s.base & Vlapic::kExtended; }
inline bool software_enabled(const State& s) { return enabled(s) && (s.svr & Svr::kSoftwareEnabled); }
inline TimerMode timer_mode(uint32_t lvt) { return static_cast<TimerMode>(lvt >> kLvtTimerModeShift & 3); }
inline bool counts(TimerMode mode) { return mode == TimerMode::kOneShot || mode == TimerMode::kPeriodic; }
inline Delivery lvt_delivery(uint32_t lvt) { return static_cast<Delivery>(lvt >> kLvtDeliveryShift & 7); }

// vlapic_timer.cc
uint64_t tsc(const State& s);  // at now_ns
uint32_t current_count(const State& s);
void write_initial_count(State& s, uint32_t value);
void write_divide(State& s, uint8_t value);
void timer_mode_changed(State& s, TimerMode before);
void write_deadline(State& s, uint64_t value);
void deadline_reached(State& s);  // after the TSC was changed: fires if due
const char* invalid_timer(const State& s);

// vlapic_interrupt.cc
uint8_t processor_priority(const State& s);
uint32_t x2apic_ldr(const State& s);
void log_error(State& s, Esr bit);
void raise_fixed(State& s, uint8_t vector, bool level);  // into IRR and TMR
bool already_raised(const State& s, uint8_t vector);     // raise_fixed would change no line
void evaluate_lint(State& s, unsigned lint);             // requests a level-triggered LINT that waits for service
bool lint_wants_service(const State& s, unsigned lint);
bool is_level_lint(uint32_t lvt);
void end_of_interrupt(State& s);
void send_ipi(State& s);  // what ICR says
void send_self_ipi(State& s, uint8_t vector);

}  // namespace dejavm::vlapic
