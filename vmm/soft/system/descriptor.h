// Segment, system and gate descriptors, and what far control needs of them. Source: Intel SDM vol. 3, 3.4.5, 5.8 and
// 6.11-6.14; AMD APM vol. 2, 4.7-4.8.
//
// Invariants kept by everything in this folder: SS.DPL equals CPL in protected mode, for a null SS too (engines
// take CPL from there); a null segment register has P = 0, base 0 and limit 0.
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft::sys {

enum SystemType : uint8_t {
  kTss16 = 1,
  kLdt = 2,
  kTss16Busy = 3,
  kCallGate16 = 4,
  kTaskGate = 5,
  kInterruptGate16 = 6,
  kTrapGate16 = 7,
  kTss32 = 9,
  kTss32Busy = 0xb,
  kCallGate32 = 0xc,
  kInterruptGate32 = 0xe,
  kTrapGate32 = 0xf
};
inline constexpr unsigned kBusy = 2;  // type bit of a TSS

// Flags that IRET, SYSRET and task switches may load. VIF and VIP do not exist without VME: always 0.
inline constexpr uint64_t kLoadableFlags = 0x257fd5;

// The error-code bit for faults met while an event from outside the instruction stream is delivered.
inline constexpr uint32_t kExt = 1, kIdt = 2;

constexpr bool is_null(uint16_t selector) { return (selector & 0xfffc) == 0; }
constexpr unsigned rpl_of(uint16_t selector) { return selector & 3; }

struct Descriptor {
  uint64_t low = 0;
  uint64_t high = 0;  // of the 16-byte forms of long mode, else 0
  uint64_t at = 0;    // linear address it was read from

  unsigned type() const { return (low >> 40) & 0xf; }
  bool segment() const { return low & (uint64_t{1} << 44); }  // S: code or data
  unsigned dpl() const { return (low >> 45) & 3; }
  bool present() const { return low & (uint64_t{1} << 47); }
  bool long_bit() const { return low & (uint64_t{1} << 53); }
  bool big_bit() const { return low & (uint64_t{1} << 54); }

  bool code() const { return segment() && (type() & 8); }
  bool conforming() const { return code() && (type() & 4); }
  bool readable() const { return segment() && (!(type() & 8) || (type() & 2)); }
  bool writable() const { return segment() && (type() & 0xa) == 2; }
  bool system(SystemType t) const { return !segment() && type() == t; }
  bool tss(bool busy) const { return !segment() && (type() & ~8u) == (busy ? kTss16Busy : kTss16); }

  uint64_t base() const { return ((low >> 16) & 0xffffff) | ((low >> 32) & 0xff000000) | high << 32; }
  uint32_t limit() const {
    const uint32_t raw = static_cast<uint32_t>((low & 0xffff) | ((low >> 32) & 0xf0000));
    return low & (uint64_t{1} << 55) ? raw << 12 | 0xfff : raw;
  }
  uint16_t attributes() const { return static_cast<uint16_t>(((low >> 40) & 0xff) | ((low >> 44) & 0xf00)); }

  uint16_t gate_selector() const { return static_cast<uint16_t>(low >> 16); }
  bool gate_32() const { return type() & 8; }
  uint64_t gate_offset() const {
    return gate_32() ? (low & 0xffff) | ((low >> 32) & 0xffff0000) | high << 32 : low & 0xffff;
  }
  unsigned gate_parameters() const { return (low >> 32) & 0x1f; }
  unsigned gate_ist() const { return (low >> 32) & 7; }
};

[[noreturn]] inline void selector_fault(uint8_t vector, uint16_t selector, uint32_t ext = 0) {
  Cpu::fault(vector, (selector & 0xfffcu) | ext);
}

// base + offset as descriptor tables and task state are addressed: 32 bits outside long mode.
inline uint64_t system_linear(const Cpu& c, uint64_t base, uint64_t offset) {
  return c.long_mode() ? base + offset : (base + offset) & 0xffffffff;
}

// The descriptor that `selector` names in the GDT or LDT; false outside the table. Not for null selectors. In long
// mode a system descriptor comes with its upper half (false when that lies outside the table).
bool find_descriptor(Cpu& c, uint16_t selector, Descriptor& d);
// The same, with `vector`(selector | ext) instead of false.
Descriptor fetch_descriptor(Cpu& c, uint16_t selector, uint8_t vector = kGP, uint32_t ext = 0);
// Bits 12:8 of a 16-byte descriptor's upper half must be 0, so that no table entry is read as two things.
inline bool upper_type_clear(const Descriptor& d) { return (d.high & 0x1f00000000) == 0; }

SegmentState cache_of(const Descriptor& d, uint16_t selector);
inline SegmentState null_segment(uint16_t selector, unsigned dpl = 0) {
  return {selector, static_cast<uint16_t>(dpl << 5), 0, 0};
}
SegmentState v86_segment(uint16_t selector);
// A flat segment as SYSCALL, SYSENTER and their returns make it.
SegmentState flat_code(uint16_t selector, unsigned dpl, bool long64);
SegmentState flat_stack(uint16_t selector, unsigned dpl);
// MOV, POP, far jump in real-address mode: selector and base only; limit and attributes stay ("unreal mode").
void load_real_segment(Cpu& c, unsigned seg, uint16_t selector);

void mark_accessed(Cpu& c, const Descriptor& d);

// Whether a code descriptor may be entered by its L and D bits: both set is reserved in long mode.
inline bool valid_code_size(const Cpu& c, const Descriptor& d) {
  return !(c.long_mode() && d.long_bit() && d.big_bit());
}
// Target of a far transfer: within the limit, or canonical for 64-bit code; else #GP(ext).
void check_target(const Cpu& c, const Descriptor& code, uint64_t target, uint32_t ext = 0);

// SS for privilege level `cpl` (a new stack, or a return): null, RPL, DPL or type wrong: `vector`; absent: #SS.
Descriptor fetch_stack_segment(Cpu& c, uint16_t selector, unsigned cpl, uint8_t vector, uint32_t ext = 0);

// Far returns null the data segment registers that the outer level may not use; a null one keeps its base.
void drop_inner_segments(Cpu& c);

// Loads CS and continues there: CPL, mode, next_rip. `d` is marked accessed by the caller.
void enter_code(Cpu& c, const SegmentState& cs, unsigned cpl, uint64_t target);

// Selector and offset in memory, as far pointers are stored: offset first.
struct FarPointer {
  uint16_t selector;
  uint64_t offset;
};
FarPointer load_far_pointer(Cpu& c, const Decoded& d);

}  // namespace dejavm::soft::sys
