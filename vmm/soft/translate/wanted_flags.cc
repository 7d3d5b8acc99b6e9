// Which instructions of a block must leave their flags.
#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

namespace dejavm::soft {

namespace {

// What an instruction that looks at no flag does to them.
enum class FlagWrites : uint8_t {
  kUnknown,  // it may look at some, or leave before it is complete
  kSome,     // some or none
  kAll,
};

FlagWrites flag_writes(const Decoded& d) {
  const bool by_imm = d.operand_count > 1 && is_imm(d.operands[d.operand_count - 1]);
  const bool counts = by_imm && (d.imm & (d.operands[0].size == 8 ? 63 : 31)) != 0;
  switch (d.op) {
    // Of these all forms with registers have code, except immediates of 64 bits, which there are none of.
    case Op::k_add:
    case Op::k_or:
    case Op::k_and:
    case Op::k_sub:
    case Op::k_xor:
    case Op::k_cmp:
    case Op::k_test:
    case Op::k_neg:
    case Op::k_popcnt: return FlagWrites::kAll;
    case Op::k_shl:
    case Op::k_shr:
    case Op::k_sar:
    case Op::k_shld:
    case Op::k_shrd: return d.operands[0].size >= 4 && counts ? FlagWrites::kAll : FlagWrites::kUnknown;
    case Op::k_imul: return d.operand_count >= 2 && d.operands[0].size >= 4 ? FlagWrites::kAll : FlagWrites::kUnknown;
    case Op::k_inc:
    case Op::k_dec:
    case Op::k_rol:
    case Op::k_ror:
    case Op::k_bt:
    case Op::k_bts:
    case Op::k_btr:
    case Op::k_btc:
    case Op::k_mov:
    case Op::k_lea:
    case Op::k_movzx:
    case Op::k_movsx:
    case Op::k_movsxd:
    case Op::k_nop:
    case Op::k_cdqe:
    case Op::k_cwde:
    case Op::k_cdq:
    case Op::k_cqo:
    case Op::k_bswap:
    case Op::k_not: return FlagWrites::kSome;
    default: return FlagWrites::kUnknown;
  }
}

bool has_high_byte(const Decoded& d) {
  for (unsigned n = 0; n < d.operand_count; ++n)
    if (d.operands[n].kind == OperandKind::kGprHigh) return true;
  return false;
}

}  // namespace

// An instruction's flags are wanted unless, before anything could look, all of them are overwritten: by an instruction
// that has no other way but to complete.
void Emitter::find_wanted_flags() {
  const auto& insns = block_->work.decoded;
  auto& wanted = block_->wanted_flags;
  wanted.assign(insns.size(), Wanted::kYes);
  Wanted seen = Wanted::kYes;
  for (size_t k = insns.size(); k-- > 0;) {
    const Decoded& d = insns[k];
    wanted[k] = seen;
    if (has_high_byte(d) || (d.has_mem && d.op != Op::k_lea && d.op != Op::k_nop)) {
      seen = Wanted::kYes;
      continue;
    }
    const FlagWrites writes = flag_writes(d);
    if (d.op == Op::k_jcc && d.op_size == width()) seen = seen == Wanted::kYes ? Wanted::kYes : Wanted::kBranches;
    else if (writes == FlagWrites::kAll) seen = Wanted::kNo;
    else if (writes == FlagWrites::kUnknown || seen == Wanted::kBranches) seen = Wanted::kYes;
  }
}

}  // namespace dejavm::soft
