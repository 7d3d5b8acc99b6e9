// The local APIC's registers, in memory and as MSRs, and its reset and consistency.
#include "devices/vlapic.h"

#include <algorithm>

#include "devices/vlapic_parts.h"

namespace dejavm {
namespace {

using namespace vlapic;

enum Register : uint32_t {
  kId = 0x02,
  kVersionRegister = 0x03,
  kTpr = 0x08,
  kApr = 0x09,
  kPpr = 0x0a,
  kEoi = 0x0b,
  kRrd = 0x0c,
  kLdr = 0x0d,
  kDfr = 0x0e,
  kSvr = 0x0f,
  kIsr0 = 0x10,
  kTmr0 = 0x18,
  kIrr0 = 0x20,
  kEsr = 0x28,
  kLvtCmci = 0x2f,
  kIcrLow = 0x30,
  kIcrHigh = 0x31,
  kLvtTimer = 0x32,
  kLvtError = 0x37,
  kInitialCount = 0x38,
  kCurrentCount = 0x39,
  kDivide = 0x3e,
  kSelfIpi = 0x3f
};
enum Msr : uint32_t {
  kMsrTscAdjust = 0x3b,
  kMsrBase = 0x1b,
  kMsrDeadline = 0x6e0,
  kMsrX2apic = 0x800,
  kMsrX2apicEnd = 0x900
};

// Version 14h, six LVT entries counted from 0, EOI broadcasts can be suppressed (11.4.8).
constexpr uint32_t kVersionValue = 0x14 | 5u << 16 | 1u << 24;
constexpr uint32_t kDfrFixed1 = 0x0fffffff;
constexpr uint64_t kBaseAddressMask = ((uint64_t{1} << Vlapic::kPhysicalAddressBits) - 1) & ~uint64_t{0xfff};

// LVT entry of a register, or -1.
int lvt_entry(uint32_t reg) {
  if (reg == kLvtCmci) return Vlapic::kCmci;
  return reg >= kLvtTimer && reg <= kLvtError ? static_cast<int>(Vlapic::kTimer + reg - kLvtTimer) : -1;
}

const uint32_t* bitmap(const State& s, uint32_t reg) {
  if (reg >= kIsr0 && reg < kIsr0 + 8) return &s.isr[reg - kIsr0];
  if (reg >= kTmr0 && reg < kTmr0 + 8) return &s.tmr[reg - kTmr0];
  if (reg >= kIrr0 && reg < kIrr0 + 8) return &s.irr[reg - kIrr0];
  return nullptr;
}

// False: no such register.
bool read_register(const State& s, uint32_t reg, uint32_t& v) {
  v = 0;
  if (const uint32_t* word = bitmap(s, reg)) {
    v = *word;
    return true;
  }
  if (const int n = lvt_entry(reg); n >= 0) {
    v = s.lvt[static_cast<size_t>(n)];
    return true;
  }
  switch (reg) {
    case kId: v = x2apic(s) ? s.apic_id : s.apic_id << 24; return true;
    case kVersionRegister: v = kVersionValue; return true;
    case kTpr: v = s.tpr; return true;
    case kApr:
    case kRrd:
    case kEoi: return true;
    case kPpr: v = processor_priority(s); return true;
    case kLdr: v = x2apic(s) ? x2apic_ldr(s) : s.ldr; return true;
    case kDfr: v = s.dfr; return true;
    case kSvr: v = s.svr; return true;
    case kEsr: v = s.esr; return true;
    case kIcrLow: v = static_cast<uint32_t>(s.icr); return true;
    case kIcrHigh: v = static_cast<uint32_t>(s.icr >> 32); return true;
    case kInitialCount: v = s.initial_count; return true;
    case kCurrentCount: v = current_count(s); return true;
    case kDivide: v = s.divide; return true;
    default: return false;
  }
}

void write_lvt(State& s, unsigned n, uint32_t value) {
  const uint32_t before = s.lvt[n];
  uint32_t lvt = (value & kLvtWritable[n]) | (before & Lvt::kRemoteIrr);
  if (!software_enabled(s)) lvt |= Lvt::kMasked;
  if (!is_level_lint(lvt)) lvt &= ~uint32_t{number(Lvt::kRemoteIrr)};
  s.lvt[n] = lvt;
  if (n == Vlapic::kTimer) timer_mode_changed(s, timer_mode(before));
  if (n == Vlapic::kLvtLint0) evaluate_lint(s, 0);
  if (n == Vlapic::kLvtLint1) evaluate_lint(s, 1);
}

void write_svr(State& s, uint32_t value) {
  s.svr = value & Svr::kWritable;
  if (s.svr & Svr::kSoftwareEnabled) return;
  for (uint32_t& lvt : s.lvt) lvt |= Lvt::kMasked;
}

// What both modes write alike; false: read-only or no such register.
bool write_common(State& s, uint32_t reg, uint32_t value) {
  if (const int n = lvt_entry(reg); n >= 0) {
    write_lvt(s, static_cast<unsigned>(n), value);
    return true;
  }
  switch (reg) {
    case kTpr: s.tpr = static_cast<uint8_t>(value); return true;
    case kEoi: end_of_interrupt(s); return true;
    case kSvr: write_svr(s, value); return true;
    case kEsr:
      s.esr = s.esr_new;
      s.esr_new = 0;
      return true;
    case kInitialCount: write_initial_count(s, value); return true;
    case kDivide: write_divide(s, static_cast<uint8_t>(value & 0xb)); return true;
    default: return false;
  }
}

bool is_read_only(uint32_t reg) {
  return reg == kVersionRegister || reg == kApr || reg == kPpr || reg == kRrd || reg == kCurrentCount ||
         (reg >= kIsr0 && reg < kEsr);
}

void write_xapic(State& s, uint32_t reg, uint32_t value) {
  switch (reg) {
    case kId: s.apic_id = value >> 24; return;
    case kLdr: s.ldr = value & 0xff000000; return;
    case kDfr: s.dfr = value | kDfrFixed1; return;
    case kIcrLow: s.icr = (s.icr & 0xffffffff00000000) | (value & Icr::kWritable); return send_ipi(s);
    case kIcrHigh: s.icr = (s.icr & 0xffffffff) | uint64_t{value & 0xff000000} << 32; return;
    default:
      if (!write_common(s, reg, value) && !is_read_only(reg)) log_error(s, Esr::kIllegalRegister);
  }
}

// Bits that software may set, by register (11.12.1.3: setting another is #GP).
bool fits_x2apic(uint32_t reg, uint64_t value) {
  if (reg == kIcrLow) return !(value & 0xffffffff & ~uint64_t{number(Icr::kWritable)});
  if (const int n = lvt_entry(reg); n >= 0)
    return !(value & ~uint64_t{kLvtWritable[static_cast<size_t>(n)] | kLvtReadOnly});
  switch (reg) {
    case kTpr:
    case kSelfIpi: return value <= 0xff;
    case kEoi:
    case kEsr: return value == 0;
    case kSvr: return !(value & ~uint64_t{number(Svr::kWritable)});
    case kInitialCount: return !(value >> 32);
    case kDivide: return !(value & ~uint64_t{0xb});
    default: return false;
  }
}

bool write_x2apic(State& s, uint32_t reg, uint64_t value) {
  if (!fits_x2apic(reg, value)) return false;
  if (reg == kIcrLow) {
    s.icr = value;
    send_ipi(s);
    return true;
  }
  if (reg == kSelfIpi) {
    send_self_ipi(s, static_cast<uint8_t>(value));
    return true;
  }
  return write_common(s, reg, static_cast<uint32_t>(value));
}

bool read_x2apic(const State& s, uint32_t reg, uint64_t& value) {
  uint32_t v = 0;
  if (reg == kIcrLow) {
    value = s.icr;
    return true;
  }
  if (reg == kEoi || reg == kSelfIpi || reg == kIcrHigh || reg == kDfr || reg == kApr || reg == kRrd) return false;
  if (!read_register(s, reg, v)) return false;
  value = v;
  return true;
}

// Every register at its reset value; what is outside the APIC stays.
void reset_registers(State& s) {
  State r{};
  r.now_ns = s.now_ns;
  r.base = s.base;
  r.tsc_offset_ns = s.tsc_offset_ns;
  r.initial_id = s.initial_id;
  r.apic_id = x2apic(s) ? s.initial_id : s.initial_id & 0xff;
  r.lint_levels = s.lint_levels;
  r.dfr = 0xffffffff;
  r.svr = 0xff;
  r.lvt.fill(number(Lvt::kMasked));
  s = r;
}

bool write_base(State& s, uint64_t value) {
  const uint64_t modes = Vlapic::kEnabled | Vlapic::kExtended;
  if (value & ~(kBaseAddressMask | modes | Vlapic::kBsp)) return false;
  const bool was_on = enabled(s), was_x2 = x2apic(s);
  const bool on = value & Vlapic::kEnabled, x2 = value & Vlapic::kExtended;
  if (x2 && (!on || !was_on)) return false;  // the invalid state, and disabled to x2APIC
  if (was_x2 && on && !x2) return false;     // x2APIC to xAPIC
  s.base = (value & ~uint64_t{Vlapic::kBsp}) | (s.base & Vlapic::kBsp);
  if (!on && was_on) reset_registers(s);
  if (x2 && !was_x2) {
    s.apic_id = s.initial_id;
    s.ldr = 0;
    s.icr &= 0xffffffff;
  }
  return true;
}

}  // namespace

const char* Vlapic::invalid(const State& s) {
  if (s.base & ~(kBaseAddressMask | kEnabled | kExtended | kBsp)) return "the APIC base has reserved bits set";
  if (x2apic(s) && !enabled(s)) return "x2APIC mode without the enable bit";
  if ((s.irr[0] | s.isr[0] | s.tmr[0]) & 0xffff) return "a vector below 16 is requested";
  for (unsigned n = 0; n < kEntries; ++n) {
    const uint32_t lint_irr = n == kLvtLint0 || n == kLvtLint1 ? number(Lvt::kRemoteIrr) : 0;
    if (s.lvt[n] & ~(kLvtWritable[n] | lint_irr)) return "an LVT entry has reserved bits set";
    if (!software_enabled(s) && !(s.lvt[n] & Lvt::kMasked))
      return "an LVT entry is unmasked while the APIC is disabled";
    if ((s.lvt[n] & Lvt::kRemoteIrr) && !is_level_lint(s.lvt[n])) return "remote IRR is set on an edge-triggered LINT";
  }
  if ((s.esr | s.esr_new) & ~(Esr::kSendIllegalVector | Esr::kReceiveIllegalVector | Esr::kIllegalRegister))
    return "an error that is never logged";
  if (s.svr & ~uint32_t{number(Svr::kWritable)}) return "the spurious vector register has reserved bits set";
  if (x2apic(s) ? s.apic_id != s.initial_id || s.ldr != 0 : s.apic_id > 0xff || (s.ldr & 0xffffff))
    return "the APIC id or logical destination is not one of this mode";
  if ((s.dfr & kDfrFixed1) != kDfrFixed1) return "the destination format has reserved bits clear";
  if (s.icr & Icr::kBusy) return "the ICR is busy";
  for (unsigned n = s.queued; n < kQueued; ++n)
    if (!(s.queue[n] == Outgoing{})) return "a message lies beyond the queue's length";
  for (unsigned n = 0; n < kQueued; ++n)
    if (s.queue[n].kind == BusMessage::Kind::kEoi &&
        !(s.queue[n] == Outgoing{.kind = BusMessage::Kind::kEoi, .vector = s.queue[n].vector}))
      return "an EOI message has more than a vector";
  if (s.startup_vector != 0 && !s.startup_pending) return "a STARTUP vector without a STARTUP";
  if (lint_wants_service(s, 0) || lint_wants_service(s, 1)) return "an asserted level LINT has requested nothing";
  return invalid_timer(s);
}

void Vlapic::reset(State& s) {
  State r{};
  r.initial_id = s.initial_id;
  r.base = kDefaultAddress | kEnabled | (s.initial_id == 0 ? uint64_t{kBsp} : 0);
  reset_registers(r);
  s = r;
}

void Vlapic::init_reset(State& s) {
  const State before = s;
  reset_registers(s);
  s.apic_id = before.apic_id;
  s.queue = before.queue;
  s.queued = before.queued;
  s.startup_pending = before.startup_pending;
  s.startup_vector = before.startup_vector;
}

uint64_t Vlapic::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  if (!window_open(s) || offset >= kWindowBytes || size > 4 || offset % 16 + size > 4) return open_bus(size);
  uint32_t v;
  if (!read_register(s, static_cast<uint32_t>(offset >> 4), v)) log_error(s, Esr::kIllegalRegister);
  return v >> (8 * (offset % 16)) & open_bus(size);
}

