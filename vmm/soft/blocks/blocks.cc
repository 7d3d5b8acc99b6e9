#include "vmm/soft/blocks/blocks.h"

#include <sys/mman.h>

#include "vmm/soft/mmu.h"
#include "vmm/soft/translate/translator.h"

namespace dejavm::soft {
namespace {

constexpr uint32_t kIdleStoresMax = 64;  // then a page of code that is only written loses its blocks

uint64_t line_mask(uint64_t offset, uint64_t len) {
  const unsigned first = static_cast<unsigned>(offset >> 6), last = static_cast<unsigned>((offset + len - 1) >> 6);
  const uint64_t up_to_last = last >= 63 ? ~uint64_t{0} : (uint64_t{1} << (last + 1)) - 1;
  return up_to_last & ~((uint64_t{1} << first) - 1);
}

void kill(BlockCache& cache, Block* block) {
  if (block->code != 0) cache.translator->kill(block);
  for (uint32_t k = 0; k < block->insns; ++k) block->first[k].fn = leave_before;
  Block*& slot = cache.table[block_slot(block->key)];
  if (slot == block) slot = cache.none;
  block->key = kNoKey;
}

}  // namespace

BlockCache::BlockCache(const GuestMemory& memory) : serials(std::make_unique<PageSerials>()) {
  void* p = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(p != MAP_FAILED);
  arena = static_cast<std::byte*>(p);
  clear();
  for (const MemoryRegion& r : memory.regions())
    if (!r.hidden) regions.emplace_back(r.start, std::vector<CodePage>(r.len_bytes / kPageSize));
}

BlockCache::~BlockCache() { munmap(arena, kArenaBytes); }

CodePage* BlockCache::page(uint64_t gpa) {
  for (auto& [start, pages] : regions)
    if (gpa >= start.value && (gpa - start.value) / kPageSize < pages.size())
      return &pages[(gpa - start.value) / kPageSize];
  return nullptr;
}

void BlockCache::clear() {
  used = 0;
  full = false;
  none = static_cast<Block*>(allocate(sizeof(Block)));
  *none = Block{kNoKey, 0xffff, 0, 0, nullptr, nullptr, 0};
  table.fill(none);
}

void* BlockCache::allocate(size_t bytes) {
  bytes = (bytes + 15) & ~size_t{15};
  if (used + bytes > kArenaBytes) {
    full = true;
    return nullptr;
  }
  void* p = arena + used;
  used += bytes;
  return p;
}

Block* blocks_find(BlockCache& cache, uint64_t key) {
  Block*& slot = cache.table[block_slot(key)];
  if (slot->key == key) return slot;
  const CodePage* page = cache.page(key >> 2);
  if (page == nullptr) return nullptr;
  for (Block* b = page->blocks; b != nullptr; b = b->next_in_page)
    if (b->key == key) return slot = b;
  return nullptr;
}

void blocks_insert(Cpu& c, Block* block) {
  BlockCache& cache = *c.blocks;
  const uint64_t gpa = block->key >> 2;
  CodePage* page = cache.page(gpa);
  CHECK(page != nullptr);
  uint8_t* flags = c.memory->page_flags(Gpa{gpa});
  if (!(*flags & kPageCode)) {
    *flags |= kPageCode;
    page->idle_stores = 0;
    for (Cpu* cpu : cache.cpus) forget_fast_writes_to(*cpu, c.memory->page(Gpa{gpa}));
  }
  page->lines |= line_mask(gpa & 0xfff, block->len_bytes);
  block->next_in_page = page->blocks;
  page->blocks = block;
  cache.table[block_slot(block->key)] = block;
}

void blocks_stored(Cpu& c, uint64_t gpa, unsigned len) {
  BlockCache& cache = *c.blocks;
  CodePage* page = cache.page(gpa);
  const uint64_t offset = gpa & 0xfff;
  const bool hit = page->lines & line_mask(offset, len);
  if (!hit && ++page->idle_stores < kIdleStoresMax) return;
  // Rebuild the page's list without the blocks that overlap the bytes written (all of them, if the page has become
  // data).
  Block* block = page->blocks;
  page->blocks = nullptr;
  page->lines = 0;
  while (block != nullptr) {
    Block* next = block->next_in_page;
    const uint64_t start = (block->key >> 2) & 0xfff;
    if (!hit || (start < offset + len && offset < start + block->len_bytes)) {
      kill(cache, block);
    } else {
      block->next_in_page = page->blocks;
      page->blocks = block;
      page->lines |= line_mask(start, block->len_bytes);
    }
    block = next;
  }
  if (page->blocks == nullptr) *c.memory->page_flags(Gpa{gpa}) &= static_cast<uint8_t>(~kPageCode);
}

void drop_blocks(Cpu& c) {
  BlockCache& cache = *c.blocks;
  cache.clear();
  if (cache.translator != nullptr) cache.translator->clear();
  for (Cpu* cpu : cache.cpus)
    for (auto& array : cpu->mmu->jumps) array.fill(JumpEntry{});
  for (BlockCache::Again& a : cache.again) a.insn = nullptr;
  for (auto& [start, pages] : cache.regions)
    for (size_t i = 0; i < pages.size(); ++i)
      if (pages[i].blocks != nullptr) {
        pages[i] = CodePage{};
        *c.memory->page_flags(start + i * kPageSize) &= static_cast<uint8_t>(~kPageCode);
      }
}

const Insn* leave_before(Cpu& c, const Insn* i) {
  c.rip = c.r[kSlotRip] + i->off;
  c.block_base += i->n;
  return nullptr;
}

}  // namespace dejavm::soft
