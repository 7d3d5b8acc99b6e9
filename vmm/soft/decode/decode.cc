// An instruction from its prefixes to the row of the table that says what it is.
#include <cstring>

#include "vmm/soft/decode/decoder.h"
#include "vmm/soft/decode/index.h"
#include "vmm/soft/decode/vex.h"

namespace dejavm::soft {
namespace {

using table::Form;
using table::kIndex;
using table::kVexIndex;
using table::Place;
using table::Slot;

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

}  // namespace

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

DecodeStatus decode(std::span<const uint8_t> bytes, CodeMode mode, Decoded& d) {
  d = Decoded{};
  return Decoder(bytes, mode, d).run();
}

}  // namespace dejavm::soft
