#include "replay/record/digest.h"

#include <algorithm>
#include <cstring>

namespace dejavm {
Hash128& MemorySummer::hash_of(uint64_t index) {
  auto& block = blocks_[index / kBlock];
  if (!block) block = std::make_unique<std::array<Hash128, kBlock>>();
  return (*block)[index % kBlock];
}

void MemorySummer::update(Machine& machine, const Changed& changed) {
  for (const MemoryRegion& region : machine.memory().regions()) {
    const uint64_t first = region.start.value / kPageSize;
    for_each_page_with(region, kPageDirtySum, [&](uint64_t i) {
      const uint8_t* content = region.host + i * kPageSize;
      const Hash128 now = hash_page(first + i, content);
      Hash128& before = hash_of(first + i);
      if (now == before) return;
      sum_ -= before;
      sum_ += now;
      before = now;
      if (observer_) observer_(first + i, now.zero() ? nullptr : content);
      if (changed) changed(first + i, now.zero() ? nullptr : content);
    });
  }
  machine.memory().clear_dirty(kPageDirtySum);
  machine.engine().dirty_flags_cleared();
}

void mark_all_written(Machine& machine) {
  for (const MemoryRegion& r : machine.memory().regions())
    for_each_page_with(r, kPageWritten, [&](uint64_t p) { r.flags[p] |= kPageDirtySum; });
}

Hash128 machine_digest(Machine& machine) {
  mark_all_written(machine);
  MemorySummer summer;
  const Hash128 digest = take_snapshot(machine, summer).digest;
  mark_all_written(machine);  // another summer that follows this machine has not seen what this one has
  return digest;
}

Snapshot take_snapshot(Machine& machine, MemorySummer& summer, const MemorySummer::Changed& changed) {
  machine.sync_out();
  summer.update(machine, changed);
  Snapshot s;
  s.chunks = store_chunks(machine.chunks());
  s.memory = summer.sum();
  s.digest = digest_of(s.chunks, s.memory);
  return s;
}

}  // namespace dejavm
