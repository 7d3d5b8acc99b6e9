// Stacks in far control: pushing a frame onto a stack that may belong to another privilege level, and reading a frame
// before it is known that it may be popped. Nothing moves before all of it is checked.
#pragma once

#include "vmm/soft/system/descriptor.h"

namespace dejavm::soft::sys {

// CPL (and in long mode 64-bit addressing) of the level being entered, for the accesses in between; undone unless kept.
class LevelScope {
 public:
  LevelScope(Cpu& c, unsigned cpl) : c_(c), cpl_(c.cpl) {
    c.cpl = static_cast<uint8_t>(cpl);
    c.update_mode();
    if (c.long_mode()) c.code_mode = CodeMode::k64;
  }
  ~LevelScope() {
    c_.cpl = cpl_;
    c_.update_mode();
  }
  LevelScope(const LevelScope&) = delete;
  LevelScope& operator=(const LevelScope&) = delete;

 private:
  Cpu& c_;
  uint8_t cpl_;
};

// Bytes of SP that a stack segment uses outside 64-bit code.
inline unsigned stack_width(const SegmentState& ss) { return ss.attributes & kSegDb ? 4 : 2; }

// A frame to be pushed. `width` 8: a flat 64-bit stack, ss is not looked at. `error`: of the #SS for no room.
class PushFrame {
 public:
  PushFrame(const SegmentState& ss, uint64_t sp, unsigned width, uint32_t error, bool protected_rules = true)
      : ss_(ss), sp_(sp), width_(width), error_(error), protected_rules_(protected_rules) {}
  void push(unsigned size, uint64_t value);
  // Throws #SS(error) or #PF; then writes with the rights of c.cpl. SP is not changed.
  void write(Cpu& c) const;
  // The whole stack pointer after the pushes: only `width` bytes of it moved.
  uint64_t sp() const;

 private:
  uint64_t linear(const Cpu& c, uint64_t offset, unsigned size) const;
  struct Item {
    uint64_t value;
    unsigned size;
  };
  SegmentState ss_;
  uint64_t sp_;
  unsigned width_;
  uint32_t error_;
  bool protected_rules_;
  std::array<Item, 40> items_{};  // a call gate's 31 parameters and nine more
  unsigned count_ = 0, bytes_ = 0;
};

// Reads upwards from the current stack; SP is committed by the caller.
class PopFrame {
 public:
  explicit PopFrame(const Cpu& c) : width_(c.stack_size()), sp_(c.reg(kRsp, width_)) {}
  uint64_t pop(Cpu& c, unsigned size) {
    const uint64_t v = c.load_sized(kSs, sp_, size);
    skip(size);
    return v;
  }
  void skip(uint64_t bytes) { sp_ = width_ == 8 ? sp_ + bytes : (sp_ + bytes) & ((uint64_t{1} << (8 * width_)) - 1); }
  void commit(Cpu& c) const { c.set_reg(kRsp, width_, sp_); }

 private:
  unsigned width_;
  uint64_t sp_;
};

// The stack of an inner level from the current TSS: SS:ESP in legacy modes (#TS or #SS), RSP in long mode, where SS
// becomes null.
struct InnerStack {
  SegmentState ss;
  uint64_t sp;
  unsigned width;
  Descriptor descriptor;  // of ss, to be marked accessed; legacy modes only
};
InnerStack inner_stack(Cpu& c, unsigned cpl, uint32_t ext);
// RSP0-2 (ist 0) or IST1-7 of the 64-bit TSS, as it is there.
uint64_t inner_rsp(Cpu& c, unsigned cpl, unsigned ist, uint32_t ext);

}  // namespace dejavm::soft::sys
