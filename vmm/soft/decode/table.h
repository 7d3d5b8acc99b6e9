// The notation of the decoder's tables: one Row is one encoding of one operation. Operand names follow the SDM's
// appendix A.2: a capital for where the operand is, small letters for its width. How rows become an index that
// decode() walks: index.h. How to add an instruction: docs/decoder.md.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "vmm/soft/decode.h"

namespace dejavm::soft::table {

// Widths in bytes; from kWidthV on they depend on the instruction's effective operand size.
// clang-format off
enum Width : uint8_t {
  kWidth0 = 0, kWidth1 = 1, kWidth2 = 2, kWidth4 = 4, kWidth8 = 8, kWidth10 = 10, kWidth16 = 16,
  kWidthV = 32,  // the operand size: 1, 2, 4 or 8
  kWidthZ,       // the operand size, at most 4
  kWidthTwice,   // two of the operand size: bound, cmpxchg8b and 16b
  kWidthFar,     // a selector after an offset of the operand size
  kWidthTable,   // descriptor-table register: 10 in 64-bit mode, else 6
  kWidthEnv,     // fldenv, fnstenv: 14 or 28
  kWidthState,   // frstor, fnsave: 94 or 108
  kWidthX,       // VEX.L: 16 or 32
  kWidthEnd
};
// clang-format on

// Where an operand is found.
// clang-format off
enum class Place : uint8_t {
  kNowhere,
  kRmGpr,      // ModRM.rm: register or memory
  kRegGpr,     // ModRM.reg
  kOpcodeGpr,  // the opcode's low three bits
  kFixedGpr,   // value
  kMemory,     // ModRM.rm, memory only (the row's mod says so)
  kOffset,     // moffs: an absolute address of the address size
  kZero,       // an immediate, zero-extended
  kSigned,     // an immediate, sign-extended
  kOne,        // the 1 of one-bit shifts
  kLevel,      // enter's second immediate
  kRelative, kFarPointer,
  kRegSeg, kFixedSeg, kRegCr, kRegDr,
  kRmMmx, kRegMmx, kRmXmm, kRegXmm,
  kRmSt, kFixedSt,
  kVexXmm, kVexGpr,  // VEX.vvvv
  kIs4Xmm,           // bits 7:4 of an immediate byte
};
// clang-format on

// Operands of rows. kOperandForms in operand_forms.h defines each.
// clang-format off
enum OperandCode : uint8_t {
  kNo,
  Eb, Ew, Ed, Ev, Ey, Ewv /* register: operand size; memory: 2 */, Edb /* 4 or m8 */, Edw /* 4 or m16 */, Ry,
  Gb, Gw, Gd, Gv, Gy, Zb, Zv,
  AL, CL, AX, DX, rAX, eAX,
  M, Mb, Mw, Md, Mq, Mdq, Mt, M2v, Mp, Ms, Menv, Mstate,
  Ob, Ov,
  Ib, Iw, Ibs, Iz, Iv, One, Level, Jb, Jz, Ap,
  Sw, ES, CS, SS, DS, FS, GS, Cy, Dy,
  Pq, Pd, Py, Qq, Qd, Vdq, Vq, Vd, Vy, Wdq, Wq, Wd, Ww,
  ST0, STi,
  Vx, Wx, Wb, Mx, Hx, Lx, By,
  kOperandCodes
};
// clang-format on

// How prefixes and mode give the operand size.
enum class SizeRule : uint8_t {
  kV,    // 2 or 4 by mode and 66; REX.W: 8
  kZ,    // the same, but REX.W: 4
  kB,    // 1
  kY,    // 4; REX.W: 8
  kD64,  // as kV, but 8 by default in 64-bit mode
  kM64,  // 8 in 64-bit mode, else 4
  kCount
};

// Attributes of a row: what else it says, and what must hold for it to be meant.
using Attr = uint64_t;
inline constexpr Attr v = 0;  // the size rule kV, which is the default
inline constexpr Attr z = 1, b = 2, y = 3, d64 = 4, m64 = 5;
inline constexpr Attr kSizeRuleMask = 7;
inline constexpr Attr lockable = 1 << 3;  // LOCK is legal when operand 0 is memory
inline constexpr Attr regs = 1 << 4;      // ModRM.mod is ignored, rm is a register
inline constexpr Attr string = 1 << 5;    // implicit memory operand in DS or the override
inline constexpr Attr by_size = 1 << 6;   // op, and the next two in ops.def for operand sizes 4 and 8
inline constexpr Attr by_w = 1 << 7;      // op, and the next in ops.def for REX.W
inline constexpr Attr nop90 = 1 << 8;     // xchg rAX,rAX is nop, or pause after F3
inline constexpr Attr l0 = 1 << 10, l1 = 1 << 11, w0 = 1 << 12, w1 = 1 << 13;  // of VEX, else #UD
inline constexpr Attr by_l = 1 << 14;                                          // op, and the next in ops.def for VEX.L
inline constexpr Attr vsib = 1 << 15;                                          // memory with an index that is a vector
inline constexpr Attr mandatory = 1 << 9;                                      // F2 and F3 select the row (set by Row)

// Conditions; without one of a kind, all values match.
inline constexpr unsigned kPrefixAt = 16, kModeAt = 20, kModAt = 22, kRegAt = 24, kRmAt = 32, kSpanAt = 40;
inline constexpr Attr np = 1 << kPrefixAt, p66 = 2 << kPrefixAt, pf3 = 4 << kPrefixAt, pf2 = 8 << kPrefixAt;
inline constexpr Attr i64 = 1 << kModeAt, o64 = 2 << kModeAt;             // invalid in 64-bit mode; only there
inline constexpr Attr mem = 1 << kModAt, reg = 2 << kModAt;               // ModRM.mod
constexpr Attr digit(unsigned n) { return Attr{1} << (kRegAt + n); }      // ModRM.reg: the SDM's /n
constexpr Attr rm(unsigned n) { return Attr{1} << (kRmAt + n); }          // ModRM.rm
inline constexpr Attr x8 = Attr{3} << kSpanAt, x16 = Attr{4} << kSpanAt;  // that many opcodes from this one on

struct Row {
  uint16_t opcode;  // as Decoded::opcode
  Op op;
  OperandCode operands[4] = {kNo, kNo, kNo, kNo};
  Attr attr;

