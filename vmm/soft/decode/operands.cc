// What an instruction works on: ModRM, addresses, immediates.
#include "vmm/soft/decode/decoder.h"

namespace dejavm::soft {
namespace {

using table::OperandForm;
using table::Place;

// ModRM's 16-bit addresses: base and index of each rm. SDM vol. 2, table 2-1.
struct Address16 {
  uint8_t base, index;
};
constexpr Address16 kAddress16[8] = {{3, 6},      {3, 7},      {5, 6},      {5, 7},
                                     {6, kNoReg}, {7, kNoReg}, {5, kNoReg}, {3, kNoReg}};

}  // namespace

uint64_t Decoder::take_zero(unsigned width) {
  switch (width) {
    case 1: return take<uint8_t>();
    case 2: return take<uint16_t>();
    case 4: return take<uint32_t>();
    default: return take<uint64_t>();
  }
}

int64_t Decoder::take_signed(unsigned width) {
  switch (width) {
    case 1: return take<int8_t>();
    case 2: return take<int16_t>();
    case 4: return take<int32_t>();
    default: return take<int64_t>();
  }
}

void Decoder::memory_16() {
  const unsigned mod = d_.modrm >> 6, low = d_.modrm & 7;
  if (mod == 0 && low == 6) {
    d_.disp = take<uint16_t>();
    return;
  }
  d_.base = kAddress16[low].base;
  d_.index = kAddress16[low].index;
  if (d_.base == 5) default_segment_ = kSs;
  if (mod == 1) d_.disp = take<int8_t>();
  else if (mod == 2) d_.disp = take<int16_t>();
}

// SDM vol. 2, tables 2-2 and 2-3; RIP-relative 2.2.1.6. Base numbers 4 and 5 with mod's special cases are decoded
// without REX.B, index 4 is none only without REX.X (table 2-5).
void Decoder::memory_32(bool vsib) {
  const unsigned mod = d_.modrm >> 6;
  unsigned low = d_.modrm & 7;
  if (low == 4) {
    const uint8_t sib = take<uint8_t>();
    const unsigned index = (sib >> 3 & 7u) | (d_.rex & 2u) << 2;
    if (index != 4 || vsib) {
      d_.index = static_cast<uint8_t>(index);
      d_.scale = sib >> 6;
    }
    low = sib & 7;
  }
  if (low == 5 && mod == 0) {
    d_.disp = take<int32_t>();
    d_.rip_relative = is64_ && (d_.modrm & 7) == 5;
    return;
  }
  d_.base = static_cast<uint8_t>(low | (d_.rex & 1u) << 3);
  if (d_.base == 4 || d_.base == 5) default_segment_ = kSs;
  if (mod == 1) d_.disp = take<int8_t>();
  else if (mod == 2) d_.disp = take<int32_t>();
}

void Decoder::memory(bool vsib) {
  d_.has_mem = true;
  if (vsib) valid_ &= d_.addr_size != 2 && (d_.modrm & 7) == 4;
  if (d_.addr_size == 2) memory_16();
  else memory_32(vsib);
}

void Decoder::register_operand(Operand& o, unsigned number, unsigned width) {
  if (width == 1 && d_.rex == 0 && number >= 4) o = {OperandKind::kGprHigh, static_cast<uint8_t>(number - 4), 1};
  else o = {OperandKind::kGpr, static_cast<uint8_t>(number), static_cast<uint8_t>(width)};
}

void Decoder::operand(table::OperandCode code) {
  const OperandForm& form = table::kOperandForms[code];
  Operand& o = d_.operands[d_.operand_count++];
  const auto set = [&](OperandKind kind, unsigned number, unsigned size) {
    o = {kind, static_cast<uint8_t>(number), static_cast<uint8_t>(size)};
  };
  switch (form.place) {
    case Place::kNowhere: break;
    case Place::kRmGpr:
      if (d_.has_mem) memory_operand(o, width(form.stored_width));
      else register_operand(o, rm(), width(form.width));
      break;
    case Place::kRegGpr: register_operand(o, reg(), width(form.width)); break;
    case Place::kOpcodeGpr: register_operand(o, (d_.opcode & 7u) | (d_.rex & 1u) << 3, width(form.width)); break;
    case Place::kFixedGpr: set(OperandKind::kGpr, form.value, width(form.width)); break;
    case Place::kMemory: memory_operand(o, width(form.stored_width)); break;
    case Place::kOffset:
      d_.has_mem = true;
      memory_operand(o, width(form.width));
      d_.disp = static_cast<int64_t>(take_zero(d_.addr_size));
      break;
    case Place::kZero:
      set(OperandKind::kImm, 0, width(form.width));
      d_.imm = take_zero(width(form.stored_width));
      break;
    case Place::kSigned:
    case Place::kRelative:
      set(form.place == Place::kSigned ? OperandKind::kImm : OperandKind::kRel, 0, width(form.width));
      d_.imm = static_cast<uint64_t>(take_signed(width(form.stored_width)));
      break;
    case Place::kOne:
      set(OperandKind::kImm, 0, 1);
      d_.imm = 1;
      break;
    case Place::kLevel:
      set(OperandKind::kImm, 0, 1);
      d_.imm2 = take<uint8_t>();
      break;
    case Place::kFarPointer:
      set(OperandKind::kFar, 0, width(form.width));
      d_.imm = take_zero(width(form.stored_width));
      d_.imm2 = take<uint16_t>();
      break;
    case Place::kRegSeg:  // REX.R is ignored; 6 and 7 are no segment, and CS cannot be loaded
      set(OperandKind::kSeg, d_.modrm >> 3 & 7u, 2);
      valid_ &= o.reg < 6 && !(o.reg == 1 && d_.op == Op::k_mov_to_seg);
      break;
    case Place::kFixedSeg: set(OperandKind::kSeg, form.value, 2); break;
    case Place::kRegCr:
      set(OperandKind::kCr, reg(), width(form.width));
      valid_ &= o.reg == 0 || (o.reg >= 2 && o.reg <= 4) || o.reg == 8;
      break;
    case Place::kRegDr:
      set(OperandKind::kDr, reg(), width(form.width));
      valid_ &= o.reg < 8;
      break;
    default: register_file_operand(form, o); break;
  }
}

// Registers of x87, MMX, SSE and AVX, and what VEX names.
void Decoder::register_file_operand(const OperandForm& form, Operand& o) {
  const auto set = [&](OperandKind kind, unsigned number, unsigned size) {
    o = {kind, static_cast<uint8_t>(number), static_cast<uint8_t>(size)};
  };
  switch (form.place) {
    case Place::kRmMmx:
      if (d_.has_mem) memory_operand(o, width(form.stored_width));
      else set(OperandKind::kMmx, d_.modrm & 7u, width(form.width));
      break;
    case Place::kRegMmx: set(OperandKind::kMmx, d_.modrm >> 3 & 7u, width(form.width)); break;
    case Place::kRmXmm:
      if (d_.has_mem) memory_operand(o, width(form.stored_width));
      else set(OperandKind::kXmm, rm(), width(form.width));
      break;
    case Place::kRegXmm: set(OperandKind::kXmm, reg(), width(form.width)); break;
    case Place::kVexXmm:
    case Place::kVexGpr:
      // Outside 64-bit mode its highest bit is ignored, where it names a register.
      if (!is64_) vvvv_ &= 7;
      set(form.place == Place::kVexXmm ? OperandKind::kXmm : OperandKind::kGpr, vvvv_, width(form.width));
      vvvv_used_ = true;
      break;
    case Place::kIs4Xmm: {
      const uint8_t is4 = take<uint8_t>();
      set(OperandKind::kXmm, is64_ ? is4 >> 4 : is4 >> 4 & 7, width(form.width));
      break;
    }
    case Place::kRmSt: set(OperandKind::kSt, d_.modrm & 7u, 10); break;
    case Place::kFixedSt: set(OperandKind::kSt, form.value, 10); break;
    default: break;  // the others are in operand()
  }
}

}  // namespace dejavm::soft
