// The local APIC's requests, messages and acknowledgement (11.5.1, 11.6, 11.8).
#include <algorithm>
#include <bit>
#include <utility>

#include "devices/vlapic_parts.h"

namespace dejavm {
namespace vlapic {
namespace {

bool bit(const std::array<uint32_t, 8>& map, unsigned n) { return map[n / 32] >> (n % 32) & 1; }
void set_bit(std::array<uint32_t, 8>& map, unsigned n, bool value) {
  map[n / 32] = (map[n / 32] & ~(1u << (n % 32))) | uint32_t{value} << (n % 32);
}
int highest(const std::array<uint32_t, 8>& map) {
  for (int w = 7; w >= 0; --w)
    if (const uint32_t v = map[static_cast<size_t>(w)]) return 32 * w + 31 - std::countl_zero(v);
  return -1;
}

// The highest request that the priorities let through, or -1.
int deliverable(const State& s) {
  if (!software_enabled(s)) return -1;
  const int vector = highest(s.irr);
  return vector >= 0 && (vector >> 4) > (processor_priority(s) >> 4) ? vector : -1;
}

bool lint_level(const State& s, unsigned lint) { return s.lint_levels >> lint & 1; }
uint32_t lint_entry(const State& s, unsigned lint) { return s.lvt[Vlapic::kLvtLint0 + lint]; }

// The 8259 pair asks by LINT0: as INTR itself while the APIC is off, or as an ExtINT.
bool external_request(const State& s) {
  if (!enabled(s)) return lint_level(s, 0);
  if (s.ext_int_pending) return true;
  for (unsigned lint = 0; lint < 2; ++lint) {
    const uint32_t lvt = lint_entry(s, lint);
    if (lint_level(s, lint) && !(lvt & Lvt::kMasked) && lvt_delivery(lvt) == Delivery::kExtInt) return true;
  }
  return false;
}

void send(State& s, const Vlapic::Outgoing& message) {
  if (s.queued < Vlapic::kQueued) s.queue[s.queued++] = message;
}

bool sendable(Delivery d) {
  return d == Delivery::kFixed || d == Delivery::kLowestPriority || d == Delivery::kNmi || d == Delivery::kInit ||
         d == Delivery::kStartup;
}

bool has_vector(Delivery d) { return d == Delivery::kFixed || d == Delivery::kLowestPriority; }

bool matches_logical(const State& s, uint32_t destination) {
  if (x2apic(s)) {
    const uint32_t ldr = x2apic_ldr(s);
    return destination == 0xffffffff || (destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff));
  }
  const uint32_t ldr = s.ldr >> 24;
  if (destination == 0xff || destination == 0xffffffff) return true;
  if (destination > 0xff) return false;
  if (s.dfr >> 28 == 0xf) return destination & ldr;
  return destination >> 4 == ldr >> 4 && (destination & ldr & 0xf);
}

}  // namespace

uint8_t processor_priority(const State& s) {
  const int in_service = std::max(highest(s.isr), 0);
  return (s.tpr >> 4) >= (in_service >> 4) ? s.tpr : static_cast<uint8_t>(in_service & 0xf0);
}

uint32_t x2apic_ldr(const State& s) { return (s.apic_id >> 4) << 16 | 1u << (s.apic_id & 0xf); }

void log_error(State& s, Esr bit) {
  if (s.esr_new & bit) return;
  s.esr_new |= bit;
  const uint32_t lvt = s.lvt[Vlapic::kError];
  if (!(lvt & Lvt::kMasked)) raise_fixed(s, static_cast<uint8_t>(lvt & Lvt::kVector), false);
}

bool already_raised(const State& s, uint8_t vector) {
  return vector < 16 ? s.esr_new & Esr::kReceiveIllegalVector : bit(s.irr, vector);
}

void raise_fixed(State& s, uint8_t vector, bool level) {
  if (vector < 16) return log_error(s, Esr::kReceiveIllegalVector);
  set_bit(s.irr, vector, true);
  set_bit(s.tmr, vector, level);
}

bool is_level_lint(uint32_t lvt) { return (lvt & Lvt::kLevel) && lvt_delivery(lvt) == Delivery::kFixed; }

bool lint_wants_service(const State& s, unsigned lint) {
  const uint32_t lvt = lint_entry(s, lint);
  return is_level_lint(lvt) && lint_level(s, lint) && !(lvt & (Lvt::kMasked | Lvt::kRemoteIrr));
}

void evaluate_lint(State& s, unsigned lint) {
  if (!lint_wants_service(s, lint)) return;
  s.lvt[Vlapic::kLvtLint0 + lint] |= Lvt::kRemoteIrr;
  raise_fixed(s, static_cast<uint8_t>(lint_entry(s, lint) & Lvt::kVector), true);
}

void end_of_interrupt(State& s) {
  const int vector = highest(s.isr);
  if (vector < 0) return;
  set_bit(s.isr, static_cast<unsigned>(vector), false);
  if (!bit(s.tmr, static_cast<unsigned>(vector))) return;
  for (unsigned lint = 0; lint < 2; ++lint) {
    uint32_t& lvt = s.lvt[Vlapic::kLvtLint0 + lint];
    if (!(lvt & Lvt::kRemoteIrr) || (lvt & Lvt::kVector) != static_cast<uint32_t>(vector)) continue;
    lvt &= ~uint32_t{number(Lvt::kRemoteIrr)};
    evaluate_lint(s, lint);
  }
  if (!(s.svr & Svr::kNoEoiBroadcast))
    send(s, {.kind = BusMessage::Kind::kEoi, .vector = static_cast<uint8_t>(vector)});
}

void send_ipi(State& s) {
  const auto low = static_cast<uint32_t>(s.icr);
  const auto delivery = static_cast<Delivery>(low >> kIcrDeliveryShift & 7);
  const auto vector = static_cast<uint8_t>(low);
  if (!sendable(delivery)) return;
  if (has_vector(delivery) && vector < 16) return log_error(s, Esr::kSendIllegalVector);
  Vlapic::Outgoing m;
  m.destination = x2apic(s) ? static_cast<uint32_t>(s.icr >> 32) : static_cast<uint32_t>(s.icr >> 56);
  m.delivery = delivery;
  m.shorthand = static_cast<BusMessage::Shorthand>(low >> kIcrShorthandShift & 3);
  m.vector = vector;
  m.logical = low & Icr::kLogical;
  m.deassert = delivery == Delivery::kInit && (low & Icr::kLevel) && !(low & Icr::kAssert);
  m.level = m.deassert;
  send(s, m);
}

void send_self_ipi(State& s, uint8_t vector) {
  if (vector < 16) return log_error(s, Esr::kSendIllegalVector);
  send(s, {.shorthand = BusMessage::Shorthand::kSelf, .vector = vector});
}

}  // namespace vlapic

