// The notes of a snapshot file: chunks about the file, and the form that every chunk has. FORMAT.md, "Notes".
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "replay/snapshot/snapshot_file.h"
#include "replay/store/cbor.h"

namespace dejavm {

inline constexpr std::string_view kChunkOwner = "DEJAVM";
// Chunks about the file; all others are the machine's, in its order.
inline constexpr std::string_view kSnapshotChunk = "file.snapshot", kConfigChunk = "file.config",
                                  kBootChunk = "file.boot", kSchemasChunk = "file.schemas",
                                  kMemoryChunk = "file.memory", kSealChunk = "file.seal", kDisksChunk = "file.disks";
bool is_file_chunk(std::string_view name);

// All notes but the seal, and the seal of so many bytes before it.
Bytes encode_notes(const SnapshotHead&);
StoredChunk seal(const Hash128& of);
uint64_t seal_bytes();
void append_chunk(Bytes& out, const StoredChunk&);

// What a chunk about the file says, by its name; errors: the reader's.
void decode_file_chunk(const StoredChunk&, CborReader&, SnapshotHead&);

}  // namespace dejavm