void Vlapic::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  if (!window_open(s) || offset >= kWindowBytes || size != 4 || offset % 16) return;
  write_xapic(s, static_cast<uint32_t>(offset >> 4), static_cast<uint32_t>(value));
}

bool Vlapic::msr_read(State& s, Nanos now, uint32_t index, uint64_t& value) {
  advance(s, now);
  if (index == kMsrBase) {
    value = s.base;
    return true;
  }
  if (index == kMsrDeadline) {
    value = s.deadline;
    return true;
  }
  if (index < kMsrX2apic || index >= kMsrX2apicEnd || !x2apic(s)) return false;
  return read_x2apic(s, index - kMsrX2apic, value);
}

bool Vlapic::msr_write(State& s, Nanos now, uint32_t index, uint64_t value) {
  advance(s, now);
  if (index == kMsrBase) return write_base(s, value);
  if (index == kMsrDeadline) {
    write_deadline(s, value);
    return true;
  }
  if (index == kMsrTscAdjust) {
    set_tsc_offset(s, now, static_cast<int64_t>(value));
    return true;
  }
  if (index < kMsrX2apic || index >= kMsrX2apicEnd || !x2apic(s)) return false;
  return write_x2apic(s, index - kMsrX2apic, value);
}

uint64_t Vlapic::cr8(const State& s) { return s.tpr >> 4; }

void Vlapic::set_cr8(State& s, Nanos now, uint64_t value) {
  advance(s, now);
  s.tpr = static_cast<uint8_t>(value << 4);
}

void Vlapic::set_tsc_offset(State& s, Nanos now, int64_t offset_ns) {
  advance(s, now);
  s.tsc_offset_ns = offset_ns;
  deadline_reached(s);
}

bool Vlapic::window_open(const State& s) { return enabled(s) && !x2apic(s); }

}  // namespace dejavm
