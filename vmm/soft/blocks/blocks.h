// Decoded code. A block is a straight run of at most kBlockInsns instructions within one page, keyed by physical
// address and code mode, ended by the first instruction that may change more than registers, memory and flags. Each
// instruction is an Insn with the handler that executes it; handlers call the next one directly (kNext), so a block
// runs without a dispatch loop, and blocks chain to blocks while RunControl's limit is not reached.
//
// Self-modifying code: a page with blocks carries kPageCode, which sends stores to it through blocks_stored(). A block
// that overlaps the bytes written is overwritten with a handler that leaves to the run loop, so a running block stops
// at the very next instruction, and links into it need no undoing. Memory is recycled by dropping all blocks at once,
// in the run loop only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

class PageSerials;  // mmu.h

struct Insn;
// Executes *i and, unless it returns to the run loop, what follows. Returns the next Insn for builds without tail
// calls, nullptr to leave to the run loop with c.rip and c.block_base at an instruction boundary.
using Handler = const Insn* (*)(Cpu& c, const Insn* i);

// Register fields are byte offsets into Cpu::r. imm: immediate, or the Decoded of a plain operation; link: block ends.
struct Insn {
  Handler fn;
  union {
    struct {
      uint8_t dst, src, base, index;
    };
    uint32_t direct_guess;  // of direct branches and block ends: as `guess`
  };
  uint8_t scale;
  uint8_t n;  // instructions complete in the block before this one
  uint8_t len;
  uint8_t seg;
  int32_t disp;
  uint16_t off;  // of this instruction from the block's rip
  uint16_t extra;
  union {
    uint64_t imm;
    uint32_t guess;  // of indirect branches: the block that was entered last, as its place in the arena
  };
};
static_assert(sizeof(Insn) == 32);

struct Block {
  uint64_t key;    // physical address << 2 | code mode
  uint16_t count;  // instructions
  uint16_t len_bytes;
  uint32_t insns;  // Insns, the end pseudo-instruction included
  Block* next_in_page;
  Insn* first;    // with a translator: its pseudo-instruction, before the first that is the guest's
  uint32_t code;  // the translator's, 0: none
};

inline constexpr unsigned kBlockInsns = 32;
inline constexpr unsigned kBlockBranches = 2;  // conditional; more would often decode what is not executed
inline constexpr unsigned kCacheEntries = 1 << 17;
inline constexpr size_t kArenaBytes = size_t{160} << 20;
inline constexpr uint64_t kNoKey = ~uint64_t{0};

struct CodePage {
  Block* blocks = nullptr;
  uint64_t lines = 0;        // bit n: bytes 64n..64n+63 hold decoded instructions
  uint32_t idle_stores = 0;  // stores since the page got code that hit none of it
};

struct BlockCache {
  BlockCache(const GuestMemory& memory);
  ~BlockCache();
  std::array<Block*, kCacheEntries> table;
  Block* none;  // what empty entries point at: a key that matches nothing; place 0
  std::byte* arena;
  size_t used = 0;
  std::vector<std::pair<Gpa, std::vector<CodePage>>> regions;  // as GuestMemory's
  bool full = false;                                           // recycle at the next boundary
  Translator* translator = nullptr;
  std::vector<Cpu*> cpus;  // all that run these blocks
  std::unique_ptr<PageSerials> serials;
  // Instructions decoded anew for slow(), by their Insn. Valid until the arena is recycled.
  struct Again {
    const Insn* insn = nullptr;
    Decoded d;
  };
  static constexpr unsigned kAgain = 1024;
  std::vector<Again> again = std::vector<Again>(kAgain);

  CodePage* page(uint64_t gpa);
  void* allocate(size_t bytes);  // nullptr when the arena is full
  Block* at(uint32_t place) const { return reinterpret_cast<Block*>(arena + size_t{place} * 16); }
  uint32_t place(const Block* b) const {
    return static_cast<uint32_t>((reinterpret_cast<const std::byte*>(b) - arena) / 16);
  }
  void clear();  // an empty arena but for `none`, which every entry points at
};

inline uint64_t block_key(uint64_t gpa, CodeMode mode) { return gpa << 2 | static_cast<uint64_t>(mode); }
inline unsigned block_slot(uint64_t key) {
  return static_cast<unsigned>((key >> 2) ^ (key >> 17)) & (kCacheEntries - 1);
}

// The block of this key, if there is one, wherever it is.
Block* blocks_find(BlockCache& cache, uint64_t key);
// Enters a finished block (its page becomes a code page) or drops blocks. The caller owns no pointer to any block
// across drop_blocks.
void blocks_insert(Cpu& c, Block* block);
void blocks_stored(Cpu& c, uint64_t gpa, unsigned len);
void drop_blocks(Cpu& c);

// Leaves to the run loop before *i: the handler of overwritten instructions.
const Insn* leave_before(Cpu& c, const Insn* i);
// *i made an MMIO access (it threw LeaveBlock): from now on it ends its block, so that it can make the next one in
// place.
void end_block_at(const Insn* i);

// Executes *i, and nothing after it, by its plain function. True: it ended its block, and c.rip and c.block_base are
// after it.
bool execute_alone(Cpu& c, const Insn* i);

// make_block.cc: decodes and lowers the block at c.rip (fetch page set). nullptr: its first instruction cannot be in a
// block (crosses the page, does not decode, wraps), so the run loop executes it by itself; or the arena is full.
Block* make_block(Cpu& c);

}  // namespace dejavm::soft
