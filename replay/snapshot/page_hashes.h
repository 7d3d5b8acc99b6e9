// hash_page of every page of a machine's memory, as of some moment, in memory that a forked child shares.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "replay/store/hash.h"
#include "vmm/state/memory.h"

namespace dejavm {

class PageHashes {
 public:
  // All zero: those of memory that is all zero. Costs the host one page per MiB of guest memory that was ever written.
  explicit PageHashes(std::span<const MemoryRegion>);
  ~PageHashes();
  PageHashes(const PageHashes&) = delete;
  PageHashes& operator=(const PageHashes&) = delete;
  // The page must lie in a region.
  Hash128& operator[](uint64_t index);
  void copy_from(const PageHashes&);  // of the same regions

 private:
  struct Table {
    uint64_t first, count;
    Hash128* hashes;
    uint8_t* touched;  // for each kTouchedPages of them, whether one was asked for
  };
  static void copy_some(const Table& to, const Table& from, uint64_t first);
  std::vector<Table> tables_;
};

}  // namespace dejavm
