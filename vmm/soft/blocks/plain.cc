#include "vmm/soft/blocks/plain.h"

#include "vmm/soft/blocks/lower.h"
#include "vmm/soft/integer/exec_string.h"
#include "vmm/soft/mmu.h"
#include "vmm/soft/run.h"

namespace dejavm::soft {
namespace {

inline void sync(Cpu& c, const Insn* i) {
  c.insn = i;
  c.rip = c.r[kSlotRip] + i->off;
  c.retired = c.block_base + i->n;
  c.next_rip = c.rip + i->len;
}

inline const Insn* leave_after(Cpu& c) {
  c.rip = c.next_rip;
  c.block_base = c.retired + 1;
  c.mmio_allowed = false;
  return nullptr;
}

inline const Plain& plain_of(const Insn* i) { return *reinterpret_cast<const Plain*>(i->imm); }

}  // namespace

const Insn* plain(Cpu& c, const Insn* i) {
  sync(c, i);
  const Plain& p = plain_of(i);
  p.execute(c, p.d);
  DEJAVM_NEXT();
}

const Insn* plain_end(Cpu& c, const Insn* i) {
  sync(c, i);
  c.mmio_allowed = true;
  const Plain& p = plain_of(i);
  p.execute(c, p.d);
  return leave_after(c);
}

const Insn* across_pages(Cpu& c, const Insn* i) {
  sync(c, i);
  Decoded& d = *reinterpret_cast<Decoded*>(i->imm);
  fetch_across(c, d);
  if (d.op == Op::kInvalid && c.strict) throw LeaveBlock{};  // for the run loop to stop at
  c.next_rip = c.rip + d.len;
  c.mmio_allowed = true;
  exec_function(d.op)(c, d);
  return leave_after(c);
}

const Insn* rep_end(Cpu& c, const Insn* i) {
  sync(c, i);
  c.mmio_allowed = true;
  const Plain& p = plain_of(i);
  if (const uint64_t done = bulk_string(c, p.d, c.limit - c.retired); done != 0) c.retired += done - 1;
  else p.execute(c, p.d);
  return leave_after(c);
}

namespace {

// Specialised handlers are of 64-bit mode.
const Decoded& decode_again(Cpu& c, const Insn* i) {
  sync(c, i);
  BlockCache::Again& a = c.blocks->again[(reinterpret_cast<uintptr_t>(i) / sizeof(Insn)) % BlockCache::kAgain];
  if (a.insn == i) return a.d;
  set_fetch_page(c, c.rip);
  CHECK(decode({fetch_host_page(c, c.fetch_gpa) + (c.rip & 0xfff), i->len}, CodeMode::k64, a.d) == DecodeStatus::kOk);
  fit_to_cpu(c, a.d);
  a.insn = i;
  return a.d;
}

// slow() for an instruction that is known to access MMIO.
const Insn* slow_end(Cpu& c, const Insn* i) {
  const Decoded& d = decode_again(c, i);
  c.mmio_allowed = true;
  exec_function(d.op)(c, d);
  return leave_after(c);
}

}  // namespace

void end_block_at(const Insn* i) {
  auto* insn = const_cast<Insn*>(i);
  if (insn->fn == leave_before || insn->fn == across_pages) return;  // overwritten meanwhile; ends its block anyway
  insn->fn = insn->fn == plain ? plain_end : slow_end;
}

const Insn* slow(Cpu& c, const Insn* i) {
  const Decoded& d = decode_again(c, i);
  const bool end = ends_block(d);
  c.mmio_allowed = end;
  exec_function(d.op)(c, d);
  if (end) return leave_after(c);
  DEJAVM_NEXT();
}

bool execute_alone(Cpu& c, const Insn* i) {
  if (i->fn == plain) {
    sync(c, i);
    const Plain& p = plain_of(i);
    p.execute(c, p.d);
    return false;
  }
  if (i->fn == plain_end) {
    plain_end(c, i);
    return true;
  }
  if (i->fn == rep_end) {
    rep_end(c, i);
    return true;
  }
  if (i->fn == slow_end) {
    slow_end(c, i);
    return true;
  }
  if (i->fn == across_pages) {
    across_pages(c, i);
    return true;
  }
  const Decoded& d = decode_again(c, i);
  const bool end = ends_block(d);
  c.mmio_allowed = end;
  exec_function(d.op)(c, d);
  if (end) leave_after(c);
  return end;
}

}  // namespace dejavm::soft
