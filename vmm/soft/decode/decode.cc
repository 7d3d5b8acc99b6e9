#include "vmm/soft/decode.h"

#include <cstring>

#include "vmm/soft/decode/index.h"
#include "vmm/soft/decode/vex.h"

namespace dejavm::soft {
namespace {

using table::Attr;
using table::Form;
using table::kIndex;
using table::kVexIndex;
using table::OperandForm;
using table::Place;
using table::Slot;

// The widths that depend on the operand size, by its logarithm.
constexpr uint8_t kWidths[table::kWidthEnd - table::kWidthV][4] = {{1, 2, 4, 8},       // kWidthV
                                                                   {1, 2, 4, 4},       // kWidthZ
                                                                   {2, 4, 8, 16},      // kWidthTwice
                                                                   {0, 4, 6, 10},      // kWidthFar
                                                                   {0, 6, 6, 10},      // kWidthTable
                                                                   {0, 14, 28, 28},    // kWidthEnv
                                                                   {0, 94, 108, 108},  // kWidthState
                                                                   {0, 0, 0, 0}};      // kWidthX: by VEX.L

// Effective operand size as a logarithm by mode, rule, REX.W and 66. SDM vol. 2, 2.2.1.2 and table 2-4; vol. 1, 3.6.
constexpr uint8_t operand_size(CodeMode mode, table::SizeRule rule, bool w, bool p66) {
  using enum table::SizeRule;
  const bool is64 = mode == CodeMode::k64;
  const uint8_t narrow = ((mode == CodeMode::k16) != p66) ? 1 : 2;
  switch (rule) {
    case kV: return w ? 3 : narrow;
    case kZ: return w ? 2 : narrow;
    case kB: return 0;
    case kY: return w ? 3 : 2;
    case kD64: return is64 ? (w || !p66 ? 3 : 1) : narrow;
    case kM64: return is64 ? 3 : 2;
    default: return 2;
  }
}

struct OperandSizes {
  uint8_t log[3][8][2][2];  // mode, rule, REX.W, 66
};
constexpr OperandSizes kOperandSizes = [] {
  OperandSizes s{};
  for (unsigned m = 0; m < 3; ++m)
    for (unsigned r = 0; r < 8; ++r)
      for (unsigned k = 0; k < 4; ++k)
        s.log[m][r][k >> 1][k & 1] =
            operand_size(static_cast<CodeMode>(m), static_cast<table::SizeRule>(r), k >> 1, k & 1);
  return s;
}();

enum PrefixClass : uint8_t { kOpcodeByte, kRex, kSegment, kOperandSize, kAddressSize, kLock, kRepeat };

constexpr std::array<uint8_t, 256> kPrefixClass = [] {
  std::array<uint8_t, 256> c{};
  for (unsigned i = 0x40; i < 0x50; ++i) c[i] = kRex;
  for (unsigned i : {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65}) c[i] = kSegment;
  c[0x66] = kOperandSize;
  c[0x67] = kAddressSize;
  c[0xf0] = kLock;
  c[0xf2] = c[0xf3] = kRepeat;
  return c;
}();

constexpr unsigned kSs = 2, kDs = 3;

// ModRM's 16-bit addresses: base and index of each rm. SDM vol. 2, table 2-1.
struct Address16 {
  uint8_t base, index;
};
constexpr Address16 kAddress16[8] = {{3, 6},      {3, 7},      {5, 6},      {5, 7},
                                     {6, kNoReg}, {7, kNoReg}, {5, kNoReg}, {3, kNoReg}};

class Decoder {
 public:
  Decoder(std::span<const uint8_t> bytes, CodeMode mode, Decoded& d)
      : begin_(bytes.data()),
        at_(begin_),
        end_(begin_ + (bytes.size() < 15 ? bytes.size() : 15)),
        mode_(mode),
        is64_(mode == CodeMode::k64),
        d_(d) {}

  DecodeStatus run();

