// The x87 state in the shapes that instructions see. Source: SDM vol. 1, ch. 8.
#pragma once

#include <cstdint>

#include "vmm/soft/cpu.h"

namespace dejavm::soft::x87 {

// The status word. Exception flags 0-5 are numbered as the control word's masks are.
enum Fsw : uint16_t {
  kIE = 1,
  kDE = 2,
  kZE = 4,
  kOE = 8,
  kUE = 16,
  kPE = 32,
  kStackFault = 64,
  kES = 128,
  kC0 = 0x100,
  kC1 = 0x200,
  kC2 = 0x400,
  kTop = 0x3800,
  kC3 = 0x4000,
  kBusy = 0x8000
};
inline constexpr uint16_t kExceptions = 0x3f, kConditions = kC0 | kC1 | kC2 | kC3;
inline constexpr uint16_t kFcwFixed1 = 0x40, kFcwWritable = 0x1f3f;

inline unsigned top(const FpuState& f) { return f.fsw >> 11 & 7; }
inline unsigned physical(const FpuState& f, unsigned st) { return (top(f) + st) & 7; }
inline bool is_empty(const FpuState& f, unsigned st) { return !(f.ftw >> physical(f, st) & 1); }

// ES and B follow from the flags and the masks.
inline void update_summary(FpuState& f) {
  const bool pending = f.fsw & ~f.fcw & kExceptions;
  f.fsw = static_cast<uint16_t>((f.fsw & ~(kES | kBusy)) | (pending ? kES | kBusy : 0));
}
inline void set_fcw(FpuState& f, uint16_t v) {
  f.fcw = static_cast<uint16_t>((v & kFcwWritable) | kFcwFixed1);
  update_summary(f);
}
inline void set_fsw(FpuState& f, uint16_t v) {
  f.fsw = v;
  update_summary(f);
}

// The full tag word: 3 empty, else by content (0 valid, 1 zero, 2 special).
uint16_t full_tag_word(const FpuState& f);
uint8_t abridged_tag_word(uint16_t full);

// A register as 80 bits in memory.
struct [[gnu::packed]] Ten {
  uint64_t mantissa;
  uint16_t exponent;
};
static_assert(sizeof(Ten) == 10);

// The 32-bit protected-mode image of FNSAVE; registers in stack order.
struct [[gnu::packed]] Image {
  uint16_t fcw, pad0, fsw, pad1, ftw, pad2;
  uint32_t fip;
  uint16_t fcs, fop;
  uint32_t fdp;
  uint16_t fds, pad3;
  Ten st[8];
};
static_assert(sizeof(Image) == 108);

// Records this instruction as the last one: FIP, FOP and, with a memory operand, FDP.
void note_instruction(Cpu& c, const Decoded& d);

// Executes one non-control instruction on the host's x87 unit, with the guest's whole x87 state in it, so that stack
// faults, tags, C0-C3, rounding and responses to unmasked exceptions are the hardware's own. `memory`: its memory
// operand, of up to 10 bytes. True: a store took place (it does not when an unmasked exception forbids it). `flags`: SF
// ZF AF PF CF as LAHF has them; in and out. Nothing of the host's own state changes.
bool run_on_host(FpuState& f, uint8_t opcode, uint8_t modrm, void* memory, uint8_t& flags);

}  // namespace dejavm::soft::x87
