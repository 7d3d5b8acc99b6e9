#include "vmm/soft/system/task.h"

#include "vmm/soft/mmu.h"

namespace dejavm::soft::sys {
namespace {

// Where a TSS keeps what (SDM vol. 3, figures 8-2 and 8-10). Registers in the order of their numbers; segments in the
// order ES, CS, SS, DS, FS, GS.
struct Layout {
  unsigned size;  // bytes of a register
  unsigned ip, flags, gpr, seg, ldt;
  unsigned seg_step, seg_count;
  unsigned end;  // bytes that must lie within the limit
};
constexpr Layout kLayout16{2, 0x0e, 0x10, 0x12, 0x22, 0x2a, 2, 4, 0x2c};
constexpr Layout kLayout32{4, 0x20, 0x24, 0x28, 0x48, 0x60, 4, 6, 0x68};
constexpr unsigned kCr3At = 0x1c, kTrapAt = 0x64;
constexpr uint64_t kLocalBreakpoints = 0x155;  // L0-L3 and LE of DR7
constexpr uint64_t kTaskFlags = kLoadableFlags | kVM;

const Layout& layout_of(unsigned type) { return type & 8 ? kLayout32 : kLayout16; }

struct Image {
  std::array<uint8_t, 0x68> bytes{};
  uint64_t at(unsigned offset, unsigned size) const {
    uint64_t v = 0;
    std::memcpy(&v, &bytes[offset], size);
    return v;
  }
};

Image read_image(Cpu& c, uint64_t base, const Layout& l) {
  Image image;
  c.read_linear(base, image.bytes.data(), l.end, Rights::kSystem);
  return image;
}

void save_old(Cpu& c, const TaskSwitch& t, uint64_t base, const Layout& l) {
  std::array<uint8_t, 0x68> out{};
  auto put = [&](unsigned offset, unsigned size, uint64_t v) { std::memcpy(&out[offset], &v, size); };
  put(l.ip, l.size, t.return_rip);
  put(l.flags, l.size, t.cause == TaskCause::kReturn ? t.flags & ~uint64_t{kNT} : t.flags);
  for (unsigned n = 0; n < 8; ++n) put(l.gpr + n * l.size, l.size, c.r[n]);
  const unsigned saved = l.seg + l.seg_count * l.seg_step - l.ip;  // LDTR and CR3 are not saved
  for (unsigned n = 0; n < l.seg_count; ++n) put(l.seg + n * l.seg_step, 2, c.s.segment[n].selector);
  c.write_linear(base + l.ip, &out[l.ip], saved, Rights::kSystem);
}

void set_busy(Cpu& c, const Descriptor& d, bool busy) {
  const uint8_t b = static_cast<uint8_t>(d.low >> 40);
  c.store_system<uint8_t>(d.at + 5, static_cast<uint8_t>(busy ? b | kBusy : b & ~kBusy));
}

void load_ldt(Cpu& c, uint16_t selector, uint32_t ext) {
  c.set_segment(kLdtr, null_segment(selector));
  if (is_null(selector)) return;
  if (selector & 4) selector_fault(kTS, selector, ext);
  const Descriptor d = fetch_descriptor(c, selector, kTS, ext);
  if (!d.system(kLdt) || !d.present()) selector_fault(kTS, selector, ext);
  c.set_segment(kLdtr, cache_of(d, selector));
}

void load_code(Cpu& c, uint16_t selector, uint32_t ext) {
  if (is_null(selector)) selector_fault(kTS, selector, ext);
  const Descriptor d = fetch_descriptor(c, selector, kTS, ext);
  const bool dpl_fits = d.conforming() ? d.dpl() <= rpl_of(selector) : d.dpl() == rpl_of(selector);
  if (!d.code() || !dpl_fits) selector_fault(kTS, selector, ext);
  if (!d.present()) selector_fault(kNP, selector, ext);
  mark_accessed(c, d);
  c.set_segment(kCs, cache_of(d, selector));
  c.update_mode();
}

void load_data(Cpu& c, unsigned seg, uint16_t selector, uint32_t ext) {
  if (is_null(selector)) return;
  const Descriptor d = fetch_descriptor(c, selector, kTS, ext);
  const bool private_level = !d.conforming() && (d.dpl() < c.cpl || d.dpl() < rpl_of(selector));
  if (!d.readable() || private_level) selector_fault(kTS, selector, ext);
  if (!d.present()) selector_fault(kNP, selector, ext);
  mark_accessed(c, d);
  c.set_segment(seg, cache_of(d, selector));
}

// Registers, flags and selectors of the new task; segments are not usable yet.
void load_registers(Cpu& c, const Image& image, const Layout& l, bool nested) {
  uint64_t flags = (image.at(l.flags, l.size) & kTaskFlags) | 2;
  if (nested) flags |= kNT;
  if (l.size == 4 && (c.s.cr0 & kCr0PG)) {
    c.s.cr3 = image.at(kCr3At, 4);
    c.tlb_flush_nonglobal();
  }
  const uint64_t upper =
      l.size == 2 && c.since(2) ? 0xffff0000 : 0;  // not documented; processors do so since the 80386
  for (unsigned n = 0; n < 8; ++n) c.r[n] = upper | image.at(l.gpr + n * l.size, l.size);
  const bool v86 = flags & kVM;
  const uint16_t cs = static_cast<uint16_t>(image.at(l.seg + kCs * l.seg_step, 2));
  c.cpl = v86 ? 3 : static_cast<uint8_t>(rpl_of(cs));
  for (unsigned n = 0; n < 6; ++n) {
    const uint64_t stored = n < l.seg_count ? image.at(l.seg + n * l.seg_step, 2) : 0;
    const uint16_t selector = static_cast<uint16_t>(stored);
    c.set_segment(n, v86 ? v86_segment(selector) : null_segment(selector, n == kSs ? c.cpl : 0u));
  }
  c.set_rflags(flags);
  c.s.cr0 |= kCr0TS;
  c.s.dr7 &= ~kLocalBreakpoints;
  c.rip = c.next_rip = image.at(l.ip, l.size);
  c.update_mode();
}

void load_segments(Cpu& c, uint32_t ext) {
  load_code(c, c.s.segment[kCs].selector, ext);
  const uint16_t ss = c.s.segment[kSs].selector;
  const Descriptor stack = fetch_stack_segment(c, ss, c.cpl, kTS, ext);
  mark_accessed(c, stack);
  c.set_segment(kSs, cache_of(stack, ss));
  for (unsigned seg : {kDs, kEs, kFs, kGs}) load_data(c, seg, c.s.segment[seg].selector, ext);
}

}  // namespace

Descriptor fetch_task_gate_tss(Cpu& c, uint16_t selector, uint32_t ext) {
  if (is_null(selector) || (selector & 4)) selector_fault(kGP, selector, ext);
  const Descriptor d = fetch_descriptor(c, selector, kGP, ext);
  if (!d.tss(false)) selector_fault(kGP, selector, ext);
  if (!d.present()) selector_fault(kNP, selector, ext);
  return d;
}

void check_task_target(const Cpu& c, uint32_t ext) {
  if (c.rip > c.s.segment[kCs].limit) Cpu::fault(kGP, ext);
}

void switch_task(Cpu& c, TaskSwitch& t) {
  const SegmentState old = c.s.segment[kTr];
  const Layout& from = layout_of(old.attributes);
  const Layout& to = layout_of(t.tss.type());
  const bool nests = t.cause == TaskCause::kCall || t.cause == TaskCause::kEvent;
  const uint64_t base = t.tss.base();
  if (t.tss.limit() < to.end - 1) selector_fault(kTS, t.selector, t.ext);
  if (old.limit < from.end - 1) selector_fault(kTS, old.selector, t.ext);

  // All that the switch touches before the new task is entered, so that a page fault leaves the old one whole.
  read_image(c, base, to);
  c.probe_write(old.base + from.ip, from.end - from.ip, Rights::kSystem);
  if (nests) c.probe_write(base, 2, Rights::kSystem);
  if (t.cause != TaskCause::kReturn) c.probe_write(t.tss.at + 5, 1, Rights::kSystem);
  Descriptor old_descriptor;
  if (!nests) {
    old_descriptor = fetch_descriptor(c, old.selector, kTS, t.ext);
    c.probe_write(old_descriptor.at + 5, 1, Rights::kSystem);
  }

  save_old(c, t, old.base, from);
  if (!nests) set_busy(c, old_descriptor, false);
  if (nests) c.store_system<uint16_t>(base, old.selector);
  if (t.cause != TaskCause::kReturn) set_busy(c, t.tss, true);
  const Image image = read_image(c, base, to);
  SegmentState tr = cache_of(t.tss, t.selector);
  tr.attributes |= kBusy;
  c.set_segment(kTr, tr);
  load_registers(c, image, to, nests);
  t.entered = true;

  load_ldt(c, static_cast<uint16_t>(image.at(to.ldt, 2)), t.ext);
  if (!c.v86()) load_segments(c, t.ext);
  if (to.size == 4 && (image.at(kTrapAt, 2) & 1)) c.s.pending_debug |= kDr6BT;
  forget_fast(c);  // data breakpoints may have been disabled
}

}  // namespace dejavm::soft::sys
