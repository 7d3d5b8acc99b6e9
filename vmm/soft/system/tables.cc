// GDTR, IDTR, LDTR and TR. Source: Intel SDM vol. 2, LGDT, SGDT, LLDT, LTR; UMIP: vol. 3, 2.5.
#include "vmm/soft/system/control.h"
#include "vmm/soft/system/descriptor.h"

namespace dejavm::soft {
namespace {

using namespace sys;

void check_umip(const Cpu& c) {
  if ((c.s.cr4 & kCr4UMIP) && c.cpl != 0) Cpu::fault(kGP, 0);
}

struct At {
  uint64_t limit, base;  // offsets of the two parts
};

At parts(const Cpu& c, const Decoded& d) {
  const uint64_t at = c.effective_address(d);
  const uint64_t wrap = d.addr_size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * d.addr_size)) - 1;
  return {at, (at + 2) & wrap};
}

TableState load_table(Cpu& c, const Decoded& d) {
  require_cpl0(c);
  const At at = parts(c, d);
  TableState t;
  t.limit = c.load<uint16_t>(d.seg, at.limit);
  t.base = c.load_sized(d.seg, at.base, c.long64() ? 8 : 4);
  if (!c.long64() && d.op_size == 2) t.base &= 0xffffff;
  if (!Cpu::canonical(t.base)) Cpu::fault(kGP, 0);
  return t;
}

// The base is stored whole whatever the operand size, as AMD's do and Intel's since the 386.
void store_table(Cpu& c, const Decoded& d, const TableState& t) {
  check_umip(c);
  const At at = parts(c, d);
  const unsigned size = c.long64() ? 8 : 4;
  const uint64_t base_at = c.linear(d.seg, at.base, size, Access::kWrite);
  c.probe_write(base_at, size);
  c.store<uint16_t>(d.seg, at.limit, static_cast<uint16_t>(t.limit));
  c.write_linear(base_at, &t.base, size);
}

uint16_t read_selector(Cpu& c, const Decoded& d) {
  if (d.operands[0].kind == OperandKind::kMem) return c.load<uint16_t>(d.seg, c.effective_address(d));
  return static_cast<uint16_t>(c.r[d.operands[0].reg]);
}

void store_selector(Cpu& c, const Decoded& d, uint16_t selector) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  check_umip(c);
  if (d.operands[0].kind == OperandKind::kMem) c.store<uint16_t>(d.seg, c.effective_address(d), selector);
  else c.set_reg(d.operands[0].reg, d.op_size, selector);
}

// The system descriptor that LLDT or LTR loads; `valid` says whether its type will do.
template <class F>
Descriptor fetch_system(Cpu& c, uint16_t selector, F valid) {
  if (selector & 4) selector_fault(kGP, selector);
  const Descriptor d = fetch_descriptor(c, selector);
  if (!valid(d)) selector_fault(kGP, selector);
  if (!d.present()) selector_fault(kNP, selector);
  if (c.long_mode() && (!upper_type_clear(d) || !Cpu::canonical(d.base()))) selector_fault(kGP, selector);
  return d;
}

}  // namespace

void exec_lgdt(Cpu& c, const Decoded& d) { c.s.gdtr = load_table(c, d); }
void exec_lidt(Cpu& c, const Decoded& d) { c.s.idtr = load_table(c, d); }
void exec_sgdt(Cpu& c, const Decoded& d) { store_table(c, d, c.s.gdtr); }
void exec_sidt(Cpu& c, const Decoded& d) { store_table(c, d, c.s.idtr); }
void exec_sldt(Cpu& c, const Decoded& d) { store_selector(c, d, c.s.segment[kLdtr].selector); }
void exec_str(Cpu& c, const Decoded& d) { store_selector(c, d, c.s.segment[kTr].selector); }

void exec_lldt(Cpu& c, const Decoded& d) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  require_cpl0(c);
  const uint16_t selector = read_selector(c, d);
  if (is_null(selector)) return c.set_segment(kLdtr, null_segment(selector));
  const Descriptor x = fetch_system(c, selector, [](const Descriptor& t) { return t.system(kLdt); });
  c.set_segment(kLdtr, cache_of(x, selector));
}

void exec_ltr(Cpu& c, const Decoded& d) {
  if (c.real_or_v86()) Cpu::fault(kUD);
  require_cpl0(c);
  const uint16_t selector = read_selector(c, d);
  if (is_null(selector)) Cpu::fault(kGP, 0);
  const bool long_mode = c.long_mode();
  const Descriptor x =
      fetch_system(c, selector, [&](const Descriptor& t) { return long_mode ? t.system(kTss32) : t.tss(false); });
  c.store_system<uint8_t>(x.at + 5, static_cast<uint8_t>((x.low >> 40) | kBusy));
  SegmentState tr = cache_of(x, selector);
  tr.attributes |= kBusy;
  c.set_segment(kTr, tr);
}

}  // namespace dejavm::soft
