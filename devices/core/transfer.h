// How a model that is a bus master moves guest memory: it asks and never calls. A step that it wants stands in its
// state; whoever keeps the model carries it out and says what came of it, which leads to the next step. Memory is
// reached by nothing else, so a test, a fuzzer, a script or a log can stand in for it.
//
//   static bool next_transfer(const State&, Transfer&);                   // what it wants now; false: nothing
//   static void transferred(State&, Nanos now, bool ok, std::span<const uint8_t> bytes);
//
// - The address is the guest's choice: any is possible. Only RAM, in one piece, can be read and written; else `ok` is
// false and
//   nothing has moved. A model has its own way to tell the guest so.
// - Models with a disk behind them also ask for steps between it and memory, or on it alone; no data of those pass
// through the model. Of a comparison `bytes` is one byte: 1 if they are equal. The disk's place is always within it.
// - After transferred() the same step is not wanted any more. A model asks for a bounded number of steps between two of
// its events.
// - `bytes`: of a read that was ok what memory held; else empty.
#pragma once

#include <cstdint>
#include <span>

namespace dejavm {

inline constexpr uint32_t kMaxTransferBytes = 4096;

struct Transfer {
  enum class Kind : uint8_t {
    kRead,         // of guest memory
    kWrite,        // to guest memory
    kFromDisk,     // disk to guest memory
    kToDisk,       // guest memory to disk
    kCompareDisk,  // guest memory with disk
    kZeroDisk,     // disk_bytes of zeros, or of what may become zeros
    kDiscardDisk,
    kVerifyDisk,  // disk_bytes can be read
    kFlushDisk,   // what was written stays
  };
  Kind kind = Kind::kRead;
  uint64_t address = 0;              // guest-physical
  uint32_t len_bytes = 0;            // 1 to kMaxTransferBytes
  std::span<const uint8_t> bytes{};  // of kWrite: so many, in the model's state
  uint64_t disk_offset = 0;          // bytes
  uint64_t disk_bytes = 0;           // of the steps on the disk alone
};

}  // namespace dejavm
