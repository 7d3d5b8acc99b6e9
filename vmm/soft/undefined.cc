#include "vmm/soft/undefined.h"

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

uint64_t undefined_flags(const Decoded& d, uint64_t rcx) {
  const unsigned size = d.operands[0].size;
  const Operand& last = d.operands[d.operand_count ? d.operand_count - 1u : 0u];
  const uint64_t count = (last.kind == OperandKind::kImm ? d.imm : rcx) & (size == 8 ? 63 : 31);
  switch (d.op) {
    case Op::k_mul:
    case Op::k_imul: return kSF | kZF | kAF | kPF_;
    case Op::k_div:
    case Op::k_idiv: return kArithFlags;
    case Op::k_and:
    case Op::k_or:
    case Op::k_xor:
    case Op::k_test: return kAF;
    case Op::k_bt:
    case Op::k_bts:
    case Op::k_btr:
    case Op::k_btc: return kOF_ | kSF | kAF | kPF_;
    case Op::k_bsf:
    case Op::k_bsr: return kOF_ | kSF | kAF | kPF_ | kCF;
    case Op::k_tzcnt:
    case Op::k_lzcnt: return kOF_ | kSF | kAF | kPF_;
    case Op::k_andn:
    case Op::k_blsr:
    case Op::k_blsmsk:
    case Op::k_blsi:
    case Op::k_bzhi: return kAF | kPF_;
    case Op::k_aaa:
    case Op::k_aas: return kOF_ | kSF | kZF | kPF_;
    case Op::k_daa:
    case Op::k_das: return kOF_;
    case Op::k_aam:
    case Op::k_aad: return kOF_ | kAF | kCF;
    case Op::k_bextr: return kSF | kAF | kPF_;
    case Op::k_shl:
    case Op::k_shr:
      return count == 0 ? 0 : kAF | (count != 1 ? uint64_t{kOF_} : 0) | (count >= 8 * size ? uint64_t{kCF} : 0);
    case Op::k_sar: return count == 0 ? 0 : kAF | (count != 1 ? uint64_t{kOF_} : 0);
    case Op::k_rol:
    case Op::k_ror:
    case Op::k_rcl:
    case Op::k_rcr: return count != 1 ? uint64_t{kOF_} : 0;
    case Op::k_shld:
    case Op::k_shrd: return count == 0 ? 0 : count > 8 * size ? kArithFlags : kAF | (count != 1 ? uint64_t{kOF_} : 0);
    default: return 0;
  }
}

bool destination_is_undefined(const Decoded& d, uint64_t rcx) {
  if (d.op != Op::k_shld && d.op != Op::k_shrd) return false;
  const Operand& last = d.operands[2];
  return d.operands[0].size == 2 && ((last.kind == OperandKind::kImm ? d.imm : rcx) & 31) > 16;
}

}  // namespace dejavm::soft
