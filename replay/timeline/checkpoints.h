// States of one machine in memory, to which it can be taken back: what of its memory did not change between two of them
// is kept once.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "replay/record/digest.h"

namespace dejavm {

class Checkpoints {
 public:
  explicit Checkpoints(uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}
  ~Checkpoints();

  struct Mark {
    Retired at;
    uint64_t event = 0, exits = 0;  // of the log, before it
  };

  // Another machine of the same configuration takes the place of the one before, whose checkpoints are its own too. The
  // summer of its memory is observed from here on.
  void new_machine(Machine&, MemorySummer&);
  // The machine between two instructions. Beyond the budget, others are dropped: where they are dense, and far from
  // here.
  void take(Machine&, MemorySummer&, Mark);
  // The last at or before a position; nullptr: there is none. Valid until the next take().
  const Mark* before(Retired at) const;
  // Takes the machine there. An error leaves it in between.
  Result<void> restore(const Mark&, Machine&, MemorySummer&);

  size_t count() const { return all_.size(); }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Page {
    std::array<uint8_t, kPageSize> content;
    uint64_t* bytes;
    ~Page() { *bytes -= sizeof(Page); }
  };
  using PageRef = std::shared_ptr<const Page>;  // nullptr: zeros
  static constexpr uint64_t kBlock = 256;
  using Block = std::array<PageRef, kBlock>;
  using Table = std::vector<std::shared_ptr<Block>>;  // by page, region after region
  struct Checkpoint {
    Mark mark;
    Snapshot snapshot;
    Table table;
    uint64_t own_bytes = 0;
  };

  PageRef keep(uint64_t index, const uint8_t* content);
  void set(uint64_t place, PageRef);
  void shrink(Retired here);

  uint64_t budget_bytes_, bytes_ = 0;
  std::vector<std::unique_ptr<Checkpoint>> all_;  // ascending
  Table current_;                                 // the machine's memory, as of the summer's last update
  std::unordered_map<uint64_t, std::weak_ptr<const Page>> kept_;  // by hash
};

}  // namespace dejavm
