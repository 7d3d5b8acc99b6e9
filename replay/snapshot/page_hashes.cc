#include "replay/snapshot/page_hashes.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "devices/core/result.h"

namespace dejavm {

PageHashes::PageHashes(std::span<const MemoryRegion> regions) {
  for (const MemoryRegion& r : regions) {
    const uint64_t count = r.len_bytes / kPageSize;
    void* p = mmap(nullptr, count * sizeof(Hash128), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    tables_.push_back({r.start.value / kPageSize, count, static_cast<Hash128*>(p)});
  }
}

PageHashes::~PageHashes() {
  for (const Table& t : tables_) munmap(t.hashes, t.count * sizeof(Hash128));
}

Hash128& PageHashes::operator[](uint64_t index) {
  for (const Table& t : tables_)
    if (index - t.first < t.count) return t.hashes[index - t.first];
  check_failed("a page outside the machine's memory", __FILE__, __LINE__);
  return tables_[0].hashes[0];
}

void PageHashes::copy_from(const PageHashes& other) {
  CHECK(tables_.size() == other.tables_.size());
  for (size_t i = 0; i < tables_.size(); ++i) {
    CHECK(tables_[i].count == other.tables_[i].count);
    for (uint64_t n = 0; n < tables_[i].count; ++n) {
      const Hash128& h = other.tables_[i].hashes[n];
      if (tables_[i].hashes[n] != h) tables_[i].hashes[n] = h;  // pages of zeros stay uncommitted
    }
  }
}

}  // namespace dejavm
