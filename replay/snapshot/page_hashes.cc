#include "replay/snapshot/page_hashes.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "devices/core/result.h"

namespace dejavm {

static void* share(uint64_t len_bytes) {
  void* p = mmap(nullptr, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}

static uint64_t touched_bytes(uint64_t count) { return count / kTouchedPages + 1; }

PageHashes::PageHashes(std::span<const MemoryRegion> regions) {
  for (const MemoryRegion& r : regions) {
    const uint64_t count = r.len_bytes / kPageSize;
    tables_.push_back({r.start.value / kPageSize, count, static_cast<Hash128*>(share(count * sizeof(Hash128))),
                       static_cast<uint8_t*>(share(touched_bytes(count)))});
  }
}

PageHashes::~PageHashes() {
  for (const Table& t : tables_) {
    munmap(t.hashes, t.count * sizeof(Hash128));
    munmap(t.touched, touched_bytes(t.count));
  }
}

Hash128& PageHashes::operator[](uint64_t index) {
  for (const Table& t : tables_) {
    const uint64_t n = index - t.first;
    if (n >= t.count) continue;
    t.touched[n / kTouchedPages] = 1;
    return t.hashes[n];
  }
  check_failed("a page outside the machine's memory", __FILE__, __LINE__);
  return tables_[0].hashes[0];
}

void PageHashes::copy_some(const Table& to, const Table& from, uint64_t first) {
  to.touched[first / kTouchedPages] = 1;
  for (uint64_t n = first; n < std::min(first + kTouchedPages, to.count); ++n)
    if (to.hashes[n] != from.hashes[n]) to.hashes[n] = from.hashes[n];  // pages of zeros stay uncommitted
}

void PageHashes::copy_from(const PageHashes& other) {
  CHECK(tables_.size() == other.tables_.size());
  for (size_t i = 0; i < tables_.size(); ++i) {
    CHECK(tables_[i].count == other.tables_[i].count);
    for (uint64_t first = 0; first < tables_[i].count; first += kTouchedPages)
      if (tables_[i].touched[first / kTouchedPages] || other.tables_[i].touched[first / kTouchedPages])
        copy_some(tables_[i], other.tables_[i], first);
  }
}

}  // namespace dejavm
