#include "replay/snapshot/head_codec.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "replay/state/state_codec.h"
#include "replay/trace/frame.h"

namespace dejavm {
namespace {

constexpr uint64_t kMaxChunkBytes = 64 << 20;
constexpr std::string_view kFilePrefix = "file.";

Error bad(std::string message) { return {ErrorKind::kBadInput, std::move(message)}; }

Bytes encode_about(const SnapshotHead& h) {
  CborWriter w;
  w.map(h.parent ? 10 : 9);
  w.text("exits");
  w.unsigned_int(h.state.exits);
  w.text("pages");
  w.unsigned_int(h.state.pages);
  w.text("digest");
  put_hash(w, h.state.digest);
  w.text("engine");
  w.text(h.engine);
  w.text("memory");
  put_hash(w, h.state.memory);
  w.text("now_ns");
  w.unsigned_int(h.now_ns);
  if (h.parent) {
    w.text("parent");
    w.map(2);
    w.text("name");
    w.text(h.parent->name);
    w.text("digest");
    put_hash(w, h.parent->digest);
  }
  w.text("writer");
  w.text(h.writer);
  w.text("retired");
  w.unsigned_int(h.retired);
  w.text("bindings");
  w.array(h.bindings.size());
  for (const std::string& b : h.bindings) w.text(b);
  return w.take();
}

void decode_about(CborReader& r, SnapshotHead& h) {
  unsigned seen = 0;
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "exits") h.state.exits = r.unsigned_int();
    else if (key == "pages") h.state.pages = r.unsigned_int();
    else if (key == "digest") h.state.digest = get_hash(r);
    else if (key == "engine") h.engine = decode_engine(r);
    else if (key == "memory") h.state.memory = get_hash(r);
    else if (key == "now_ns") h.now_ns = r.unsigned_int();
    else if (key == "parent") {
      ParentRef& p = h.parent.emplace();
      unsigned parts = 0;
      CborMap inner(r);
      for (std::string_view part; inner.next(part); ++parts) {
        if (part == "name") p.name = r.text();
        else if (part == "digest") p.digest = get_hash(r);
        else r.fail(fmt::format("unknown key '{}' of the parent; a newer dejavm may have written it", part));
      }
      if (r.ok() && parts != 2) r.fail("a key of the parent is missing");
      if (r.ok() && (p.name.find('/') != std::string::npos || p.name.find('\0') != std::string::npos))
        r.fail("the parent's name is not that of a file in the same folder");
      --seen;
    } else if (key == "writer") h.writer = r.text();
    else if (key == "retired") h.retired = r.unsigned_int();
    else if (key == "bindings") {
      for (uint64_t n = r.array(); n > 0 && r.ok(); --n) h.bindings.emplace_back(r.text());
    } else r.fail(fmt::format("unknown key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok() && seen != 9) r.fail("a key is missing");
}

Bytes encode_memory(const SnapshotHead& h) {
  CborWriter w;
  w.map(2);
  w.text("blocks");
  w.array(h.blocks.size());
  for (const BlockSum& b : h.blocks) {
    w.array(2);
    w.unsigned_int(b.block);
    put_hash(w, b.sum);
  }
  w.text("extents");
  w.array(h.extents.size());
  for (const MemoryExtent& e : h.extents) {
    w.array(3);
    w.unsigned_int(e.gpa);
    w.unsigned_int(e.len_bytes);
    w.unsigned_int(e.offset);
  }
  return w.take();
}

void decode_memory(CborReader& r, SnapshotHead& h) {
  unsigned seen = 0;
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "blocks") {
      for (uint64_t n = r.array(); n > 0 && r.ok(); --n) {
        if (r.array() != 2 && r.ok()) return r.fail("a block has not two parts");
        const uint64_t block = r.unsigned_int();
        h.blocks.push_back({block, get_hash(r)});
      }
    } else if (key == "extents") {
      for (uint64_t n = r.array(); n > 0 && r.ok(); --n) {
        if (r.array() != 3 && r.ok()) return r.fail("an extent has not three parts");
        MemoryExtent e;
        e.gpa = r.unsigned_int();
        e.len_bytes = r.unsigned_int();
        e.offset = r.unsigned_int();
        h.extents.push_back(e);
      }
    } else r.fail(fmt::format("unknown key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok() && seen != 2) r.fail("a key is missing");
}

void decode_boot_chunk(CborReader& r, SnapshotHead& h) {
  CborMap map(r);
  for (std::string_view key; map.next(key);) {
    if (key == "append") h.append = r.text();
    else if (key == "images") h.boot = decode_boot(r);
    else r.fail(fmt::format("unknown key '{}'; a newer dejavm may have written it", key));
  }
}

Bytes encode_disks(const SnapshotHead& h) {
  CborWriter w;
  w.array(h.disks.size());
  for (const DiskBase& disk : h.disks) {
    w.map(2);
    w.text("name");
    w.text(disk.name);
    w.text("external");
    w.boolean(disk.external);
  }
  return w.take();
}

void decode_disk(CborReader& r, DiskBase& disk) {
  unsigned seen = 0;
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "name") disk.name = r.text();
    else if (key == "external") disk.external = r.boolean();
    else return r.fail(fmt::format("unknown key '{}' of a disk; a newer dejavm may have written it", key));
  }
  if (r.ok() && seen != 2) r.fail("a key of a disk is missing");
}

void decode_disks(CborReader& r, SnapshotHead& h) {
  uint64_t count = r.array();
  if (count > kMaxDisks) return r.fail(fmt::format("{} disks; a machine has at most {}", count, kMaxDisks));
  for (; count > 0 && r.ok(); --count) decode_disk(r, h.disks.emplace_back());
}

StoredChunk file_chunk(std::string_view name, Bytes payload, bool critical = true) {
  return {std::string(name), 0, 1, critical, std::move(payload)};
}

}  // namespace

bool is_file_chunk(std::string_view name) { return name.substr(0, kFilePrefix.size()) == kFilePrefix; }

void decode_file_chunk(const StoredChunk& c, CborReader& r, SnapshotHead& h) {
  if (c.name == kSnapshotChunk) return decode_about(r, h);
  if (c.name == kMemoryChunk) {
    h.memory_version = c.version;
    return decode_memory(r, h);
  }
  if (c.name == kDisksChunk) return decode_disks(r, h);
  if (c.name == kBootChunk) return decode_boot_chunk(r, h);
  if (c.name == kConfigChunk) {
    h.config = decode_config(r);
    return;
  }
  read_schemas(r, nullptr);
  h.schema_payload = c.payload;
}

void append_chunk(Bytes& out, const StoredChunk& c) {
  append_note(out, {std::string(kChunkOwner), kChunkNoteType, encode_chunk(c)});
}

Bytes encode_notes(const SnapshotHead& h) {
  Bytes out;
  for (const ElfNote& n : h.notes) append_note(out, n);
  append_chunk(out, file_chunk(kSnapshotChunk, encode_about(h)));
  CborWriter config, boot;
  encode_config(config, h.config);
  append_chunk(out, file_chunk(kConfigChunk, config.take()));
  boot.map(2);
  boot.text("append");
  boot.text(h.append);
  boot.text("images");
  encode_boot(boot, h.boot);
  append_chunk(out, file_chunk(kBootChunk, boot.take(), false));
  CborWriter schemas;
  if (h.schemas.empty()) schemas.raw(h.schema_payload);
  else encode_schemas(schemas, h.schemas);
  append_chunk(out, file_chunk(kSchemasChunk, schemas.take(), false));
  StoredChunk memory = file_chunk(kMemoryChunk, encode_memory(h));
  memory.version = h.memory_version;
  append_chunk(out, memory);
  if (!h.disks.empty()) append_chunk(out, file_chunk(kDisksChunk, encode_disks(h)));
  for (const StoredChunk& c : h.unknown) append_chunk(out, c);
  for (const StoredChunk& c : h.state.chunks) append_chunk(out, c);
  return out;
}

StoredChunk seal(const Hash128& of) {
  CborWriter w;
  put_hash(w, of);
  return file_chunk(kSealChunk, w.take());
}
uint64_t seal_bytes() { return note_bytes({std::string(kChunkOwner), kChunkNoteType, encode_chunk(seal({}))}); }

Bytes encode_chunk(const StoredChunk& c) {
  CHECK(c.name.size() < 256 && c.payload.size() <= kMaxChunkBytes);
  Bytes out(32);
  store_le(&out[0], static_cast<uint32_t>(c.payload.size()));
  store_le(&out[4], c.version);
  out[6] = c.critical ? 1 : 0;
  out[7] = static_cast<uint8_t>(c.name.size());
  store_le(&out[8], c.instance);
  out.insert(out.end(), c.name.begin(), c.name.end());
  out.insert(out.end(), c.payload.begin(), c.payload.end());
  store_hash(hash128(out), &out[16]);  // of all this, with zeros in its own place
  return out;
}

Result<StoredChunk> decode_chunk(std::span<const uint8_t> desc) {
  if (desc.size() < 32) return bad("a chunk is cut off");
  StoredChunk c;
  const uint32_t payload = load_le<uint32_t>(&desc[0]), name = desc[7];
  if (desc.size() != uint64_t{32} + name + payload)
    return bad(fmt::format("a chunk of {} bytes says that it has {}", desc.size(), uint64_t{32} + name + payload));
  c.name.assign(desc.begin() + 32, desc.begin() + 32 + name);
  c.version = load_le<uint16_t>(&desc[4]);
  c.critical = desc[6] != 0;
  c.instance = load_le<uint32_t>(&desc[8]);
  Bytes plain(desc.begin(), desc.end());
  std::fill(plain.begin() + 16, plain.begin() + 32, 0);
  if (hash128(plain) != load_hash(&desc[16]))
    return bad(fmt::format("chunk '{}': its hash does not fit", chunk_name(c.name, c.instance)));
  if (desc[6] > 1 || load_le<uint32_t>(&desc[12]) != 0)
    return bad(
        fmt::format("chunk '{}': unknown flags; a newer dejavm may have written it", chunk_name(c.name, c.instance)));
  c.payload.assign(desc.begin() + 32 + name, desc.end());
  return c;
}

}  // namespace dejavm
