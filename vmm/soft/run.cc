#include "vmm/soft/run.h"

#include <algorithm>

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/blocks/hot.h"
#include "vmm/soft/mmu.h"

namespace dejavm::soft {
namespace {

constexpr uint64_t kDr7Enables = 0xff;

uint64_t code_linear(const Cpu& c) { return c.long64() ? c.rip : (c.s.segment[kCs].base + c.rip) & 0xffffffff; }

// --- events at a boundary (SDM vol. 3, table 6-2) ---

bool stands_at_debug_point(Cpu& c) {
  DebugPoints& debug = *c.debug;
  const uint64_t linear = code_linear(c);
  if (debug.known_at == Retired{c.retired} && debug.known_address == linear) return debug.passing;
  const bool named = std::find(debug.code.begin(), debug.code.end(), linear) != debug.code.end();
  if (!named && !debug.every) return false;
  (debug.passing ? debug.last : debug.hit) = {DebugPoints::Kind::kCode, linear, Retired{c.retired}};
  debug.passed += debug.passing && named ? 1 : 0;
  return !debug.passing;
}

enum class Boundary : uint8_t { kRun, kAgain, kLeave };

Boundary take_interrupt(Cpu& c) {
  const int vector = c.exits->acknowledge_interrupt(c.position());
  if (vector < 0) return c.control->intr ? Boundary::kRun : Boundary::kAgain;
  c.s.activity = Activity::kRunning;
  deliver_event(c, {EventType::kExternal, static_cast<uint8_t>(vector)}, c.rip);
  return Boundary::kAgain;
}

Boundary at_boundary(Cpu& c, StopReason& why) {
  RunControl& control = *c.control;
  if (control.nmi) {
    control.nmi = false;
    c.s.nmi_pending = true;
  }
  auto leave = [&why](StopReason r) {
    why = r;
    return Boundary::kLeave;
  };
  if (c.debug != nullptr && c.debug->hit) return leave(StopReason::kBreak);
  if (c.s.activity == Activity::kShutdown) return leave(StopReason::kShutdown);
  if (control.init) return leave(StopReason::kInit);
  if (control.stop) return leave(StopReason::kStopped);
  if (c.retired >= control.until.value) return leave(StopReason::kLimit);
  if (c.s.pending_debug && !c.s.movss_shadow) {
    c.report_debug(c.s.pending_debug);
    c.s.pending_debug = 0;
    c.s.activity = Activity::kRunning;
    deliver_event(c, {EventType::kException, kDB}, c.rip);
    return Boundary::kAgain;
  }
  if (c.s.nmi_pending && !c.s.nmi_blocked && !c.s.movss_shadow) {
    c.s.nmi_pending = false;
    c.s.activity = Activity::kRunning;
    deliver_event(c, {EventType::kNmi, kNMI}, c.rip);
    return Boundary::kAgain;
  }
  if (control.intr && (c.other_flags & kIF) && !c.s.sti_shadow && !c.s.movss_shadow) {
    const Boundary b = take_interrupt(c);
    if (b != Boundary::kRun) return b;
  }
  if (c.s.activity != Activity::kRunning) return leave(StopReason::kHalted);
  if (c.rip == control.break_rip || (c.debug != nullptr && stands_at_debug_point(c))) return leave(StopReason::kBreak);
  return Boundary::kRun;
}

// --- one instruction by itself ---

// Instruction breakpoints come before the fetch (SDM vol. 3, 17.3.1.1).
void check_code_breakpoints(Cpu& c) {
  if (c.other_flags & kRF) return;
  const uint64_t linear = code_linear(c);
  uint64_t hit = 0;
  for (unsigned n = 0; n < 4; ++n)
    if (((c.s.dr7 >> (2 * n)) & 3) && !((c.s.dr7 >> (16 + 4 * n)) & 3) && c.s.dr[n] == linear) hit |= uint64_t{1} << n;
  if (hit == 0) return;
  c.report_debug(hit);
  Cpu::fault(kDB);
}

// Bytes of the instruction at c.rip from one or two pages, decoded. Faults as the fetch does.
void fetch(Cpu& c, Decoded& d) {
  if (c.long64() ? !Cpu::canonical(c.rip) : c.rip > c.s.segment[kCs].limit) Cpu::fault(kGP, 0);
  const uint64_t linear = code_linear(c);
  uint8_t bytes[15];
  set_fetch_page(c, linear);
  const unsigned here = std::min(15u, 4096 - static_cast<unsigned>(linear & 0xfff));
  std::memcpy(bytes, fetch_host_page(c, c.fetch_gpa) + (linear & 0xfff), here);
  DecodeStatus status = decode({bytes, here}, c.code_mode, d);
  if (status == DecodeStatus::kTruncated && here < 15) {
    const uint64_t next = c.long64() ? linear + here : (linear + here) & 0xffffffff;
    if (c.long64() && !Cpu::canonical(next)) Cpu::fault(kGP, 0);
    set_fetch_page(c, next);
    std::memcpy(bytes + here, fetch_host_page(c, c.fetch_gpa), 15 - here);
    status = decode({bytes, 15}, c.code_mode, d);
  }
  if (status != DecodeStatus::kOk) Cpu::fault(kGP, 0);  // over 15 bytes
  if (!c.long64() && c.rip + d.len - 1 > c.s.segment[kCs].limit) Cpu::fault(kGP, 0);
  fit_to_cpu(c, d);
}

// Whether TF as it was before the instruction decides on the trap after it. Software interrupts have none; SYSCALL and
// SYSRET see to theirs since revision 2.
bool traps_after(const Cpu& c, Op op) {
  switch (op) {
    case Op::k_int:
    case Op::k_int1:
    case Op::k_int3:
    case Op::k_into: return false;
    case Op::k_syscall:
    case Op::k_sysret: return !c.since(2);
    default: return true;
  }
}

// False: --strict and the instruction is outside the engine; nothing has happened.
bool single_step(Cpu& c) {
  Decoded d;
  if (c.s.dr7 & kDr7Enables) check_code_breakpoints(c);
  const bool trap = c.other_flags & kTF;
  fetch(c, d);
  if (d.op == Op::kInvalid && c.strict) return false;
  ++c.single_steps;
  c.s.sti_shadow = c.s.movss_shadow = false;
  const uint64_t resume = c.other_flags & kRF;
  c.other_flags &= ~uint64_t{kRF};
  c.next_rip = c.rip + d.len;
  try {
    exec_function(d.op)(c, d);
  } catch (...) {
    c.other_flags |= resume;
    throw;
  }
  c.rip = c.long64() ? c.next_rip : c.next_rip & 0xffffffff;
  ++c.retired;
  if (trap && traps_after(c, d.op)) c.s.pending_debug |= kDr6BS;
  return true;
}

// --- blocks ---

void run_blocks(Cpu& c, const Block* b) {
  c.r[kSlotRip] = c.rip;
  c.block_base = c.retired;
  c.limit = c.control->until.value;
  c.mmio_allowed = false;
  const Insn* i = b->first;
  if constexpr (kTrampoline) {
    while (i != nullptr) i = i->fn(c, i);
  } else {
    i->fn(c, i);
  }
  c.mmio_allowed = true;
  c.retired = c.block_base;
  if (!c.long64()) c.rip &= 0xffffffff;
}

}  // namespace

void fetch_across(Cpu& c, Decoded& d) {
  const unsigned here = 4096 - static_cast<unsigned>(c.rip & 0xfff);
  set_fetch_page(c, c.rip);
  if (d.len > here && std::memcmp(fetch_host_page(c, c.fetch_gpa) + (c.rip & 0xfff), d.bytes.data(), here) == 0) {
    set_fetch_page(c, c.rip + here);
    if (std::memcmp(fetch_host_page(c, c.fetch_gpa), d.bytes.data() + here, d.len - here) == 0) return;
  }
  Decoded now;
  fetch(c, now);
  d = now;
}

Block* find_block(Cpu& c) {
  if (c.long64()) {
    if (!Cpu::canonical(c.rip) || near_canonical_edge(c.rip)) return nullptr;
  } else if (c.rip > c.s.segment[kCs].limit) {
    return nullptr;
  }
  const uint64_t linear = code_linear(c);
  set_fetch_page(c, linear);
  const uint64_t key = block_key(c.fetch_gpa | (linear & 0xfff), c.code_mode);
  Block* b = blocks_find(*c.blocks, key);
  if (b == nullptr) b = make_block(c);
  if (b == nullptr) return nullptr;
  if (!c.long64() && c.rip + b->len_bytes - 1 > c.s.segment[kCs].limit) return nullptr;
  return c.retired + b->count <= c.control->until.value ? b : nullptr;
}

bool nothing_due(Cpu& c) {
  const RunControl& control = *c.control;
  return !(control.nmi || control.init || control.stop || c.s.pending_debug || c.s.nmi_pending || c.s.sti_shadow ||
           c.s.movss_shadow || c.blocks->full || c.s.activity != Activity::kRunning ||
           (control.intr && (c.other_flags & kIF)) || (c.other_flags & (kTF | kRF)) || (c.s.dr7 & kDr7Enables) ||
           control.break_rip != RunControl::kNoBreak || c.retired >= control.until.value ||
           (c.debug != nullptr && c.debug->hit));
}

StopReason run_vcpu(Cpu& c, bool use_blocks) {
  bool alone = false;  // the next instruction must run by itself
  for (;;) {
    StopReason why{};
    switch (at_boundary(c, why)) {
      case Boundary::kAgain: alone = false; continue;
      case Boundary::kLeave: return why;
      case Boundary::kRun: break;
    }
    if (c.blocks->full) drop_blocks(c);
    choose_fast(c);
    try {
      const bool watch = (c.other_flags & (kTF | kRF)) || c.s.sti_shadow || c.s.movss_shadow ||
                         (c.s.dr7 & kDr7Enables) || c.control->break_rip != RunControl::kNoBreak;
      const Block* block = alone || watch || !use_blocks ? nullptr : find_block(c);
      alone = false;
      if (block != nullptr) run_blocks(c, block);
      else if (!single_step(c)) return StopReason::kUnimplemented;
    } catch (const GuestFault& f) {
      c.mmio_allowed = true;
      c.s.pending_debug = 0;  // of an instruction before, whose stack segment load held it back
      deliver_event(c, {EventType::kException, f.vector, f.has_error, f.error}, c.rip);
    } catch (const LeaveBlock&) {
      end_block_at(c.insn);
      c.mmio_allowed = true;
      alone = true;
    }
  }
}

}  // namespace dejavm::soft