using namespace vlapic;

uint64_t Vlapic::lines(const State& s) {
  uint64_t lines = 0;
  if (external_request(s) || deliverable(s) >= 0) lines |= kIntr;
  if (s.nmi_pending) lines |= kNmi;
  if (s.init_pending) lines |= kInit;
  if (s.startup_pending) lines |= kStartup;
  return lines;
}

void Vlapic::set_line(State& s, Nanos now, unsigned input, bool level) {
  advance(s, now);
  if (input > kLint1) return;
  const bool rise = level && !lint_level(s, input);
  s.lint_levels = static_cast<uint8_t>((s.lint_levels & ~(1u << input)) | unsigned{level} << input);
  if (!enabled(s)) {
    if (input == kLint1 && rise) s.nmi_pending = true;
    return;
  }
  const uint32_t lvt = lint_entry(s, input);
  if (lvt & Lvt::kMasked) return;
  if (is_level_lint(lvt)) return evaluate_lint(s, input);
  if (!rise) return;
  switch (lvt_delivery(lvt)) {
    case Delivery::kFixed: return raise_fixed(s, static_cast<uint8_t>(lvt & Lvt::kVector), false);
    case Delivery::kNmi: s.nmi_pending = true; return;
    case Delivery::kInit: s.init_pending = true; return;
    default: return;  // ExtINT follows the level; SMI has no receiver
  }
}

bool Vlapic::pop_message(State& s, BusMessage& message) {
  if (s.queued == 0) return false;
  const Outgoing m = s.queue[0];
  std::move(s.queue.begin() + 1, s.queue.end(), s.queue.begin());
  s.queue.back() = {};
  --s.queued;
  message = {.kind = m.kind,
             .delivery = m.delivery,
             .shorthand = m.shorthand,
             .logical = m.logical,
             .level = m.level,
             .assert_level = !m.deassert,
             .vector = m.vector,
             .destination = m.destination};
  return true;
}

bool Vlapic::matches(const State& s, const BusMessage& m, bool is_sender) {
  if (!enabled(s)) return false;
  switch (m.shorthand) {
    case BusMessage::Shorthand::kSelf: return is_sender;
    case BusMessage::Shorthand::kAll: return true;
    case BusMessage::Shorthand::kAllButSelf: return !is_sender;
    case BusMessage::Shorthand::kNone: break;
  }
  if (m.logical) return matches_logical(s, m.destination);
  return m.destination == s.apic_id || m.destination == 0xff || m.destination == 0xffffffff;
}

unsigned Vlapic::arbitration(const State& s) { return software_enabled(s) ? processor_priority(s) : 0x100; }

bool Vlapic::accept(State& s, Nanos now, const BusMessage& m) {
  advance(s, now);
  switch (m.delivery) {
    case Delivery::kFixed:
    case Delivery::kLowestPriority:
      if (!software_enabled(s)) return false;
      raise_fixed(s, m.vector, m.level);
      return true;
    case Delivery::kExtInt:
      if (!software_enabled(s)) return false;
      return s.ext_int_pending = true;
    case Delivery::kNmi: return s.nmi_pending = true;
    case Delivery::kInit:
      if (m.assert_level) s.init_pending = true;
      return m.assert_level;
    case Delivery::kStartup: s.startup_vector = m.vector; return s.startup_pending = true;
    default: return false;
  }
}

int Vlapic::acknowledge(State& s, Nanos now) {
  advance(s, now);
  if (external_request(s)) {
    s.ext_int_pending = false;
    return kAckFromPic;
  }
  if (const int vector = deliverable(s); vector >= 0) {
    set_bit(s.irr, static_cast<unsigned>(vector), false);
    set_bit(s.isr, static_cast<unsigned>(vector), true);
    return vector;
  }
  return software_enabled(s) && highest(s.irr) >= 0 ? static_cast<int>(s.svr & Svr::kVector) : kAckNothing;
}

bool Vlapic::take_nmi(State& s) { return std::exchange(s.nmi_pending, false); }
bool Vlapic::take_init(State& s) { return std::exchange(s.init_pending, false); }

bool Vlapic::take_startup(State& s, uint8_t& vector) {
  vector = std::exchange(s.startup_vector, uint8_t{0});
  return std::exchange(s.startup_pending, false);
}

}  // namespace dejavm
