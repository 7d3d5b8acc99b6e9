// From guest code to a block: where it ends, and what stands in it.
#include <algorithm>

#include "vmm/soft/blocks/lower.h"
#include "vmm/soft/blocks/plain.h"
#include "vmm/soft/mmu.h"
#include "vmm/soft/translate/translator.h"

namespace dejavm::soft {

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
    fit_to_cpu(c, d);
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
