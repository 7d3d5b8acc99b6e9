#include "vmm/soft/translate/translator.h"

#include <algorithm>

#include "vmm/soft/blocks/hot.h"
#include "vmm/soft/mmu.h"
#include "vmm/soft/run.h"
#include "vmm/soft/translate/emit.h"

namespace dejavm::soft {
namespace {

constexpr size_t kRoomForBlock = 32 << 10;  // more than any block's code
constexpr int64_t kMaxLeft = int64_t{1} << 62;

// Code of 32-bit blocks takes addresses as they are. What could change this ends a block.
bool code_can_run(const Cpu& c) {
  if (c.code_mode == CodeMode::k64) return true;
  auto flat = [&](unsigned seg) { return c.s.segment[seg].base == 0 && c.s.segment[seg].limit == 0xffffffff; };
  auto flat_data = [&](unsigned seg) {
    return flat(seg) && (c.s.segment[seg].attributes & kDataMask) == kWritableData;
  };
  return flat(kCs) && flat_data(kSs) && (c.s.segment[kSs].attributes & kSegDb) && flat_data(kDs) && flat_data(kEs);
}

uint64_t slow_helper(Cpu* c, uint32_t site);
const void* go_helper(Cpu* c, uint64_t rip, uint32_t link);

}  // namespace

struct Translator::Impl {
  TranslateOptions options;
  std::unique_ptr<CodeMemory> memory;
  Helpers helpers{slow_helper, go_helper};
  std::unique_ptr<Emitter> emit;
  size_t shared_bytes = 0;
  uint64_t blocks = 0;
  void (*enter)(Cpu*, const void* code) = nullptr;
  std::vector<Code> codes{1};  // 0: none
  std::vector<LinkSite> links;
  // What ended a run of generated code besides having got somewhere.
  enum class Pending : uint8_t { kNothing, kFault, kLeaveBlock } pending = Pending::kNothing;
  GuestFault fault{};
  const Insn* resume = nullptr;  // where the interpreter goes on