  // `opcode` as the manuals write it: 0x90, 0x0fa2, 0x0f3800, 0x0f3a0f.
  constexpr Row(uint32_t code, Op o, std::initializer_list<OperandCode> list, Attr a = 0)
      : opcode(static_cast<uint16_t>((map(code >> 8) << 8) | (code & 0xff))),
        op(o),
        attr(a | ((a >> kPrefixAt & 0xc) ? mandatory : 0)) {
    unsigned n = 0;
    for (OperandCode c : list) operands[n++] = c;
  }
  static constexpr unsigned map(uint32_t escape) {
    return escape == 0x0f38 ? 2 : escape == 0x0f3a ? 3 : escape == 0x0f ? 1 : 0;
  }
  constexpr unsigned prefixes() const { return attr >> kPrefixAt & 0xf; }
  constexpr unsigned modes() const { return attr >> kModeAt & 3; }
  constexpr unsigned mods() const { return attr >> kModAt & 3; }
  constexpr unsigned digits() const { return attr >> kRegAt & 0xff; }
  constexpr unsigned rms() const { return attr >> kRmAt & 0xff; }
  constexpr unsigned span() const { return 1u << (attr >> kSpanAt & 7); }
};

// A row as decode() needs it.
struct Form {
  Op op = Op::kInvalid;
  uint16_t attr = 0;
  OperandCode operands[4] = {kNo, kNo, kNo, kNo};
};

}  // namespace dejavm::soft::table
