#include "replay/timeline/checkpoints.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace dejavm {
namespace {

constexpr uint8_t kZeroPage[kPageSize] = {};

// Pages of all regions in one row.
uint64_t place_of(const GuestMemory& memory, uint64_t index) {
  uint64_t before = 0;
  for (const MemoryRegion& r : memory.regions()) {
    const uint64_t first = r.start.value / kPageSize, count = r.len_bytes / kPageSize;
    if (index - first < count) return before + index - first;
    before += count;
  }
  check_failed("a page outside the machine's memory", __FILE__, __LINE__);
  return 0;
}

}  // namespace

Checkpoints::~Checkpoints() = default;

Checkpoints::PageRef Checkpoints::keep(uint64_t index, const uint8_t* content) {
  if (content == nullptr) return nullptr;
  std::weak_ptr<const Page>& slot = kept_[hash_page(index, content).low];
  if (PageRef page = slot.lock(); page && std::memcmp(page->content.data(), content, kPageSize) == 0) return page;
  auto page = std::make_shared<Page>();
  std::memcpy(page->content.data(), content, kPageSize);
  page->bytes = &bytes_;
  bytes_ += sizeof(Page);
  slot = page;
  return page;
}

void Checkpoints::set(uint64_t place, PageRef page) {
  std::shared_ptr<Block>& block = current_[place / kBlock];
  if (block != nullptr && (*block)[place % kBlock] == page) return;
  if (block == nullptr) block = std::make_shared<Block>();
  else if (block.use_count() > 1) block = std::make_shared<Block>(*block);
  (*block)[place % kBlock] = std::move(page);
}

void Checkpoints::new_machine(Machine& machine, MemorySummer& summer) {
  const GuestMemory& memory = machine.memory();
  current_.clear();
  summer.update(machine);
  summer.observe(
      [this, &memory](uint64_t index, const uint8_t* content) { set(place_of(memory, index), keep(index, content)); });
  uint64_t pages = 0;
  for (const MemoryRegion& r : memory.regions()) pages += r.len_bytes / kPageSize;
  current_.resize((pages + kBlock - 1) / kBlock);
  for (const MemoryRegion& r : memory.regions())
    for_each_page_with(r, kPageWritten, [&](uint64_t p) {
      const uint8_t* content = r.host + p * kPageSize;
      const uint64_t index = r.start.value / kPageSize + p;
      if (!is_zero_page(content)) set(place_of(memory, index), keep(index, content));
    });
}

void Checkpoints::take(Machine& machine, MemorySummer& summer, Mark mark) {
  const auto at =
      std::lower_bound(all_.begin(), all_.end(), mark.at, [](const auto& c, Retired r) { return c->mark.at < r; });
  if (at != all_.end() && (*at)->mark.at == mark.at) return;
  auto made = std::make_unique<Checkpoint>();
  made->mark = mark;
  made->snapshot = take_snapshot(machine, summer);
  made->table = current_;
  made->own_bytes =
      sizeof(Checkpoint) + current_.size() * sizeof(current_[0]) + 64 * sizeof(Block);  // its own blocks: an estimate
  for (const StoredChunk& c : made->snapshot.chunks) made->own_bytes += c.payload.capacity() + sizeof c;
  bytes_ += made->own_bytes;
  all_.insert(at, std::move(made));
  shrink(mark.at);
}

void Checkpoints::shrink(Retired here) {
  while (bytes_ > budget_bytes_ && all_.size() > 1) {
    size_t worst = all_.size();
    double least = 0;
    for (size_t n = 0; n < all_.size(); ++n) {
      const uint64_t at = all_[n]->mark.at.value;
      if (at == here.value) continue;
      const uint64_t before = n > 0 ? all_[n - 1]->mark.at.value : 0;
      const uint64_t gap = at - before, far = at > here.value ? at - here.value : here.value - at;
      const double worth = static_cast<double>(gap) / static_cast<double>(far);
      if (worst == all_.size() || worth < least) {
        worst = n;
        least = worth;
      }
    }
    bytes_ -= all_[worst]->own_bytes;
    all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(worst));
  }
  if (kept_.size() > 4 * (bytes_ / kPageSize) + 4096)
    std::erase_if(kept_, [](const auto& e) { return e.second.expired(); });
}

const Checkpoints::Mark* Checkpoints::before(Retired at) const {
  const auto next =
      std::upper_bound(all_.begin(), all_.end(), at, [](Retired r, const auto& c) { return r < c->mark.at; });
  return next == all_.begin() ? nullptr : &(*std::prev(next))->mark;
}

Result<void> Checkpoints::restore(const Mark& mark, Machine& machine, MemorySummer& summer) {
  const auto found = std::find_if(all_.begin(), all_.end(), [&](const auto& c) { return c->mark.at == mark.at; });
  CHECK(found != all_.end());
  const Checkpoint& to = **found;
  summer.update(machine);
  for (const MemoryRegion& r : machine.memory().regions())
    for (uint64_t p = 0, place = place_of(machine.memory(), r.start.value / kPageSize); p < r.len_bytes / kPageSize;) {
      const auto &now = current_[place / kBlock], &then = to.table[place / kBlock];
      if (now == then) {
        const uint64_t skip = std::min(kBlock - place % kBlock, r.len_bytes / kPageSize - p);
        p += skip;
        place += skip;
        continue;
      }
      const PageRef a = now ? (*now)[place % kBlock] : nullptr, b = then ? (*then)[place % kBlock] : nullptr;
      if (a != b) machine.write_memory(r.start + p * kPageSize, {b ? b->content.data() : kZeroPage, kPageSize});
      ++p;
      ++place;
    }
  machine.sync_out();
  if (auto done = load_chunks(to.snapshot.chunks, machine.chunks()); !done) return done;
  machine.sync_in(true);
  summer.update(machine);
  if (summer.sum() != to.snapshot.memory)
    return Error{ErrorKind::kHost, fmt::format("memory at instruction {} did not come back as it was", mark.at.value)};
  return {};
}

}  // namespace dejavm
