// What each OperandCode of the tables means: where it is, and how many bytes it has as a register and in memory. For
// immediates: how many bytes it acts on and how many the code has.
#pragma once

#include <array>

#include "vmm/soft/decode/table.h"

namespace dejavm::soft::table {

struct OperandForm {
  OperandCode code;
  Place place;
  uint8_t width, stored_width;
  uint8_t value = 0;  // the register of the fixed places
};

inline constexpr OperandForm kOperandForms[] = {
    {kNo, Place::kNowhere, kWidth0, kWidth0},
    {Eb, Place::kRmGpr, kWidth1, kWidth1},
    {Ew, Place::kRmGpr, kWidth2, kWidth2},
    {Ed, Place::kRmGpr, kWidth4, kWidth4},
    {Ev, Place::kRmGpr, kWidthV, kWidthV},
    {Ey, Place::kRmGpr, kWidthV, kWidthV},  // under rule y
    {Ewv, Place::kRmGpr, kWidthV, kWidth2},
    {Edb, Place::kRmGpr, kWidth4, kWidth1},
    {Edw, Place::kRmGpr, kWidth4, kWidth2},
    {Ry, Place::kRmGpr, kWidthV, kWidthV},
    {Gb, Place::kRegGpr, kWidth1, kWidth1},
    {Gw, Place::kRegGpr, kWidth2, kWidth2},
    {Gd, Place::kRegGpr, kWidth4, kWidth4},
    {Gv, Place::kRegGpr, kWidthV, kWidthV},
    {Gy, Place::kRegGpr, kWidthV, kWidthV},
    {Zb, Place::kOpcodeGpr, kWidth1, kWidth1},
    {Zv, Place::kOpcodeGpr, kWidthV, kWidthV},
    {AL, Place::kFixedGpr, kWidth1, kWidth1, 0},
    {CL, Place::kFixedGpr, kWidth1, kWidth1, 1},
    {AX, Place::kFixedGpr, kWidth2, kWidth2, 0},
    {DX, Place::kFixedGpr, kWidth2, kWidth2, 2},
    {rAX, Place::kFixedGpr, kWidthV, kWidthV, 0},
    {eAX, Place::kFixedGpr, kWidthZ, kWidthZ, 0},
    {M, Place::kMemory, kWidth0, kWidth0},
    {Mb, Place::kMemory, kWidth1, kWidth1},
    {Mw, Place::kMemory, kWidth2, kWidth2},
    {Md, Place::kMemory, kWidth4, kWidth4},
    {Mq, Place::kMemory, kWidth8, kWidth8},
    {Mdq, Place::kMemory, kWidth16, kWidth16},
    {Mt, Place::kMemory, kWidth10, kWidth10},
    {M2v, Place::kMemory, kWidthTwice, kWidthTwice},
    {Mp, Place::kMemory, kWidthFar, kWidthFar},
    {Ms, Place::kMemory, kWidthTable, kWidthTable},
    {Menv, Place::kMemory, kWidthEnv, kWidthEnv},
    {Mstate, Place::kMemory, kWidthState, kWidthState},
    {Ob, Place::kOffset, kWidth1, kWidth1},
    {Ov, Place::kOffset, kWidthV, kWidthV},
    {Ib, Place::kZero, kWidth1, kWidth1},
    {Iw, Place::kZero, kWidth2, kWidth2},
    {Ibs, Place::kSigned, kWidthV, kWidth1},
    {Iz, Place::kSigned, kWidthV, kWidthZ},
    {Iv, Place::kSigned, kWidthV, kWidthV},
    {One, Place::kOne, kWidth1, kWidth0},
    {Level, Place::kLevel, kWidth1, kWidth1},
    {Jb, Place::kRelative, kWidthV, kWidth1},
    {Jz, Place::kRelative, kWidthV, kWidthZ},
    {Ap, Place::kFarPointer, kWidthFar, kWidthV},
    {Sw, Place::kRegSeg, kWidth2, kWidth2},
    {ES, Place::kFixedSeg, kWidth2, kWidth2, 0},
    {CS, Place::kFixedSeg, kWidth2, kWidth2, 1},
    {SS, Place::kFixedSeg, kWidth2, kWidth2, 2},
    {DS, Place::kFixedSeg, kWidth2, kWidth2, 3},
    {FS, Place::kFixedSeg, kWidth2, kWidth2, 4},
    {GS, Place::kFixedSeg, kWidth2, kWidth2, 5},
    {Cy, Place::kRegCr, kWidthV, kWidthV},
    {Dy, Place::kRegDr, kWidthV, kWidthV},
    {Pq, Place::kRegMmx, kWidth8, kWidth8},
    {Pd, Place::kRegMmx, kWidth4, kWidth4},
    {Py, Place::kRegMmx, kWidthV, kWidthV},
    {Qq, Place::kRmMmx, kWidth8, kWidth8},
    {Qd, Place::kRmMmx, kWidth4, kWidth4},
    {Vdq, Place::kRegXmm, kWidth16, kWidth16},
    {Vq, Place::kRegXmm, kWidth8, kWidth8},
    {Vd, Place::kRegXmm, kWidth4, kWidth4},
    {Vy, Place::kRegXmm, kWidthV, kWidthV},
    {Wdq, Place::kRmXmm, kWidth16, kWidth16},
    {Wq, Place::kRmXmm, kWidth8, kWidth8},
    {Wd, Place::kRmXmm, kWidth4, kWidth4},
    {Ww, Place::kRmXmm, kWidth2, kWidth2},
    {ST0, Place::kFixedSt, kWidth10, kWidth10, 0},
    {STi, Place::kRmSt, kWidth10, kWidth10},
    {Vx, Place::kRegXmm, kWidthX, kWidthX},
    {Wx, Place::kRmXmm, kWidthX, kWidthX},
    {Wb, Place::kRmXmm, kWidth1, kWidth1},
    {Mx, Place::kMemory, kWidthX, kWidthX},
    {Hx, Place::kVexXmm, kWidthX, kWidthX},
    {Lx, Place::kIs4Xmm, kWidthX, kWidthX},
    {By, Place::kVexGpr, kWidthV, kWidthV},
};

constexpr bool operand_forms_are_in_order() {
  if (std::size(kOperandForms) != kOperandCodes) return false;
  for (unsigned i = 0; i < kOperandCodes; ++i)
    if (kOperandForms[i].code != i) return false;
  return true;
}
static_assert(operand_forms_are_in_order());

constexpr bool uses_modrm(OperandCode c) {
  switch (kOperandForms[c].place) {
    case Place::kRmGpr:
    case Place::kRegGpr:
    case Place::kMemory:
    case Place::kRegSeg:
    case Place::kRegCr:
    case Place::kRegDr:
    case Place::kRmMmx:
    case Place::kRegMmx:
    case Place::kRmXmm:
    case Place::kRegXmm:
    case Place::kRmSt: return true;
    default: return false;
  }
}

}  // namespace dejavm::soft::table