  static void start_countdown(Cpu& c) {
    c.left = static_cast<int64_t>(std::min<uint64_t>(c.limit - c.block_base, kMaxLeft));
    c.left_end = c.block_base + static_cast<uint64_t>(c.left);
  }
  const uint8_t* at(uint32_t offset) const { return memory->executable() + offset; }
  uint32_t offset(const uint8_t* code) const { return static_cast<uint32_t>(code - memory->executable()); }
};

Translator::Translator() : impl_(std::make_unique<Impl>()) {}
Translator::~Translator() = default;

Result<std::unique_ptr<Translator>> Translator::create(const TranslateOptions& options) {
  auto memory = CodeMemory::create(options.cache_bytes);
  if (!memory) return memory.error();
  std::unique_ptr<Translator> t(new Translator);
  Impl& m = *t->impl_;
  m.options = options;
  m.memory = memory.take();
  m.emit = std::make_unique<Emitter>(m.memory->writable(), m.memory->bytes(), m.helpers);
  m.emit->shared_routines();
  m.shared_bytes = m.emit->getSize();
  m.enter = reinterpret_cast<void (*)(Cpu*, const void*)>(
      reinterpret_cast<uintptr_t>(m.memory->executable() + m.emit->enter_routine()));
  return t;
}

bool Translator::translate(Cpu& c, Block* block) {
  Impl& m = *impl_;
  if (m.emit->getSize() + kRoomForBlock > m.memory->bytes()) {
    c.blocks->full = true;
    return false;
  }
  const uint8_t* page = c.memory->page(Gpa{block->key >> 2});
  Work w;
  w.code = static_cast<uint32_t>(m.codes.size());
  w.rip = c.r[kSlotRip];
  w.mode32 = c.code_mode == CodeMode::k32;
  w.insns = block->first + 1;
  w.decoded.resize(block->count);
  for (unsigned k = 0; k < block->count; ++k) {
    if (w.insns[k].len == 0) continue;  // across pages: nothing to translate
    CHECK(decode({page + ((block->key >> 2) & 0xfff) + w.insns[k].off, w.insns[k].len}, c.code_mode, w.decoded[k]) ==
          DecodeStatus::kOk);
    fit_to_cpu(c, w.decoded[k]);
  }
  ++m.blocks;
  Code& code = m.codes.emplace_back();
  code.rip = w.rip;
  code.block = block;
  code.entry = m.at(m.emit->block(w, m.links, code.dead));
  block->code = w.code;
  block->first->fn = enter_block;
  return true;
}

void Translator::kill(Block* block) {
  Impl& m = *impl_;
  Code& code = m.codes[block->code];
  for (const uint32_t site : code.links) m.emit->patch_jump(m.links[site].jump, m.links[site].stub);
  code.links.clear();
  // Whoever still comes here, by the jump cache, goes to look for what is there now.
  const uint32_t entry = m.offset(code.entry);
  m.memory->writable()[entry] = 0xe9;
  m.emit->patch_jump(entry + 1, code.dead);
  code.entry = nullptr;
  block->code = 0;
  if (block->first->fn == enter_block) {
    block->first->fn = count_block;
    block->first->extra = 0;
  }
}

void Translator::clear() {
  Impl& m = *impl_;
  m.codes.resize(1);
  m.links.clear();
  m.emit->setSize(m.shared_bytes);
}

Translator::Counts Translator::counts() const { return {impl_->blocks, impl_->emit->helper_calls()}; }

void Translator::set_threshold(unsigned threshold) { impl_->options.threshold = threshold; }

#ifdef __clang__
[[clang::no_sanitize("function")]]  // generated code has no type
#endif
const Insn*
enter_block(Cpu& c, const Insn* i) {
  Translator::Impl& m = c.translator->impl();
  const Block* block = reinterpret_cast<const Block*>(i->imm);
  const Code& code = m.codes[block->code];
  if (code.rip != c.r[kSlotRip] || !code_can_run(c)) DEJAVM_NEXT();
  m.start_countdown(c);
  m.resume = nullptr;
  m.enter(&c, code.entry);
  using Pending = Translator::Impl::Pending;
  if (m.pending != Pending::kNothing) {
    const auto what = m.pending;
    m.pending = Pending::kNothing;
    if (what == Pending::kFault) throw GuestFault(m.fault);
    throw LeaveBlock{};
  }
  if (m.resume == nullptr) return nullptr;
  DEJAVM_GO(m.resume);
}

const Insn* count_block(Cpu& c, const Insn* i) {
  auto* counter = const_cast<Insn*>(i);
  if (++counter->extra >= c.translator->impl().options.threshold) {
    counter->extra = 0;
    if (code_can_run(c) && c.translator->translate(c, reinterpret_cast<Block*>(i->imm))) DEJAVM_JUMP(enter_block(c, i));
  }
  DEJAVM_NEXT();
}

namespace {

using Pending = Translator::Impl::Pending;

// At c.rip, block_base: whether the run loop would do nothing but go on. If so, all is ready for that.
bool may_go_on(Cpu& c) {
  c.retired = c.block_base;
  if (!nothing_due(c)) return false;
  choose_fast(c);
  c.limit = c.control->until.value;
  c.mmio_allowed = false;
  return true;
}

// Goes on at c.rip, block_base, where the run loop would only find the next block: code, or nullptr to leave, perhaps
// for the interpreter's block in m.resume.
const void* next_block(Translator::Impl& m, Cpu& c) {
  if (!may_go_on(c)) return nullptr;
  const Block* b = find_block(c);
  if (b == nullptr) return nullptr;
  c.r[kSlotRip] = c.rip;
  m.start_countdown(c);
  if (b->code != 0 && m.codes[b->code].rip == c.rip && code_can_run(c)) return m.codes[b->code].entry;
  m.resume = b->first;
  return nullptr;
}

// c.rip is behind an instruction that ended `b`. Whether nothing keeps the code behind it from going on.
bool goes_straight_on(Cpu& c, const Block& b) {
  const uint64_t gpa = b.key >> 2;
  if (c.code_mode != CodeMode::k64 || (c.rip & 0xfff) < (gpa & 0xfff) ||
      !fetch_page_at_hand(c, c.rip & ~uint64_t{0xfff}) || c.fetch_gpa != (gpa & ~uint64_t{0xfff}))
    return false;
  return may_go_on(c);
}

// Behind an STI: executes the next instruction, which its shadow covers, as the run loop would. If anything is due,
// does nothing.
void step_over_shadow(Cpu& c) {
  c.s.sti_shadow = false;
  const bool due = !may_go_on(c);
  c.s.sti_shadow = true;
  if (due) return;
  const Block* b = find_block(c);
  if (b == nullptr || c.code_mode == CodeMode::k16) return;
  const Insn* i = b->first + 1;
  if (i->len == 0) return;  // across pages: its fetch may fault, in the shadow
  c.r[kSlotRip] = c.rip;
  c.s.sti_shadow = false;
  try {
    if (!execute_alone(c, i)) {
      c.rip = c.next_rip;
      c.block_base = c.retired + 1;
    }
  } catch (const LeaveBlock&) {
    c.s.sti_shadow = true;
    throw;
  }
}

uint64_t slow_helper(Cpu* c, uint32_t site) {
  Translator::Impl& m = c->translator->impl();
  const uint32_t index = site / kSiteInsns;
  const Block* block = m.codes[index].block;
  const Insn* i = block->first + 1 + site % kSiteInsns;
  c->r[kSlotRip] = m.codes[index].rip;
  c->block_base = c->left_end - static_cast<uint64_t>(c->left) - block->count;
  try {
    if (!execute_alone(*c, i)) {
      if (m.codes[index].entry != nullptr) return kGoOn;
      // The block was overwritten, perhaps by this very instruction.
      c->rip = c->next_rip;
      c->block_base = c->retired + 1;
    } else if (m.codes[index].entry != nullptr && i->n + 1 == block->count && i->len != 0 &&
               c->rip == m.codes[index].rip + i->off + i->len && goes_straight_on(*c, *block)) {
      m.start_countdown(*c);
      return kGoOn;
    }
    if (c->s.sti_shadow) step_over_shadow(*c);
    const void* code = next_block(m, *c);
    return code != nullptr ? reinterpret_cast<uint64_t>(code) : kLeave;
  } catch (const GuestFault& f) {
    m.pending = Pending::kFault;
    m.fault = f;
  } catch (const LeaveBlock&) {
    m.pending = Pending::kLeaveBlock;
    if (m.codes[index].entry != nullptr) c->translator->kill(const_cast<Block*>(block));  // it ends there from now on
  }
  return kLeave;
}

// As the interpreter's way from block to block.
const Block* find(Cpu& c, uint64_t rip) {
  if (!fetch_page_at_hand(c, rip & ~uint64_t{0xfff})) return nullptr;
  const uint64_t key = block_key(c.fetch_gpa | (rip & 0xfff), c.code_mode);
  const Block* b = c.blocks->table[block_slot(key)];
  return b->key == key && c.block_base + b->count <= c.limit ? b : nullptr;
}

const void* go_helper(Cpu* c, uint64_t rip, uint32_t link) {
  Translator::Impl& m = c->translator->impl();
  c->block_base = c->left_end - static_cast<uint64_t>(c->left);
  const Block* b = find(*c, rip);
  if (b == nullptr) {
    c->rip = rip;
    try {
      return next_block(m, *c);
    } catch (const GuestFault& f) {
      m.pending = Pending::kFault;
      m.fault = f;
      return nullptr;
    }
  }
  if (b->code != 0 && m.codes[b->code].rip == rip) {
    Code& code = m.codes[b->code];
    LinkSite* site = link < kIndirect ? &m.links[link] : nullptr;
    const FastFetch& f = c->fetches[(rip >> 12) & (kFetchTlbEntries - 1)];
    const bool mapped = f.serial != 0 && f.tag == (rip & ~uint64_t{0xfff});
    if (site != nullptr && (site->serial == 0 || (mapped && ++site->patches <= kMaxPatches))) {
      if (site->serial != 0) m.emit->patch_serial(site->serial, f.serial);
      m.emit->patch_jump(site->jump, m.offset(code.entry));
      code.links.push_back(link);
    }
    if (mapped && (site == nullptr || site->serial != 0))
      c->jumps[(rip ^ rip >> 12) & (kJumpEntries - 1)] = {rip, code.entry, &f.serial, f.serial};
    return code.entry;
  }
  c->r[kSlotRip] = rip;
  m.resume = b->first;
  return nullptr;
}

}  // namespace

}  // namespace dejavm::soft
