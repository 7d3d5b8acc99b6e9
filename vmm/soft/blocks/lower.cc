// From decoded instructions to Insns: which handler each gets, and how its operands stand in it.
#include "vmm/soft/blocks/lower.h"

#include <algorithm>

namespace dejavm::soft {

bool repeats(const Decoded& d) {
  switch (d.op) {
    case Op::k_movs:
    case Op::k_cmps:
    case Op::k_stos:
    case Op::k_lods:
    case Op::k_scas: return d.rep != Rep::kNone;
    default: return false;
  }
}

// Operations after which the run loop must look up: control transfers, exits, changes of mode, rights, flags that
// gate events, or code-relevant state.
bool ends_block(const Decoded& d) {
  if (repeats(d)) return true;
  switch (d.op) {
    case Op::kInvalid:
    case Op::k_jcc:
    case Op::k_jmp:
    case Op::k_call:
    case Op::k_ret:
    case Op::k_jrcxz:
    case Op::k_loop:
    case Op::k_loope:
    case Op::k_loopne:
    case Op::k_popf:
    case Op::k_in:
    case Op::k_out:
    case Op::k_ins:
    case Op::k_outs:
    case Op::k_pause_turn:
    case Op::k_ud0:
    case Op::k_ud1:
    case Op::k_ud2:
    case Op::k_bound: return true;
    case Op::k_cli:
    case Op::k_mov_from_seg:
    case Op::k_push_seg:
    case Op::k_mov_from_dr:
    case Op::k_sgdt:
    case Op::k_sidt:
    case Op::k_sldt:
    case Op::k_str:
    case Op::k_smsw:
    case Op::k_verr:
    case Op::k_verw:
    case Op::k_lar:
    case Op::k_lsl:
    case Op::k_rdtsc:
    case Op::k_rdtscp:
    case Op::k_rdpmc:
    case Op::k_swapgs:
    case Op::k_rdfsbase:
    case Op::k_rdgsbase:
    case Op::k_wrfsbase:
    case Op::k_wrgsbase:
    case Op::k_clac:
    case Op::k_stac:
    case Op::k_xgetbv:
    case Op::k_rdrand:
    case Op::k_rdseed: return false;
    default: return op_group(d.op) == OpGroup::kSys;
  }
}

namespace {

// --- specialised handlers ---

bool fits32(int64_t v) { return v == static_cast<int32_t>(v); }

uint8_t slot_offset(unsigned slot) { return static_cast<uint8_t>(slot * 8); }

uint8_t operand_offset(const Operand& o) {
  return static_cast<uint8_t>(o.reg * 8 + (o.kind == OperandKind::kGprHigh ? 1 : 0));
}

// Fills base, index, scale and disp; false when the address has no such form.
bool lower_address(const Decoded& d, Insn& i, bool with_segment) {
  if (d.addr_size != 8) return false;
  int64_t disp = d.disp;
  unsigned base = d.base == kNoReg ? unsigned{kSlotZero} : d.base;
  unsigned index = d.index == kNoReg ? unsigned{kSlotZero} : d.index;
  uint8_t scale = d.scale;
  if (d.rip_relative) {
    base = kSlotRip;
    disp += i.off + i.len;
  }
  if (with_segment && (d.seg == kFs || d.seg == kGs)) {
    const unsigned slot = d.seg == kFs ? kSlotFsBase : kSlotGsBase;
    if (base == kSlotZero) {
      base = slot;
    } else if (index == kSlotZero) {
      index = slot;
      scale = 0;
    } else {
      return false;
    }
  }
  if (!fits32(disp)) return false;
  i.base = slot_offset(base);
  i.index = slot_offset(index);
  i.scale = index == kSlotZero ? 0 : scale;
  i.disp = static_cast<int32_t>(disp);
  return true;
}

bool is_register(const Operand& o) { return o.kind == OperandKind::kGpr || o.kind == OperandKind::kGprHigh; }

}  // namespace

// The form of the first two operands, with dst, src, imm and the address filled in. False: no such form.
bool lower_operands(const Decoded& d, Insn& i, Form& form) {
  const Operand& a = d.operands[0];
  const Operand& b = d.operands[1];
  if (d.has_mem && !lower_address(d, i, d.op != Op::k_lea)) return false;
  if (d.operand_count == 1) {
    if (is_register(a)) {
      form = Form::kR;
      i.dst = operand_offset(a);
      return true;
    }
    if (a.kind == OperandKind::kMem) {
      form = Form::kM;
      return true;
    }
    if (a.kind == OperandKind::kImm) {
      form = Form::kRI;
      i.imm = d.imm;
      return true;
    }
    return false;
  }
  if (d.operand_count == 3 && d.op == Op::k_imul) {
    i.dst = operand_offset(a);
    if (is_register(b)) i.src = operand_offset(b);
    i.imm = d.imm;
    form = is_register(b) ? Form::kRRI : Form::kRMI;
    return true;
  }
  if (d.operand_count != 2) return d.operand_count == 0 && (form = Form::kR, true);
  if (is_register(a)) i.dst = operand_offset(a);
  if (is_register(b)) i.src = operand_offset(b);
  if (b.kind == OperandKind::kImm) i.imm = d.imm;
  if (is_register(a) && is_register(b)) form = Form::kRR;
  else if (is_register(a) && b.kind == OperandKind::kImm) form = Form::kRI;
  else if (is_register(a) && b.kind == OperandKind::kMem) form = Form::kRM;
  else if (a.kind == OperandKind::kMem && is_register(b)) form = Form::kMR;
  else if (a.kind == OperandKind::kMem && b.kind == OperandKind::kImm) form = Form::kMI;
  else return false;
  return true;
}

namespace {

Handler vector_move(const Decoded& d, Insn& i) {
  const Operand& a = d.operands[0];
  const Operand& b = d.operands[1];
  const bool aligned = d.op == Op::k_movaps || d.op == Op::k_movapd || d.op == Op::k_movdqa;
  if (!d.has_mem || !lower_address(d, i, true)) return nullptr;
  if (a.kind == OperandKind::kXmm && b.kind == OperandKind::kMem) {
    i.dst = a.reg;
    return vector_move_handler(true, aligned);
  }
  if (a.kind == OperandKind::kMem && b.kind == OperandKind::kXmm) {
    i.src = b.reg;
    return vector_move_handler(false, aligned);
  }
  return nullptr;
}

// Direct branches keep their target in disp, from the block's rip, and their link in imm.
Handler direct_branch(const Decoded& d, Insn& i, Handler handler) {
  const int64_t target = static_cast<int64_t>(d.imm) + i.off + i.len;
  if (!fits32(target)) return nullptr;
  i.disp = static_cast<int32_t>(target);
  i.imm = 0;
  return handler;
}

bool is_shift(Op op) {
  return op == Op::k_shl || op == Op::k_shr || op == Op::k_sar || op == Op::k_rol || op == Op::k_ror;
}

}  // namespace

// The form without an index register, where the address has none.
Form simplest(Form form, const Insn& i) {
  if (i.index != slot_offset(kSlotZero)) return form;
  return form == Form::kRM ? Form::kRB : form == Form::kMR ? Form::kBR : form == Form::kMI ? Form::kBI : form;
}

// The specialised handler of a 64-bit-mode instruction, or nullptr. `form` is set when there is one of a family with
// quiet handlers.
Handler specialise(const Decoded& d, Insn& i, Form& form) {
  switch (d.op) {
    case Op::k_jcc: return d.op_size == 8 ? direct_branch(d, i, jcc_handler(d.cc)) : nullptr;
    case Op::k_jmp:
    case Op::k_call:
      if (d.op_size != 8) return nullptr;
      if (d.operands[0].kind == OperandKind::kRel) return direct_branch(d, i, jump_handler(d.op, Form::kRI));
      break;
    case Op::k_movaps:
    case Op::k_movapd:
    case Op::k_movdqa:
    case Op::k_movups:
    case Op::k_movupd:
    case Op::k_movdqu: return vector_move(d, i);
    default: break;
  }
  if (op_group(d.op) != OpGroup::kInt) return nullptr;
  if (d.op == Op::k_nop) return other_handler(d.op, Form::kR, 8);
  if (!lower_operands(d, i, form)) return nullptr;
  const unsigned size = d.operand_count > 0 ? d.operands[0].size : d.op_size;
  const unsigned source_size = d.operand_count > 1 ? d.operands[1].size : 0;
  switch (d.op) {
    case Op::k_jmp:
    case Op::k_call: return size == 8 ? jump_handler(d.op, form) : nullptr;
    case Op::k_ret: return d.operand_count == 0 && d.op_size == 8 ? jump_handler(d.op, form) : nullptr;
    case Op::k_push:
    case Op::k_pop:
    case Op::k_leave: return d.op_size == 8 ? stack_handler(d.op, form) : nullptr;
    case Op::k_setcc: return setcc_handler(d.cc, form);
    case Op::k_cmovcc: return cmov_handler(d.cc, form, size);
    case Op::k_mov:
    case Op::k_lea:
    case Op::k_movzx:
    case Op::k_movsx:
    case Op::k_movsxd: return move_handler(d.op, simplest(form, i), size, source_size);
    default: break;
  }
  if (Handler h = alu_handler(d.op, simplest(form, i), size)) return h;
  if (Handler h = alu_handler(d.op, form, size)) return h;
  if (is_shift(d.op) && d.operands[1].kind == OperandKind::kImm) {
    i.imm &= size == 8 ? 63 : 31;
    if (i.imm == 0) return nullptr;
  }
  if (Handler h = shift_handler(d.op, form, size)) return h;
  return other_handler(d.op, form, size);
}

namespace {

// What an instruction does to the arithmetic flags. kWritesAll: to all six, reading none. kKeepsSome: writes some.
enum class FlagUse : uint8_t { kNone, kWritesAll, kKeepsSome, kOther };
FlagUse flag_use(Op op) {
  switch (op) {
    case Op::k_mov:
    case Op::k_lea:
    case Op::k_movzx:
    case Op::k_movsx:
    case Op::k_movsxd:
    case Op::k_xchg:
    case Op::k_bswap:
    case Op::k_not:
    case Op::k_nop:
    case Op::k_cdqe:
    case Op::k_cwde:
    case Op::k_cdq:
    case Op::k_cqo: return FlagUse::kNone;
    case Op::k_add:
    case Op::k_or:
    case Op::k_and:
    case Op::k_sub:
    case Op::k_xor:
    case Op::k_cmp:
    case Op::k_test:
    case Op::k_neg:
    case Op::k_shl:
    case Op::k_shr:
    case Op::k_sar:
    case Op::k_imul: return FlagUse::kWritesAll;
    case Op::k_rol:
    case Op::k_ror:
    case Op::k_inc:
    case Op::k_dec: return FlagUse::kKeepsSome;
    default: return FlagUse::kOther;
  }
}

}  // namespace

// Gives instructions whose flags nobody sees a handler that does not compute them: those followed, in the same block,
// by one that writes all flags, with only register operations in between, which can neither read flags nor fault nor
// leave.
void silence(Insn* insns, const Decoded* decoded, const bool* is_plain, const Form* forms, unsigned n) {
  bool seen = true;
  for (unsigned k = n; k-- > 0;) {
    const Decoded& d = decoded[k];
    const FlagUse use =
        is_plain[k] || (d.has_mem && d.op != Op::k_lea && d.op != Op::k_nop) ? FlagUse::kOther : flag_use(d.op);
    if (use == FlagUse::kOther) {
      seen = true;
      continue;
    }
    // A count in CL may be zero, and then no flag is written.
    const bool by_cl = is_shift(d.op) && forms[k] == Form::kRR;
    if (!seen && use != FlagUse::kNone)
      if (Handler quiet = quiet_handler(d.op, forms[k], d.operands[0].size)) insns[k].fn = quiet;
    if (use == FlagUse::kWritesAll && !by_cl) seen = false;
  }
}

}  // namespace dejavm::soft
