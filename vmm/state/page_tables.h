// The shape of the page tables that a vCPU's control registers name: levels, entries, and what they point to. Rights,
// accessed and dirty bits are the walker's matter: the engine's MMU, a debugger's look, a snapshot's list of mappings.
// Source: Intel SDM vol. 3, chapter 4.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "vmm/state/memory.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

enum PageEntry : uint64_t {
  kEntryPresent = 1,
  kEntryWritable = 2,
  kEntryUser = 4,
  kEntryAccessed = 32,
  kEntryDirty = 64,
  kEntryLarge = 128,
  kEntryGlobal = 256,
  kEntryNoExecute = uint64_t{1} << 63
};

struct PagingLevel {
  uint8_t shift;     // an entry maps 1 << shift bytes
  bool may_be_leaf;  // with kEntryLarge; the last level always is one
  bool has_rights;   // all but the four entries of PAE's first level, 4.4.1
  uint16_t index_mask;
  uint64_t reserved;       // bits that must be 0 in every entry that is present ...
  uint64_t leaf_reserved;  // ... and in one that maps a large page: address bits below its size
};

class PageTables {
 public:
  // Nothing is there (no paging): levels() is empty and linear addresses are physical.
  explicit PageTables(const VcpuState& s, uint64_t address_mask = 0x000fffffffffffff)
      : address_mask_(address_mask & kPageMask) {
    constexpr uint64_t kPg = uint64_t{1} << 31, kPse = 1 << 4, kPae = 1 << 5, kLa57 = 1 << 12, kLma = 1 << 10;
    if (!(s.cr0 & kPg)) return;
    if (!(s.cr4 & kPae)) {
      levels_ = (s.cr4 & kPse) ? std::span<const PagingLevel>(kLegacyWithLarge) : std::span<const PagingLevel>(kLegacy);
      entry_bytes_ = 4;
      root_ = s.cr3 & 0xfffff000;
    } else if (!(s.efer & kLma)) {
      levels_ = kPaeLevels;
      root_ = s.cr3 & 0xffffffe0;
    } else {
      levels_ = (s.cr4 & kLa57) ? std::span<const PagingLevel>(kLongLevels)
                                : std::span<const PagingLevel>(kLongLevels).subspan(1);
      root_ = s.cr3 & address_mask_;
    }
  }

  std::span<const PagingLevel> levels() const { return levels_; }  // root first
  unsigned entry_bytes() const { return entry_bytes_; }
  uint64_t root() const { return root_; }
  unsigned entries(unsigned level) const { return levels_[level].index_mask + 1u; }
  // Where the entry for a linear address is, in the table of this level at `table`.
  uint64_t entry_at(unsigned level, uint64_t table, uint64_t linear) const {
    return table + (linear >> levels_[level].shift & levels_[level].index_mask) * entry_bytes_;
  }
  bool is_leaf(unsigned level, uint64_t entry) const {
    return level + 1 == levels_.size() || (levels_[level].may_be_leaf && (entry & kEntryLarge));
  }
  uint64_t next_table(uint64_t entry) const { return entry & address_mask_; }
  // Of a leaf: the first byte that it maps.
  uint64_t mapped(unsigned level, uint64_t entry) const {
    const uint64_t first = entry & address_mask_ & ~((uint64_t{1} << levels_[level].shift) - 1);
    const bool pse36 = entry_bytes_ == 4 && level == 0;  // bits 20:13 are address bits 39:32
    return pse36 ? first | (entry & 0x1fe000) << 19 : first;
  }
  uint64_t physical(unsigned level, uint64_t entry, uint64_t linear) const {
    return mapped(level, entry) | (linear & ((uint64_t{1} << levels_[level].shift) - 1));
  }

 private:
  static constexpr uint64_t kPageMask = ~uint64_t{0xfff};
  static constexpr PagingLevel kLegacy[] = {{22, false, true, 0x3ff, 0, 0}, {12, false, true, 0x3ff, 0, 0}};
  static constexpr PagingLevel kLegacyWithLarge[] = {{22, true, true, 0x3ff, 0, 0x200000},
                                                     {12, false, true, 0x3ff, 0, 0}};
  static constexpr PagingLevel kPaeLevels[] = {{30, false, false, 3, 0x1e6 | kEntryNoExecute, 0},
                                               {21, true, true, 0x1ff, 0, 0x1fe000},
                                               {12, false, true, 0x1ff, 0, 0}};
  static constexpr PagingLevel kLongLevels[] = {{48, false, true, 0x1ff, kEntryLarge, 0},
                                                {39, false, true, 0x1ff, kEntryLarge, 0},
                                                {30, true, true, 0x1ff, 0, 0x3fffe000},
                                                {21, true, true, 0x1ff, 0, 0x1fe000},
                                                {12, false, true, 0x1ff, 0, 0}};
  std::span<const PagingLevel> levels_;
  unsigned entry_bytes_ = 8;
  uint64_t root_ = 0;
  uint64_t address_mask_;
};

// The physical address of a linear one by the page tables, without rights and side effects, as a debugger reads; none:
// not mapped.
std::optional<uint64_t> translate(const GuestMemory&, const VcpuState&, uint64_t linear);
}  // namespace dejavm
