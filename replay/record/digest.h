// Digests of a running machine: what two machines must have in common to be the same machine.
//
//   memory sum   the sum modulo 2^128 of XXH3-128(content, seed = Gpa / 4096) over all pages of RAM and ROM
//                that are not all zero; kept up to date from the dirty flags, so that a digest costs what changed
//   digest       digest_of (snapshot.h): all state chunks, and the memory sum
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "replay/state/stored_state.h"
#include "replay/store/hash.h"
#include "vmm/machine/machine.h"

namespace dejavm {

// The only place that clears dirty flags; it tells the engine. When the summer first looks, memory must have been all
// zero and clean when it was made, and every change since then flagged (GuestMemory does so).
class MemorySummer {
 public:
  // `changed` is called for each page whose content differs from the last update's, ascending; content is nullptr if it
  // is zero now.
  using Changed = std::function<void(uint64_t index, const uint8_t* content)>;
  void update(Machine&, const Changed& changed = {});
  // As `changed`, from now on for every update.
  void observe(Changed observer) { observer_ = std::move(observer); }
  const Hash128& sum() const { return sum_; }

 private:
  Hash128& hash_of(uint64_t index);
  // Hashes by page, in blocks that exist once a page in them was written.
  static constexpr uint64_t kBlock = 512;
  std::unordered_map<uint64_t, std::unique_ptr<std::array<Hash128, kBlock>>> blocks_;
  Hash128 sum_;
  Changed observer_;
};

// The machine's state now: pulls it from the engine, updates the summer. `pages` and `exits` are the caller's to fill.
Snapshot take_snapshot(Machine&, MemorySummer&, const MemorySummer::Changed& changed = {});

// Makes a MemorySummer that is new see all of a machine's memory.
void mark_all_written(Machine&);
// The digest of a machine at whatever moment, by hashing all of its memory.
Hash128 machine_digest(Machine&);

}  // namespace dejavm
