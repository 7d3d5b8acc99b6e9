// The snapshot file: a machine between two instructions, as an ELF core file that explains itself. The format is
// defined by golden-snapshots/FORMAT.md; the memory in it is read and written through spans, so nothing here needs a
// machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/core/result.h"
#include "replay/snapshot/elf_core.h"
#include "replay/state/stored_state.h"
#include "replay/store/file_io.h"
#include "replay/trace/header.h"

namespace dejavm {

inline constexpr uint64_t kBlockBytes = 2 << 20;  // memory is hashed in blocks of this size

// Guest-physical memory that the file holds, in whole pages. offset 0: zeros, and nothing in the file.
struct MemoryExtent {
  uint64_t gpa = 0, len_bytes = 0, offset = 0;
  bool operator==(const MemoryExtent&) const = default;
};

// The sum of hash_page over the pages of the block that the file holds; zero if all of them are zero.
struct BlockSum {
  uint64_t block = 0;  // gpa / kBlockBytes
  Hash128 sum;
  bool operator==(const BlockSum&) const = default;
};

struct ParentRef {
  Hash128 digest;    // of the snapshot that this one changes
  std::string name;  // of its file, without folder; a hint
  bool operator==(const ParentRef&) const = default;
};

// Where the image is that a disk of the machine starts from: in the full file, as extents from image_region(n) on; or
// outside, to be found again by size and hash.
struct DiskBase {
  std::string name;  // of the image's file, without folder; empty if it is unknown; a hint
  bool external = false;
  bool operator==(const DiskBase&) const = default;
};

// Everything that a snapshot file says, but the content of memory.
struct SnapshotHead {
  std::string writer;  // "dejavm 0.1.0"
  std::string engine;
  MachineConfig config;
  std::vector<BootImage> boot;
  std::string append;
  uint64_t now_ns = 0, retired = 0;    // virtual time; vCPU 0's position
  std::optional<ParentRef> parent;     // a delta; otherwise the file is full
  std::vector<DiskBase> disks;         // of config.disks
  std::vector<std::string> bindings;   // host resources that the machine wants, by name: "console"
  std::vector<const Schema*> schemas;  // written; a reader has schema_payload
  Bytes schema_payload;                // as in the file: schema_table.h prints it
  Snapshot state;                      // exits: of the run so far; pages: in the file, zeros too
  std::vector<StoredChunk> unknown;    // optional chunks about the file that this build does not know; kept
  std::vector<MemoryExtent> extents;   // ascending, apart
  // 1: `blocks` has one for each block that an extent touches; 2: that an extent with content does. Machines with
  // disks, whose regions are huge, have 2.
  uint16_t memory_version = 1;
  std::vector<BlockSum> blocks;   // ascending
  std::vector<ElfNote> notes;     // for other tools; see core_notes.h
  std::vector<ElfLoad> mappings;  // linear addresses, for debuggers: `physical` and `len_bytes` inside extents
  uint64_t data = 0;              // offset of the first byte of memory; set by layout and by reading
  uint64_t file_bytes = 0;

  bool delta() const { return parent.has_value(); }
};

// Gives the extents that have content (any nonzero offset) their places, one after the other, and sets memory_version,
// blocks (sums yet zero), mappings' offsets, data and file_bytes. After it only hashes and the digest may change.
void lay_out(SnapshotHead&);
// The bytes before memory: head.data of them, if lay_out is up to date.
Bytes encode_snapshot_head(const SnapshotHead&);

// A file opened for reading. Errors name file, chunk, field, offset and reason.
class SnapshotFile {
 public:
  static Result<std::unique_ptr<SnapshotFile>> open(const std::string& path);
  static Result<std::unique_ptr<SnapshotFile>> open(std::unique_ptr<ByteSource>);

  const SnapshotHead& head() const { return head_; }
  const ByteSource& source() const { return *source_; }
  const std::string& name() const { return source_->name(); }
  Error damaged(std::string_view why) const;
  // All of memory, page by page, ascending, compared with the block sums; content is nullptr for a page of zeros. Of a
  // full file pages in extents without sums, which are zeros, may be left out.
  // Images of disks, too, are compared with their sums, but not handed out.
  using Page = std::function<Result<void>(uint64_t index, const uint8_t* content, const Hash128& hash)>;
  Result<void> read_memory(const Page& page) const;
  Result<void> verify() const { return read_memory({}); }

 private:
  Error damaged_block(size_t i) const;
  Result<void> read_zeros(const MemoryExtent&, const Page&) const;
  explicit SnapshotFile(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {}
  std::unique_ptr<ByteSource> source_;
  SnapshotHead head_;
};

// Our notes: name "DEJAVM", this type; the description is a fixed prefix, the chunk's name, and its payload.
inline constexpr uint32_t kChunkNoteType = 0x444a564d;
Bytes encode_chunk(const StoredChunk&);
Result<StoredChunk> decode_chunk(std::span<const uint8_t> desc);

}  // namespace dejavm
