#include "vmm/soft/system/descriptor.h"

namespace dejavm::soft::sys {

bool find_descriptor(Cpu& c, uint16_t selector, Descriptor& d) {
  uint64_t base = c.s.gdtr.base, limit = c.s.gdtr.limit;
  if (selector & 4) {
    const SegmentState& ldt = c.s.segment[kLdtr];
    if (!(ldt.attributes & kSegP)) return false;
    base = ldt.base;
    limit = ldt.limit;
  }
  const uint64_t offset = selector & 0xfff8;
  if (offset + 7 > limit) return false;
  d = {};
  d.at = system_linear(c, base, offset);
  d.low = c.load_system<uint64_t>(d.at);
  if (c.long_mode() && !d.segment()) {
    if (offset + 15 > limit) return false;
    d.high = c.load_system<uint64_t>(d.at + 8);
  }
  return true;
}

Descriptor fetch_descriptor(Cpu& c, uint16_t selector, uint8_t vector, uint32_t ext) {
  Descriptor d;
  if (!find_descriptor(c, selector, d)) selector_fault(vector, selector, ext);
  return d;
}

SegmentState cache_of(const Descriptor& d, uint16_t selector) {
  const uint16_t accessed = d.segment() ? 1 : 0;
  return {selector, static_cast<uint16_t>(d.attributes() | accessed), d.limit(), d.base()};
}

SegmentState v86_segment(uint16_t selector) { return {selector, 0xf3, 0xffff, uint64_t{selector} << 4}; }

SegmentState flat_code(uint16_t selector, unsigned dpl, bool long64) {
  const unsigned size = long64 ? kSegL : kSegDb;
  return {selector, static_cast<uint16_t>(0xb | kSegS | kSegP | kSegG | size | dpl << 5), 0xffffffff, 0};
}

SegmentState flat_stack(uint16_t selector, unsigned dpl) {
  return {selector, static_cast<uint16_t>(3 | kSegS | kSegP | kSegG | kSegDb | dpl << 5), 0xffffffff, 0};
}

void load_real_segment(Cpu& c, unsigned seg, uint16_t selector) {
  SegmentState v = c.s.segment[seg];
  v.selector = selector;
  v.base = uint64_t{selector} << 4;
  v.attributes |= kSegP | kSegS;
  c.set_segment(seg, v);
}

void mark_accessed(Cpu& c, const Descriptor& d) {
  if (!(d.type() & 1)) c.store_system<uint8_t>(d.at + 5, static_cast<uint8_t>((d.low >> 40) | 1));
}

void check_target(const Cpu& c, const Descriptor& code, uint64_t target, uint32_t ext) {
  const bool long64 = c.long_mode() && code.long_bit();
  if (long64 ? !Cpu::canonical(target) : target > code.limit()) Cpu::fault(kGP, ext);
}

Descriptor fetch_stack_segment(Cpu& c, uint16_t selector, unsigned cpl, uint8_t vector, uint32_t ext) {
  if (is_null(selector)) Cpu::fault(vector, ext);
  const Descriptor d = fetch_descriptor(c, selector, vector, ext);
  if (rpl_of(selector) != cpl || d.dpl() != cpl || !d.writable()) selector_fault(vector, selector, ext);
  if (!d.present()) selector_fault(kSS_, selector, ext);
  return d;
}

void drop_inner_segments(Cpu& c) {
  for (unsigned seg : {kEs, kDs, kFs, kGs}) {
    SegmentState& segment = c.s.segment[seg];
    const uint16_t a = segment.attributes;
    const bool conforming_code = (a & 0xc) == 0xc;
    const bool inner = (a & kSegP) && !conforming_code && ((a >> 5) & 3u) < c.cpl;
    // As on AMD's processors the base stays; a null selector loses its RPL, too.
    if (inner) c.set_segment(seg, {0, null_segment(0).attributes, 0, c.since(2) ? segment.base : 0});
    if (is_null(segment.selector)) segment.selector = 0;
  }
}

void enter_code(Cpu& c, const SegmentState& cs, unsigned cpl, uint64_t target) {
  c.set_segment(kCs, cs);
  c.cpl = static_cast<uint8_t>(cpl);
  c.update_mode();
  c.next_rip = target;
}

FarPointer load_far_pointer(Cpu& c, const Decoded& d) {
  const uint64_t at = c.effective_address(d);
  const uint64_t wrap = d.addr_size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * d.addr_size)) - 1;
  const uint64_t offset = c.load_sized(d.seg, at, d.op_size);
  return {c.load<uint16_t>(d.seg, (at + d.op_size) & wrap), offset};
}

}  // namespace dejavm::soft::sys
