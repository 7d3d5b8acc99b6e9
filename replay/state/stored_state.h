// A machine's state but its RAM, outside any machine: what a snapshot frame holds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "devices/core/fields.h"
#include "devices/core/result.h"
#include "replay/store/cbor.h"
#include "replay/store/hash.h"

namespace dejavm {

struct StoredChunk {
  std::string name;  // of the schema
  uint32_t instance = 0;
  uint16_t version = 1;  // of the schema that wrote it
  bool critical = true;
  Bytes payload;  // canonical CBOR, as state_codec.h writes it
  bool operator==(const StoredChunk&) const = default;
};

struct Snapshot {
  std::vector<StoredChunk> chunks;  // in the machine's order
  uint64_t exits = 0;               // events that were exits, before it
  uint64_t pages = 0;               // in the memory frames that belong to it
  Hash128 memory;                   // MemorySummer's sum over all of RAM and ROM
  Hash128 digest;                   // digest_of(chunks, memory)
  bool operator==(const Snapshot&) const = default;
};

// One chunk as snapshot frames and state files hold it: a map of its members.
void put_chunk(CborWriter&, const StoredChunk&);
StoredChunk get_chunk(CborReader&);  // errors: the reader's

std::vector<StoredChunk> store_chunks(std::span<const ChunkRef>);
// The machine's digest: XXH3-128 of a CBOR array of [name, instance, payload's map]..., and the memory's sum.
Hash128 digest_of(std::span<const StoredChunk>, const Hash128& memory);

Bytes encode_snapshot(const Snapshot&);
// Checks the digest against the chunks as well.
Result<Snapshot> decode_snapshot(std::span<const uint8_t> payload);

// Writes stored chunks into a machine's. All or nothing: every payload is decoded and checked before any is written.
// A chunk that the file lacks, or a critical one that the machine lacks, is refused by name.
Result<void> load_chunks(std::span<const StoredChunk>, std::span<const ChunkRef>);

// Where a machine differs from a stored state, at most `limit` lines: "vatpit.channel[0].count: expected 5, found 6".
std::vector<std::string> diff_chunks(std::span<const StoredChunk> expected, std::span<const ChunkRef> actual,
                                     size_t limit);

}  // namespace dejavm
