// Which instruction is made by what.
#include "vmm/soft/blocks/hot.h"
#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

namespace dejavm::soft {

Emitter::Done Emitter::insn(unsigned k) {
  const Decoded& d = block_->work.decoded[k];
  const Op next = k + 1 < block_->work.decoded.size() ? block_->work.decoded[k + 1].op : Op::kInvalid;
  block_->insn = {
      .number = k,
      .flags_wanted = block_->wanted_flags[k],
      .next_reads = next == Op::k_jcc || next == Op::k_setcc || next == Op::k_cmovcc,
  };
  if (d.op != Op::k_jcc) block_->unsaved.reset();
  if (d.op == Op::k_movzx && d.operands[1].kind == OperandKind::kGprHigh && d.operands[0].size >= 4) {
    mov(edx, in_register(d.operands[1].reg, 4, 2));
    movzx(edx, dx);
    shr(edx, 8);
    block_->host_flags = false;
    write_guest(d.operands[0].reg, 4, edx);
    return Done::kYes;
  }
  for (unsigned n = 0; n < d.operand_count; ++n)
    if (d.operands[n].kind == OperandKind::kGprHigh) return high_byte(d);
  return by_operation(d);
}

Emitter::Done Emitter::by_operation(const Decoded& d) {
  switch (d.op) {
    case Op::k_bt:
    case Op::k_bts:
    case Op::k_btr:
    case Op::k_btc: return bit_test(d);
    case Op::k_bsf:
    case Op::k_bsr:
    case Op::k_popcnt: return bit_scan(d);
    case Op::k_cmpxchg:
    case Op::k_xadd: return exchange_memory(d);
    case Op::k_div: return divide(d);
    case Op::k_shld:
    case Op::k_shrd: return double_shift(d);
    case Op::k_prefetch:
    case Op::k_rdtsc:
    case Op::k_rdtscp:
    case Op::k_cli:
    case Op::k_clac:
    case Op::k_stac:
    case Op::k_swapgs:
    case Op::k_mov_from_seg:
    case Op::k_fnstcw:
    case Op::k_pushf: return system(d);
    case Op::k_movs:
    case Op::k_stos: return repeat(d);
    case Op::k_mov: return move(d);
    case Op::k_movzx:
    case Op::k_movsx:
    case Op::k_movsxd: return extend(d);
    case Op::k_lea: return load_address(d);
    case Op::k_add:
    case Op::k_or:
    case Op::k_adc:
    case Op::k_sbb:
    case Op::k_and:
    case Op::k_sub:
    case Op::k_xor:
    case Op::k_cmp:
    case Op::k_test: return alu(d);
    case Op::k_inc:
    case Op::k_dec:
    case Op::k_neg:
    case Op::k_not: return unary(d);
    case Op::k_shl:
    case Op::k_shr:
    case Op::k_sar:
    case Op::k_rol:
    case Op::k_ror: return shift(d);
    case Op::k_imul:
    case Op::k_mul: return multiply(d);
    case Op::k_setcc:
    case Op::k_cmovcc: return conditional(d);
    case Op::k_nop:
    case Op::k_pause:
    case Op::k_cdqe:
    case Op::k_cwde:
    case Op::k_cdq:
    case Op::k_cqo:
    case Op::k_bswap:
    case Op::k_xchg: return exchange(d);
    case Op::k_push:
    case Op::k_pop:
    case Op::k_leave: return stack(d);
    case Op::k_jcc:
    case Op::k_jmp:
    case Op::k_call:
    case Op::k_ret: return control(d);
    default: return op_group(d.op) == OpGroup::kSse ? vector(d) : Done::kNo;
  }
}

}  // namespace dejavm::soft