 private:
  // Bytes of the instruction, little-endian; zero with overrun_ set when there are not enough.
  template <class T>
  T take() {
    T value = 0;
    if (static_cast<size_t>(end_ - at_) < sizeof(T)) {
      at_ = end_;
      overrun_ = true;
      return value;
    }
    std::memcpy(&value, at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  uint64_t take_zero(unsigned width);
  int64_t take_signed(unsigned width);

  bool prefixes_and_opcode();
  template <class Index>
  const Form& find_form(const Index& index);
  bool begins_vex(uint8_t byte) const;
  bool vex_prefix(uint8_t byte);
  Form vex_form_of_opcode();
  void widen_vex(Op op);
  void memory(bool vsib);
  void memory_16();
  void memory_32(bool vsib);
  void operand(table::OperandCode code);
  bool legal(const Form& form) const;
  void register_operand(Operand& o, unsigned number, unsigned width);
  void memory_operand(Operand& o, unsigned width) { o = {OperandKind::kMem, 0, static_cast<uint8_t>(width)}; }
  unsigned width(unsigned w) const {
    return w == table::kWidthX ? 16u << d_.vex_256 : w < table::kWidthV ? w : kWidths[w - table::kWidthV][log_size_];
  }
  unsigned rm() const { return (d_.modrm & 7u) | (d_.rex & 1u) << 3; }
  unsigned reg() const { return (d_.modrm >> 3 & 7u) | (d_.rex & 4u) << 1; }
  DecodeStatus finish(Op op);

  const uint8_t* begin_;
  const uint8_t* at_;
  const uint8_t* end_;
  CodeMode mode_;
  bool is64_;
  bool overrun_ = false;
  uint8_t vvvv_ = 0;  // as encoded, inverted back
  bool vvvv_used_ = false;
  bool p66_ = false, p67_ = false, lock_ = false, valid_ = true;
  uint8_t repeat_ = 0;  // F2, F3 or 0
  uint8_t segment_ = kNoReg;
  uint8_t default_segment_ = kDs;
  uint8_t log_size_ = 0;
  Decoded& d_;
};

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

// Of prefixes of one kind the last counts; REX counts only directly before the opcode (SDM vol. 2, 2.2.1). In 64-bit
// mode ES, CS, SS and DS overrides are ignored and leave an FS or GS override in force.
bool Decoder::prefixes_and_opcode() {
  uint8_t byte;
  for (;;) {
    byte = take<uint8_t>();
    const uint8_t kind = kPrefixClass[byte];
    if (kind == kOpcodeByte || (kind == kRex && !is64_)) break;
    if (overrun_) return false;
    if (kind == kRex) {
      d_.rex = byte;
      continue;
    }
    d_.rex = 0;
    switch (kind) {
      case kSegment:
        if (byte >= 0x64) segment_ = static_cast<uint8_t>(byte - 0x60);
        else if (!is64_) segment_ = byte >> 3 & 3;
        break;
      case kOperandSize: p66_ = true; break;
      case kAddressSize: p67_ = true; break;
      case kLock: lock_ = true; break;
      default: repeat_ = byte; break;
    }
  }
  if (begins_vex(byte)) return vex_prefix(byte);
  d_.opcode = byte;
  if (byte == 0x0f) {
    byte = take<uint8_t>();
    d_.opcode = static_cast<uint16_t>(0x100 | byte);
    if (byte == 0x38) d_.opcode = static_cast<uint16_t>(0x200 | take<uint8_t>());
    else if (byte == 0x3a) d_.opcode = static_cast<uint16_t>(0x300 | take<uint8_t>());
  }
  return !overrun_;
}

// F2 and F3 as mandatory prefixes come before 66.
template <class Index>
const Form& Decoder::find_form(const Index& index) {
  const Slot slot = index.slots[d_.opcode];
  if ((slot.shape & table::kHasModrm) && !d_.has_modrm) {
    d_.has_modrm = true;
    d_.modrm = take<uint8_t>();
  }
  unsigned cell = 0;
  if (slot.shape & table::kByPrefix) cell = repeat_ == 0xf3 ? 2 : repeat_ == 0xf2 ? 3 : p66_ ? 1 : 0;
  if (slot.shape & table::kByMode) cell = cell * 2 + is64_;
  if (slot.shape & table::kByMod) cell = cell * 2 + (d_.modrm >= 0xc0);
  if (slot.shape & table::kByReg) cell = cell * 8 + (d_.modrm >> 3 & 7u);
  if (slot.shape & table::kByRm) cell = cell * 8 + (d_.modrm & 7u);
  return index.forms[index.cells[slot.first_cell + cell]];
}

// C4 and C5 are LES and LDS outside 64-bit mode unless their ModRM byte would name a register (SDM vol. 2, 2.3.5).
bool Decoder::begins_vex(uint8_t byte) const {
  return (byte == 0xc4 || byte == 0xc5) && at_ < end_ && (is64_ || *at_ >= 0xc0);
}

// The prefix after its first byte, and the opcode (SDM vol. 2, 2.3.5 and figure 2-9).
bool Decoder::vex_prefix(uint8_t byte) {
  if (p66_ || repeat_ || lock_ || d_.rex) valid_ = false;
  const uint8_t first = take<uint8_t>();
  unsigned map = 1, w = 0, rxb = (first >> 7 ^ 1u) << 2;
  uint8_t last = first;
  if (byte == 0xc4) {
    rxb = (first >> 5 ^ 7u) & 7;
    map = first & 31;
    last = take<uint8_t>();
    w = last >> 7;
  }
  if (!is64_) rxb = 0;  // B is ignored, the others are 0
  if (map < 1 || map > 3) {
    valid_ = false;
    map = 1;
  }
  d_.vex = true;
  d_.vex_256 = last & 4;
  d_.rex = static_cast<uint8_t>(0x40 | w << 3 | rxb);
  vvvv_ = (last >> 3 & 15) ^ 15;
  p66_ = (last & 3) == 1;
  repeat_ = (last & 3) == 2 ? 0xf3 : (last & 3) == 3 ? 0xf2 : 0;
  d_.opcode = static_cast<uint16_t>(map << 8 | take<uint8_t>());
  return !overrun_;
}

// The row of an opcode that only VEX has; else that of the SSE operation, if it has such a form, with its operands in
// their places.
Form Decoder::vex_form_of_opcode() {
  const Form own = find_form(kVexIndex);
  if (own.op != Op::kInvalid) return own;
  Form form = find_form(kIndex);
  const VexForm& how = vex_form(form.op);
  const auto code_is_mmx = [](table::OperandCode code) {
    const Place p = table::kOperandForms[code].place;
    return p == Place::kRmMmx || p == Place::kRegMmx;
  };
  if (how.shape == VexShape::kNone || code_is_mmx(form.operands[0]) || code_is_mmx(form.operands[1])) return {};
  if (how.length == VexLength::k128) form.attr |= table::l0;
  VexShape shape = how.shape;
  // Shifts by an immediate name their register in ModRM.rm; moves of one element have a first source between registers
  // only, and those to memory have none.
  const Place first = table::kOperandForms[form.operands[0]].place,
              second = table::kOperandForms[form.operands[1]].place;
  if (shape == VexShape::kSource && second == Place::kZero) shape = VexShape::kTarget;
  const bool moves = form.op == Op::k_movss || form.op == Op::k_movsd_x;
  if (shape == VexShape::kSource &&
      (first == Place::kMemory || (moves && d_.modrm < 0xc0) || (first == Place::kRmXmm && !moves)))
    shape = VexShape::kSame;
  if (shape != VexShape::kSame) {
    const unsigned at = shape == VexShape::kTarget ? 0 : 1;
    for (unsigned n = 3; n > at; --n) form.operands[n] = form.operands[n - 1];
    form.operands[at] = table::Hx;
  }
  return form;
}

// Operations that work on both halves have operands that are twice as wide.
void Decoder::widen_vex(Op op) {
  if (vex_form(op).length == VexLength::kBoth && d_.vex_256)
    for (unsigned n = 0; n < d_.operand_count; ++n) {
      Operand& o = d_.operands[n];
      const bool narrow = n == 0 && (op == Op::k_cvtpd2ps || op == Op::k_cvttpd2dq || op == Op::k_cvtpd2dq);
      const bool count = n == 2 && o.kind != OperandKind::kImm && op >= Op::k_psrlw && op <= Op::k_psllq;
      if ((o.kind == OperandKind::kXmm || o.kind == OperandKind::kMem) && o.size < 32 && !narrow && !count)
        o.size = op == Op::k_movddup ? 32 : static_cast<uint8_t>(2 * o.size);
    }
  else if (vex_form(op).length != VexLength::kBoth)
    for (Operand& o : d_.operands)
      if (o.kind == OperandKind::kXmm && o.size == 32) o.size = 16;
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
  }
}

DecodeStatus Decoder::finish(Op op) {
  if (overrun_) {
    const bool too_long = at_ - begin_ == 15;
    d_ = Decoded{};
    return too_long ? DecodeStatus::kTooLong : DecodeStatus::kTruncated;
  }
  d_.op = op;
  d_.len = static_cast<uint8_t>(at_ - begin_);
  std::memcpy(d_.bytes.data(), begin_, d_.len);
  return DecodeStatus::kOk;
}

// LOCK needs one of the read-modify-write operations, on memory.
bool Decoder::legal(const Form& form) const {
  return valid_ && (!lock_ || ((form.attr & table::lockable) && d_.operands[0].kind == OperandKind::kMem));
}

// Families whose members follow each other in ops.def.
static_assert(static_cast<int>(Op::k_cwde) == static_cast<int>(Op::k_cbw) + 1);
static_assert(static_cast<int>(Op::k_cdqe) == static_cast<int>(Op::k_cbw) + 2);
static_assert(static_cast<int>(Op::k_cdq) == static_cast<int>(Op::k_cwd) + 1);
static_assert(static_cast<int>(Op::k_cqo) == static_cast<int>(Op::k_cwd) + 2);
static_assert(static_cast<int>(Op::k_cmpxchg16b) == static_cast<int>(Op::k_cmpxchg8b) + 1);

DecodeStatus Decoder::run() {
  if (!prefixes_and_opcode()) return finish(Op::kInvalid);
  const Form form = d_.vex ? vex_form_of_opcode() : find_form(kIndex);
  const bool w = d_.rex & 8;
  if (d_.vex && !is64_)
    d_.rex &= ~8;  // VEX.W makes no 64-bit general operand there; where it chooses an operation, it has
  d_.op = form.op;
  d_.lock = lock_;
  if (!(form.attr & table::mandatory))
    d_.rep = repeat_ == 0xf3 ? Rep::kRep : repeat_ == 0xf2 ? Rep::kRepne : Rep::kNone;
  d_.addr_size = is64_ ? (p67_ ? 4 : 8) : ((mode_ == CodeMode::k16) != p67_) ? 2 : 4;
  log_size_ =
      kOperandSizes.log[static_cast<unsigned>(mode_)][form.attr & table::kSizeRuleMask][w && (is64_ || !d_.vex)][p66_];
  d_.op_size = static_cast<uint8_t>(1u << log_size_);
  if (form.op == Op::kInvalid) return finish(Op::kInvalid);

  if (d_.has_modrm && d_.modrm < 0xc0 && !(form.attr & table::regs)) memory(form.attr & table::vsib);
  for (table::OperandCode code : form.operands) {
    if (code == table::kNo) break;
    operand(code);
  }
  if (d_.has_mem || (form.attr & table::string)) {
    d_.seg_override = segment_ != kNoReg;
    d_.seg = d_.seg_override ? segment_ : default_segment_;
  }
  if (form.op == Op::k_jcc || form.op == Op::k_setcc || form.op == Op::k_cmovcc) d_.cc = d_.opcode & 15;
  if (d_.vex) {
    d_.vvvv = vvvv_;
    if (form.attr & table::l0) valid_ &= !d_.vex_256;
    if (form.attr & table::l1) valid_ &= d_.vex_256;
    if (form.attr & table::w0) valid_ &= !w;
    if (form.attr & table::w1) valid_ &= w;
    if (!vvvv_used_) valid_ &= vvvv_ == 0;
    if (vex_form(form.op).shape != VexShape::kNone) {
      widen_vex(form.op);
      d_.inner = form.op;
    }
  }
  if (!legal(form)) return finish(Op::kInvalid);

  unsigned op = static_cast<unsigned>(form.op);
  if (form.attr & table::by_size) op += log_size_ - 1u;
  if (form.attr & table::by_w) op += w;
  if (form.attr & table::by_l) op += d_.vex_256;
  if (d_.inner != Op::kInvalid) op = static_cast<unsigned>(Op::k_vex);
  if ((form.attr & table::nop90) && !(d_.rex & 1)) {
    op = static_cast<unsigned>(repeat_ == 0xf3 ? Op::k_pause : Op::k_nop);
    d_.rep = Rep::kNone;
    d_.operands = {};
    d_.operand_count = 0;
  }
  return finish(static_cast<Op>(op));
}

}  // namespace

DecodeStatus decode(std::span<const uint8_t> bytes, CodeMode mode, Decoded& d) {
  d = Decoded{};
  return Decoder(bytes, mode, d).run();
}

}  // namespace dejavm::soft
