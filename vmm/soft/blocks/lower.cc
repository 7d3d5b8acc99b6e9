// From decoded instructions to blocks of Insns: which handler each gets, and where a block ends.
#include <algorithm>

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/blocks/hot.h"
#include "vmm/soft/integer/exec_string.h"
#include "vmm/soft/mmu.h"
#include "vmm/soft/run.h"
#include "vmm/soft/translate/translator.h"

namespace dejavm::soft {
namespace {

// --- plain operations ---

inline void sync(Cpu& c, const Insn* i) {
  c.insn = i;
  c.rip = c.r[kSlotRip] + i->off;
  c.retired = c.block_base + i->n;
  c.next_rip = c.rip + i->len;
}

inline const Insn* leave_after(Cpu& c) {
  c.rip = c.next_rip;
  c.block_base = c.retired + 1;
  c.mmio_allowed = false;
  return nullptr;
}

// What Insn::imm leads to where the plain function executes.
struct Plain {
  ExecFn execute;
  Decoded d;
};
inline const Plain& plain_of(const Insn* i) { return *reinterpret_cast<const Plain*>(i->imm); }

const Insn* plain(Cpu& c, const Insn* i) {
  sync(c, i);
  const Plain& p = plain_of(i);
  p.execute(c, p.d);
  DEJAVM_NEXT();
}

const Insn* plain_end(Cpu& c, const Insn* i) {
  sync(c, i);
  c.mmio_allowed = true;
  const Plain& p = plain_of(i);
  p.execute(c, p.d);
  return leave_after(c);
}

// An instruction across the end of its page, in 64-bit code: what is in the next page is seen anew each time. imm:
// Decoded.
const Insn* across_pages(Cpu& c, const Insn* i) {
  sync(c, i);
  Decoded& d = *reinterpret_cast<Decoded*>(i->imm);
  fetch_across(c, d);
  if (d.op == Op::kInvalid && c.strict) throw LeaveBlock{};  // for the run loop to stop at
  c.next_rip = c.rip + d.len;
  c.mmio_allowed = true;
  exec_function(d.op)(c, d);
  return leave_after(c);
}

// REP string operations: as many iterations at once as the limit and the fast path allow, else one.
const Insn* rep_end(Cpu& c, const Insn* i) {
  sync(c, i);
  c.mmio_allowed = true;
  const Plain& p = plain_of(i);
  if (const uint64_t done = bulk_string(c, p.d, c.limit - c.retired); done != 0) c.retired += done - 1;
  else p.execute(c, p.d);
  return leave_after(c);
}

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

}  // namespace

namespace {

// Specialised handlers are of 64-bit mode.
const Decoded& decode_again(Cpu& c, const Insn* i) {
  sync(c, i);
  BlockCache::Again& a = c.blocks->again[(reinterpret_cast<uintptr_t>(i) / sizeof(Insn)) % BlockCache::kAgain];
  if (a.insn == i) return a.d;
  set_fetch_page(c, c.rip);
  CHECK(decode({fetch_host_page(c, c.fetch_gpa) + (c.rip & 0xfff), i->len}, CodeMode::k64, a.d) == DecodeStatus::kOk);
  fit_to_model(*c.model, a.d);
  a.insn = i;
  return a.d;
}

// slow() for an instruction that is known to access MMIO.
const Insn* slow_end(Cpu& c, const Insn* i) {
  const Decoded& d = decode_again(c, i);
  c.mmio_allowed = true;
  exec_function(d.op)(c, d);
  return leave_after(c);
}

}  // namespace

void end_block_at(const Insn* i) {
  auto* insn = const_cast<Insn*>(i);
  if (insn->fn == leave_before || insn->fn == across_pages) return;  // overwritten meanwhile; ends its block anyway
  insn->fn = insn->fn == plain ? plain_end : slow_end;
}

const Insn* slow(Cpu& c, const Insn* i) {
  const Decoded& d = decode_again(c, i);
  const bool end = ends_block(d);
  c.mmio_allowed = end;
  exec_function(d.op)(c, d);
  if (end) return leave_after(c);
  DEJAVM_NEXT();
}

bool execute_alone(Cpu& c, const Insn* i) {
  if (i->fn == plain) {
    sync(c, i);
    const Plain& p = plain_of(i);
    p.execute(c, p.d);
    return false;
  }
  if (i->fn == plain_end) {
    plain_end(c, i);
    return true;
  }
  if (i->fn == rep_end) {
    rep_end(c, i);
    return true;
  }
  if (i->fn == slow_end) {
    slow_end(c, i);
    return true;
  }
  if (i->fn == across_pages) {
    across_pages(c, i);
    return true;
  }
  const Decoded& d = decode_again(c, i);
  const bool end = ends_block(d);
  c.mmio_allowed = end;
  exec_function(d.op)(c, d);
  if (end) leave_after(c);
  return end;
}

// No block begins or goes on at a place in its page at which a debug point is in any: so the run loop comes to each of
// them.
static bool debug_point_at(const Cpu& c, uint64_t place) {
  if (c.debug == nullptr) return false;
  if (c.debug->passing && (c.debug->known_address & 0xfff) == place) return true;
  return std::any_of(c.debug->code.begin(), c.debug->code.end(),
                     [&](uint64_t linear) { return (linear & 0xfff) == place; });
}

// The block of these Insns, the end pseudo-instruction included; nullptr: the arena is full.
static Block* enter(Cpu& c, uint64_t start, std::span<const Insn> insns, unsigned count, unsigned len_bytes) {
  BlockCache& cache = *c.blocks;
  const unsigned front = c.translator != nullptr && c.code_mode != CodeMode::k16 ? 1 : 0;
  Block* block = static_cast<Block*>(cache.allocate(sizeof(Block)));
  Insn* first = static_cast<Insn*>(cache.allocate((front + insns.size()) * sizeof(Insn)));
  if (block == nullptr || first == nullptr) return nullptr;
  if (front) {
    first[0] = Insn{};
    first[0].fn = count_block;
    first[0].imm = reinterpret_cast<uint64_t>(block);
  }
  std::copy(insns.begin(), insns.end(), first + front);
  *block = Block{block_key(start, c.code_mode),
                 static_cast<uint16_t>(count),
                 static_cast<uint16_t>(len_bytes),
                 front + static_cast<uint32_t>(insns.size()),
                 nullptr,
                 first,
                 0};
  blocks_insert(c, block);
  return block;
}

static Block* make_block_across(Cpu& c, uint64_t start) {
  void* room = c.blocks->allocate(sizeof(Decoded));
  if (room == nullptr) return nullptr;
  Insn insn{};
  insn.fn = across_pages;
  insn.imm = reinterpret_cast<uint64_t>(new (room) Decoded{});
  return enter(c, start, {&insn, 1}, 1, 4096 - static_cast<unsigned>(start & 0xfff));
}

namespace {

// A block that is being made.
struct Draft {
  uint64_t start = 0;  // physical
  unsigned count = 0;  // instructions
  uint16_t len = 0;    // their bytes
  unsigned branches = 0;
  bool ended = false;
  Insn insns[kBlockInsns + 1];
  Decoded decoded[kBlockInsns];
  bool is_plain[kBlockInsns];
  Form forms[kBlockInsns] = {};
};

// CMP or TEST and the branch behind it in one handler, where there is one.
void fuse_with_branch(Draft& b, const Decoded& branch) {
  const Decoded& before = b.decoded[b.count - 1];
  if (before.op != Op::k_cmp && before.op != Op::k_test) return;
  Form form;
  Insn scratch = b.insns[b.count - 1];
  if (!lower_operands(before, scratch, form)) return;
  const Handler fused = fused_handler(before.op, simplest(form, scratch), before.operands[0].size, branch.cc);
  if (fused != nullptr) b.insns[b.count - 1].fn = fused;
}

// One more instruction, which stands decoded at its place.
void add_instruction(Cpu& c, Draft& b) {
  const unsigned n = b.count;
  const Decoded& d = b.decoded[n];
  Insn& i = b.insns[n];
  i = Insn{};
  i.n = static_cast<uint8_t>(n);
  i.len = d.len;
  i.off = b.len;
  i.seg = d.seg;
  const Handler special = c.code_mode == CodeMode::k64 ? specialise(d, i, b.forms[n]) : nullptr;
  b.ended = ends_block(d);
  b.is_plain[n] = special == nullptr;
  if (special == nullptr) i.fn = repeats(d) ? rep_end : b.ended ? plain_end : plain;
  else i.fn = special;
  if (special != nullptr && d.op == Op::k_jcc) {
    b.ended = ++b.branches == kBlockBranches;
    if (n > 0 && !b.is_plain[n - 1]) fuse_with_branch(b, d);
  }
  b.len = static_cast<uint16_t>(b.len + d.len);
  ++b.count;
}

// The pseudo-instruction at the end: goes on where the block stops short. In 16- and 32-bit code, to the run loop.
void add_end(Cpu& c, Draft& b) {
  Insn& end = b.insns[b.count];
  end = Insn{};
  end.n = static_cast<uint8_t>(b.count);
  end.off = b.len;
  end.disp = b.len;
  end.fn = c.code_mode == CodeMode::k64 ? block_end : leave_before;
}

// Plain operations keep their Decoded. False: the arena is full.
bool keep_decoded(BlockCache& cache, Draft& b) {
  for (unsigned k = 0; k < b.count; ++k) {
    if (!b.is_plain[k]) continue;
    auto* copy = static_cast<Plain*>(cache.allocate(sizeof(Plain)));
    if (copy == nullptr) return false;
    *copy = {exec_function(b.decoded[k].op), b.decoded[k]};
    b.insns[k].imm = reinterpret_cast<uint64_t>(copy);
  }
  return true;
}

}  // namespace

Block* make_block(Cpu& c) {
  Draft b;
  b.start = c.fetch_gpa | ((c.code_mode == CodeMode::k64 ? c.rip : c.s.segment[kCs].base + c.rip) & 0xfff);
  const uint8_t* page = c.memory->page(Gpa{b.start});
  if (page == nullptr) return nullptr;
  while (b.count < kBlockInsns && !b.ended) {
    const uint64_t at = (b.start & 0xfff) + b.len;
    if (at >= 4096 || debug_point_at(c, at)) break;
    Decoded& d = b.decoded[b.count];
    const size_t here = std::min<size_t>(15, 4096 - at);
    const DecodeStatus status = decode({page + at, here}, c.code_mode, d);
    if (status == DecodeStatus::kTruncated && b.count == 0 && here < 15 && c.code_mode == CodeMode::k64)
      return make_block_across(c, b.start);
    if (status != DecodeStatus::kOk) break;
    fit_to_model(*c.model, d);
    if (d.op == Op::kInvalid && b.count > 0) break;  // alone in its block, so that --strict sees it first
    if (d.op == Op::kInvalid) return nullptr;
    add_instruction(c, b);
  }
  if (b.count == 0) return nullptr;
  if (c.code_mode == CodeMode::k64) silence(b.insns, b.decoded, b.is_plain, b.forms, b.count);
  add_end(c, b);
  if (!keep_decoded(*c.blocks, b)) return nullptr;
  return enter(c, b.start, {b.insns, b.count + 1}, b.count, b.len);
}

}  // namespace dejavm::soft
