// Loading and storing segment registers, and what only looks at descriptors. Source: Intel SDM vol. 2, MOV, POP, LDS,
// LAR, LSL, VERR; vol. 3, 5.4-5.6.
#include "vmm/soft/system/stack.h"

namespace dejavm::soft {
namespace sys {
namespace {

void load_stack_register(Cpu& c, uint16_t selector) {
  if (is_null(selector)) {
    if (!c.long64() || c.cpl == 3 || rpl_of(selector) != c.cpl) Cpu::fault(kGP, 0);
    return c.set_segment(kSs, null_segment(selector, c.cpl));
  }
  const Descriptor d = fetch_stack_segment(c, selector, c.cpl, kGP);
  mark_accessed(c, d);
  c.set_segment(kSs, cache_of(d, selector));
}

bool too_private(const Cpu& c, const Descriptor& d, uint16_t selector) {
  return !d.conforming() && (d.dpl() < c.cpl || d.dpl() < rpl_of(selector));
}

void store_selector(Cpu& c, const Decoded& d, uint64_t value) {
  if (d.operands[0].kind == OperandKind::kMem)
    c.store<uint16_t>(d.seg, c.effective_address(d), static_cast<uint16_t>(value));
  else c.set_reg(d.operands[0].reg, d.op_size, value);
}

uint16_t read_selector(Cpu& c, const Decoded& d, unsigned k) {
  if (d.operands[k].kind == OperandKind::kMem) return c.load<uint16_t>(d.seg, c.effective_address(d));
  return static_cast<uint16_t>(c.r[d.operands[k].reg]);
}

void load_far(Cpu& c, const Decoded& d, unsigned seg) {
  const FarPointer p = load_far_pointer(c, d);
  load_segment(c, seg, p.selector);
  c.set_reg(d.operands[0].reg, d.op_size, p.offset);
}

// The descriptor that LAR, LSL, VERR and VERW look at; false when it may not be seen. Protected mode only.
bool visible(Cpu& c, uint16_t selector, Descriptor& d) {
  return !is_null(selector) && find_descriptor(c, selector, d) && !too_private(c, d, selector);
}

void set_zf(Cpu& c, bool v) { c.set_arith(kZF, v ? uint64_t{kZF} : 0); }

// System descriptors with access rights (LAR) and with a limit (LSL), by type; long mode knows fewer (table 3-52,
// 3-60).
constexpr uint16_t bit(SystemType t) { return static_cast<uint16_t>(1u << t); }
constexpr uint16_t kLimitTypesLong = bit(kLdt) | bit(kTss32) | bit(kTss32Busy);
constexpr uint16_t kLimitTypes = kLimitTypesLong | bit(kTss16) | bit(kTss16Busy);
constexpr uint16_t kRightsTypesLong = kLimitTypesLong | bit(kCallGate32);
constexpr uint16_t kRightsTypes = kLimitTypes | bit(kCallGate16) | bit(kTaskGate) | bit(kCallGate32);

bool has_type(const Descriptor& d, uint16_t types) { return d.segment() || ((types >> d.type()) & 1); }

}  // namespace
}  // namespace sys

using namespace sys;

void load_segment(Cpu& c, unsigned seg, uint16_t selector) {
  if (c.v86()) return c.set_segment(seg, v86_segment(selector));
  if (!c.protected_mode()) return load_real_segment(c, seg, selector);
  if (seg == kSs) return load_stack_register(c, selector);
  if (is_null(selector)) return c.set_segment(seg, null_segment(selector));
  const Descriptor d = fetch_descriptor(c, selector);
  if (!d.readable() || too_private(c, d, selector)) selector_fault(kGP, selector);
  if (!d.present()) selector_fault(kNP, selector);
  mark_accessed(c, d);
  c.set_segment(seg, cache_of(d, selector));
}

void exec_mov_from_seg(Cpu& c, const Decoded& d) { store_selector(c, d, c.s.segment[d.operands[1].reg].selector); }

void exec_mov_to_seg(Cpu& c, const Decoded& d) {
  const unsigned seg = d.operands[0].reg;
  if (seg == kCs || seg > kGs) Cpu::fault(kUD);
  load_segment(c, seg, read_selector(c, d, 1));
  if (seg == kSs) c.s.movss_shadow = true;
}

void exec_push_seg(Cpu& c, const Decoded& d) { c.push(d.op_size, c.s.segment[d.operands[0].reg].selector); }

void exec_pop_seg(Cpu& c, const Decoded& d) {
  const unsigned seg = d.operands[0].reg;
  PopFrame frame(c);
  const uint16_t selector = static_cast<uint16_t>(frame.pop(c, d.op_size));
  load_segment(c, seg, selector);
  frame.commit(c);  // by the old SS's size
  if (seg == kSs) c.s.movss_shadow = true;
}

void exec_lds(Cpu& c, const Decoded& d) { load_far(c, d, kDs); }
void exec_les(Cpu& c, const Decoded& d) { load_far(c, d, kEs); }
void exec_lss(Cpu& c, const Decoded& d) { load_far(c, d, kSs); }
void exec_lfs(Cpu& c, const Decoded& d) { load_far(c, d, kFs); }
void exec_lgs(Cpu& c, const Decoded& d) { load_far(c, d, kGs); }

void exec_verr(Cpu& c, const Decoded& d) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  Descriptor x;
  set_zf(c, visible(c, read_selector(c, d, 0), x) && x.readable());
}

void exec_verw(Cpu& c, const Decoded& d) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  Descriptor x;
  set_zf(c, visible(c, read_selector(c, d, 0), x) && x.writable());
}

void exec_lar(Cpu& c, const Decoded& d) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  Descriptor x;
  const uint16_t types = c.long_mode() ? kRightsTypesLong : kRightsTypes;
  const bool ok = visible(c, read_selector(c, d, 1), x) && has_type(x, types);
  if (ok) c.set_reg(d.operands[0].reg, d.op_size, (x.low >> 32) & 0xffff00);
  set_zf(c, ok);
}

void exec_lsl(Cpu& c, const Decoded& d) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  Descriptor x;
  const uint16_t types = c.long_mode() ? kLimitTypesLong : kLimitTypes;
  const bool ok = visible(c, read_selector(c, d, 1), x) && has_type(x, types);
  if (ok) c.set_reg(d.operands[0].reg, d.op_size, x.limit());
  set_zf(c, ok);
}

}  // namespace dejavm::soft
