// The I/O APIC, from Intel's 82093AA data sheet (290566) and the EOI register of chipsets: each pin a structure of its
// fields.
#include <deque>

#include "tests/properties/reference.h"

namespace dejavm {
namespace {

class Reference {
 public:
  void reset() { *this = Reference(); }
  void wait(uint64_t) {}
  uint64_t lines() const { return 0; }
  uint64_t perform(const DeviceOp& op) {
    switch (op.kind) {
      case DeviceOp::Kind::kRead: return read(op.a, op.size);
      case DeviceOp::Kind::kWrite: write(op.a, op.size, op.b); return 0;
      case DeviceOp::Kind::kLine: {
        Pin& p = pin_[op.index];
        const bool rise = op.a && !p.line;
        p.line = op.a != 0;
        if (!p.is_level() && rise && !p.masked && p.sends()) p.waiting = true;
        look(p);
        return 0;
      }
      case DeviceOp::Kind::kCall: eoi(static_cast<uint8_t>(op.a)); return 0;
      case DeviceOp::Kind::kMessage:
        for (Pin& p : pin_) {
          if (!p.waiting) continue;
          p.waiting = false;
          if (p.is_level()) p.rirr = true;
          const uint64_t packed = uint64_t{p.vector} | uint64_t{p.mode} << 8 | uint64_t{p.logical} << 11 |
                                  uint64_t{p.is_level()} << 12 | 1 << 13 | uint64_t{p.destination} << 32;
          return packed;
        }
        return 1;
      default: return 0;
    }
  }

 private:
  struct Pin {
    bool line = false, waiting = false, logical = false, low = false, rirr = false, level = false, masked = true;
    unsigned vector = 0, mode = 0, destination = 0;
    // SMI, NMI, INIT and ExtINT are edges, whatever the bit says; modes 3 and 6 are reserved.
    bool is_level() const { return level && (mode == 0 || mode == 1); }
    bool sends() const { return mode != 3 && mode != 6; }
  };
  // A level that is up, and not yet in anybody's hands, is a message.
  static void look(Pin& p) {
    if (p.is_level() && p.line && !p.masked && !p.rirr) p.waiting = true;
  }
  void eoi(uint8_t vector) {
    for (Pin& p : pin_)
      if (p.is_level() && p.rirr && p.vector == vector) {
        p.rirr = false;
        look(p);
      }
  }
  uint32_t indirect() const {
    if (select_ == 0 || select_ == 2) return id_ << 24;  // identification; arbitration has its value
    if (select_ == 1) return 0x00170020;                 // 24 pins, version 20h
    if (select_ < 0x10 || select_ > 0x3f) return 0;
    const Pin& p = pin_[(select_ - 0x10u) / 2];
    if (select_ & 1) return p.destination << 24;
    return p.vector | p.mode << 8 | p.logical << 11 | p.waiting << 12 | p.low << 13 | p.rirr << 14 | p.level << 15 |
           p.masked << 16;
  }
  uint64_t read(uint64_t offset, unsigned size) const {
    const uint64_t reg = offset & ~uint64_t{15};
    const uint64_t all = size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * size)) - 1;
    if ((reg != 0 && reg != 0x10) || (offset & 15) + size > 4) return all;  // only what lies inside a register
    const uint32_t value = reg == 0 ? select_ : indirect();
    uint64_t answer = 0;
    for (unsigned i = 0; i < size; ++i) {
      answer |= uint64_t{value >> (8 * ((offset & 15) + i)) & 0xff} << (8 * i);
    }
    return answer;
  }
  void write(uint64_t offset, unsigned size, uint64_t v) {
    if (offset == 0) select_ = static_cast<uint8_t>(v);
    if (offset == 0x40) eoi(static_cast<uint8_t>(v));
    if (offset != 0x10 || size < 4) return;
    const auto w = static_cast<uint32_t>(v);
    if (select_ == 0) id_ = w >> 24 & 15;
    if (select_ < 0x10 || select_ > 0x3f) return;
    Pin& p = pin_[(select_ - 0x10u) / 2];
    if (select_ & 1) {
      p.destination = w >> 24;
      return;
    }
    p.vector = w & 0xff;
    p.mode = w >> 8 & 7;
    p.logical = w >> 11 & 1;
    p.low = w >> 13 & 1;
    p.level = w >> 15 & 1;
    p.masked = w >> 16 & 1;
    if (!p.is_level()) p.rirr = false;
    if (!p.sends()) p.waiting = false;  // nothing can carry it any more
    look(p);
  }
  Pin pin_[24];
  uint8_t select_ = 0;
  uint32_t id_ = 0;
};

RC_GTEST_PROP(VioapicReference, AgreesWithIntel290566, ()) { expect_agreement<Reference>("vioapic", {}); }

}  // namespace
}  // namespace dejavm
