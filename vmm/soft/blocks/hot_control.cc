// Leaving a block: branches, calls, returns, and the way from block to block.
#include "vmm/soft/blocks/hot.h"

namespace dejavm::soft {
namespace {

// The return address or target of a 64-bit near branch that succeeded: *i is complete.
inline void complete(Cpu& c, const Insn* i) { c.block_base += i->n + 1u; }

const Insn* jmp_direct(Cpu& c, const Insn* i) {
  complete(c, i);
  if (const Block* b = linked(c, i)) {
    c.r[kSlotRip] += static_cast<uint64_t>(int64_t{i->disp});
    DEJAVM_GO(b->first);
  }
  DEJAVM_JUMP(go_on_and_link(c, i));
}

const Insn* call_direct(Cpu& c, const Insn* i) {
  const uint64_t sp = c.r[kRsp] - 8;
  auto* p = writable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = c.r[kSlotRip] + i->off + i->len;
  c.r[kRsp] = sp;
  complete(c, i);
  if (const Block* b = linked(c, i)) {
    c.r[kSlotRip] += static_cast<uint64_t>(int64_t{i->disp});
    DEJAVM_GO(b->first);
  }
  DEJAVM_JUMP(go_on_and_link(c, i));
}

// In line: the common way from block to block that is not a link. `guess`: the block that was entered from there last,
// as its place in the arena; what it saves is the table's cache line.
inline const Insn* enter(Cpu& c, uint64_t rip, const uint32_t& guess) {
  if (DEJAVM_UNLIKELY(!fetch_page_at_hand(c, rip & ~uint64_t{0xfff}))) {
    c.rip = rip;
    return nullptr;
  }
  const uint64_t key = block_key(c.fetch_gpa | (rip & 0xfff), CodeMode::k64);
  const Block* b = c.blocks->at(guess);
  if (DEJAVM_UNLIKELY(b->key != key)) {
    b = c.blocks->table[block_slot(key)];
    if (DEJAVM_UNLIKELY(b->key != key)) {
      c.rip = rip;
      return nullptr;
    }
    const_cast<uint32_t&>(guess) = c.blocks->place(b);
  }
  if (DEJAVM_UNLIKELY(c.block_base + b->count > c.limit)) {
    c.rip = rip;
    return nullptr;
  }
  c.r[kSlotRip] = rip;
  return b->first;
}

#define DEJAVM_ENTER(rip)                                \
  const Insn* first = enter(c, rip, i->guess);           \
  if (DEJAVM_UNLIKELY(first == nullptr)) return nullptr; \
  DEJAVM_GO(first)

const Insn* jmp_r(Cpu& c, const Insn* i) {
  const uint64_t target = reg_at<uint64_t>(c, i->dst);
  if (DEJAVM_UNLIKELY(!Cpu::canonical(target))) DEJAVM_JUMP(slow(c, i));
  complete(c, i);
  DEJAVM_ENTER(target);
}

const Insn* jmp_m(Cpu& c, const Insn* i) {
  const auto* p = readable<uint64_t>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  const uint64_t target = *p;
  if (DEJAVM_UNLIKELY(!Cpu::canonical(target))) DEJAVM_JUMP(slow(c, i));
  complete(c, i);
  DEJAVM_ENTER(target);
}

const Insn* call_r(Cpu& c, const Insn* i) {
  const uint64_t target = reg_at<uint64_t>(c, i->dst), sp = c.r[kRsp] - 8;
  auto* p = writable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr || !Cpu::canonical(target))) DEJAVM_JUMP(slow(c, i));
  *p = c.r[kSlotRip] + i->off + i->len;
  c.r[kRsp] = sp;
  complete(c, i);
  DEJAVM_ENTER(target);
}

const Insn* call_m(Cpu& c, const Insn* i) {
  const auto* from = readable<uint64_t>(c, address_of(c, i));
  const uint64_t sp = c.r[kRsp] - 8;
  auto* p = writable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr || from == nullptr || !Cpu::canonical(*from))) DEJAVM_JUMP(slow(c, i));
  const uint64_t target = *from;
  *p = c.r[kSlotRip] + i->off + i->len;
  c.r[kRsp] = sp;
  complete(c, i);
  DEJAVM_ENTER(target);
}

const Insn* ret(Cpu& c, const Insn* i) {
  const uint64_t sp = c.r[kRsp];
  const auto* p = readable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  const uint64_t target = *p;
  if (DEJAVM_UNLIKELY(!Cpu::canonical(target))) DEJAVM_JUMP(slow(c, i));
  c.r[kRsp] = sp + 8;
  complete(c, i);
  DEJAVM_ENTER(target);
}

}  // namespace

const Insn* go_on_and_link(Cpu& c, const Insn* i) {
  const uint64_t from = c.r[kSlotRip], rip = from + static_cast<uint64_t>(int64_t{i->disp});
  const Insn* first = enter(c, rip, i->direct_guess);
  if (first == nullptr) return nullptr;
  if (((rip ^ from) & ~uint64_t{0xfff}) == 0) {
    const_cast<Insn*>(i)->imm = reinterpret_cast<uint64_t>(c.blocks->at(i->direct_guess));
  }
  DEJAVM_GO(first);
}

const Insn* block_end(Cpu& c, const Insn* i) {
  c.block_base += i->n;
  if (const Block* b = linked(c, i)) {
    c.r[kSlotRip] += static_cast<uint64_t>(int64_t{i->disp});
    DEJAVM_GO(b->first);
  }
  DEJAVM_JUMP(go_on_and_link(c, i));
}

Handler jump_handler(Op op, Form form) {
  if (op == Op::k_jmp)
    return form == Form::kRI ? jmp_direct : form == Form::kR ? jmp_r : form == Form::kM ? jmp_m : nullptr;
  if (op == Op::k_call)
    return form == Form::kRI ? call_direct : form == Form::kR ? call_r : form == Form::kM ? call_m : nullptr;
  if (op == Op::k_ret) return form == Form::kR ? ret : nullptr;
  return nullptr;
}

}  // namespace dejavm::soft
