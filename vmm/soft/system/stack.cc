#include "vmm/soft/system/stack.h"

#include <algorithm>

namespace dejavm::soft::sys {
namespace {

uint64_t truncate(uint64_t v, unsigned bytes) { return bytes == 8 ? v : v & ((uint64_t{1} << (8 * bytes)) - 1); }

}  // namespace

void PushFrame::push(unsigned size, uint64_t value) {
  CHECK(count_ < items_.size());
  items_[count_++] = {value, size};
  bytes_ += size;
}

uint64_t PushFrame::sp() const {
  const uint64_t moved = truncate(sp_ - bytes_, width_);
  return width_ == 2 ? (sp_ & ~uint64_t{0xffff}) | moved : moved;
}

uint64_t PushFrame::linear(const Cpu& c, uint64_t offset, unsigned size) const {
  if (width_ == 8) {
    if (!Cpu::canonical(offset) || !Cpu::canonical(offset + size - 1)) Cpu::fault(kSS_, error_);
    return offset;
  }
  const uint64_t last = offset + size - 1;
  if (protected_rules_ && (ss_.attributes & 4)) {  // expand-down
    if (offset <= ss_.limit || last > (ss_.attributes & kSegDb ? 0xffffffff : 0xffff)) Cpu::fault(kSS_, error_);
  } else if (last > ss_.limit) {
    Cpu::fault(kSS_, error_);
  }
  return system_linear(c, ss_.base, offset) & 0xffffffff;
}

void PushFrame::write(Cpu& c) const {
  std::array<uint64_t, 40> at;
  uint64_t sp = sp_;
  bool contiguous = true;
  for (unsigned i = 0; i < count_; ++i) {
    sp = truncate(sp - items_[i].size, width_);
    at[i] = linear(c, sp, items_[i].size);
    if (i > 0 && at[i] + items_[i].size != at[i - 1]) contiguous = false;
  }
  if (contiguous) {
    std::array<uint8_t, 40 * 8> bytes;
    for (unsigned i = 0; i < count_; ++i) std::memcpy(&bytes[at[i] - at[count_ - 1]], &items_[i].value, items_[i].size);
    c.write_linear(at[count_ - 1], bytes.data(), bytes_);
    return;
  }
  for (unsigned i = 0; i < count_; ++i) c.probe_write(at[i], items_[i].size);
  for (unsigned i = 0; i < count_; ++i) c.write_linear(at[i], &items_[i].value, items_[i].size);
}

uint64_t inner_rsp(Cpu& c, unsigned cpl, unsigned ist, uint32_t ext) {
  const SegmentState& tr = c.s.segment[kTr];
  const uint64_t offset = ist != 0 ? 0x1c + 8 * ist : 4 + 8 * cpl;
  if (offset + 7 > tr.limit) selector_fault(kTS, tr.selector, ext);
  return c.load_system<uint64_t>(system_linear(c, tr.base, offset));
}

InnerStack inner_stack(Cpu& c, unsigned cpl, uint32_t ext) {
  const SegmentState& tr = c.s.segment[kTr];
  if (c.long_mode()) return {null_segment(static_cast<uint16_t>(cpl), cpl), inner_rsp(c, cpl, 0, ext), 8, {}};
  const bool is_32 = tr.attributes & 8;
  const uint64_t offset = is_32 ? 4 + 8 * cpl : 2 + 4 * cpl;
  if (offset + (is_32 ? 5 : 3) > tr.limit) selector_fault(kTS, tr.selector, ext);
  const uint64_t at = system_linear(c, tr.base, offset);
  const uint64_t sp = is_32 ? c.load_system<uint32_t>(at) : c.load_system<uint16_t>(at);
  const uint16_t selector = c.load_system<uint16_t>(at + (is_32 ? 4 : 2));
  const Descriptor d = fetch_stack_segment(c, selector, cpl, kTS, ext);
  const SegmentState ss = cache_of(d, selector);
  return {ss, sp, stack_width(ss), d};
}

}  // namespace dejavm::soft::sys
