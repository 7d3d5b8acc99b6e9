#include "replay/state/stored_state.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "replay/state/state_codec.h"

namespace dejavm {

StoredChunk get_chunk(CborReader& r) {
  StoredChunk c;
  unsigned seen = 0;
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "name") {
      c.name = r.text();
    } else if (key == "payload") {
      const size_t from = r.offset();
      r.skip();
      const auto item = r.since(from);
      if (r.ok()) c.payload.assign(item.begin(), item.end());
    } else if (key == "critical") {
      c.critical = r.boolean();
    } else if (key == "version" || key == "instance") {
      const uint64_t v = r.unsigned_int();
      const uint64_t max = key == "version" ? 0xffff : 0xffffffff;
      if (r.ok() && v > max) r.fail(fmt::format("{} {} is more than {}", key, v, max));
      if (key == "version") c.version = static_cast<uint16_t>(v);
      else c.instance = static_cast<uint32_t>(v);
    } else {
      r.fail(fmt::format("unknown chunk key '{}'; a newer dejavm may have written it", key));
    }
  }
  if (r.ok() && seen != 5) r.fail("a key of a chunk is missing");
  return c;
}

void put_chunk(CborWriter& w, const StoredChunk& c) {
  w.map(5);
  w.text("name");
  w.text(c.name);
  w.text("payload");
  w.raw(c.payload);
  w.text("version");
  w.unsigned_int(c.version);
  w.text("critical");
  w.boolean(c.critical);
  w.text("instance");
  w.unsigned_int(c.instance);
}

namespace {

const ChunkRef* find(std::span<const ChunkRef> refs, const StoredChunk& c) {
  const auto it = std::find_if(refs.begin(), refs.end(),
                               [&](const ChunkRef& r) { return r.instance == c.instance && r.schema->name == c.name; });
  return it == refs.end() ? nullptr : &*it;
}

Error bad(std::string message) { return {ErrorKind::kBadInput, std::move(message)}; }

}  // namespace

std::vector<StoredChunk> store_chunks(std::span<const ChunkRef> refs) {
  std::vector<StoredChunk> out;
  for (const ChunkRef& r : refs)
    out.push_back(
        {std::string(r.schema->name), r.instance, r.schema->version, r.critical, encode_state(*r.schema, r.data)});
  return out;
}

Hash128 digest_of(std::span<const StoredChunk> chunks, const Hash128& memory) {
  CborWriter w;
  w.array(chunks.size() + 1);
  for (const StoredChunk& c : chunks) {
    w.array(3);
    w.text(c.name);
    w.unsigned_int(c.instance);
    w.raw(c.payload);
  }
  put_hash(w, memory);
  return hash128(w.out());
}

Bytes encode_snapshot(const Snapshot& s) {
  CborWriter w;
  w.map(5);
  w.text("exits");
  w.unsigned_int(s.exits);
  w.text("pages");
  w.unsigned_int(s.pages);
  w.text("chunks");
  w.array(s.chunks.size());
  for (const StoredChunk& c : s.chunks) put_chunk(w, c);
  w.text("digest");
  put_hash(w, s.digest);
  w.text("memory");
  put_hash(w, s.memory);
  return w.take();
}

Result<Snapshot> decode_snapshot(std::span<const uint8_t> payload) {
  Snapshot s;
  unsigned seen = 0;
  CborReader r(payload);
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "exits") s.exits = r.unsigned_int();
    else if (key == "pages") s.pages = r.unsigned_int();
    else if (key == "chunks")
      for (uint64_t n = r.array(); n > 0 && r.ok(); --n) s.chunks.push_back(get_chunk(r));
    else if (key == "digest") s.digest = get_hash(r);
    else if (key == "memory") s.memory = get_hash(r);
    else r.fail(fmt::format("unknown snapshot key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok()) r.end();
  if (r.ok() && seen != 5) r.fail("a key is missing");
  if (!r.ok()) return bad(fmt::format("the snapshot, byte {} of its content: {}", r.error_offset(), r.error()));
  if (digest_of(s.chunks, s.memory) != s.digest) return bad("the snapshot's digest is not that of its content");
  return s;
}

Result<void> load_chunks(std::span<const StoredChunk> stored, std::span<const ChunkRef> refs) {
  std::vector<std::pair<const ChunkRef*, StateBuffer>> decoded;
  for (const StoredChunk& c : stored) {
    const ChunkRef* ref = find(refs, c);
    if (!ref && c.critical)
      return bad(fmt::format("chunk '{}' is unknown here and may not be skipped; a newer dejavm may have written it",
                             chunk_name(c.name, c.instance)));
    if (!ref) continue;
    if (std::any_of(decoded.begin(), decoded.end(), [&](const auto& d) { return d.first == ref; }))
      return bad(fmt::format("chunk '{}' occurs twice", chunk_name(c.name, c.instance)));
    StateBuffer state(*ref->schema);
    if (auto done = decode_state(*ref->schema, c.instance, c.version, c.payload, state.data()); !done)
      return done.error();
    decoded.emplace_back(ref, std::move(state));
  }
  // What may be skipped may be missing: another engine saved, which has no such state. Ours is then as it is when new.
  for (const ChunkRef& ref : refs)
    if (ref.critical && std::none_of(decoded.begin(), decoded.end(), [&](const auto& d) { return d.first == &ref; }))
      return bad(fmt::format("chunk '{}' is missing", chunk_name(ref.schema->name, ref.instance)));
  for (auto& [ref, state] : decoded) std::memcpy(ref->data, state.data(), ref->schema->size);
  return {};
}

std::vector<std::string> diff_chunks(std::span<const StoredChunk> expected, std::span<const ChunkRef> actual,
                                     size_t limit) {
  std::vector<std::string> out;
  for (const StoredChunk& c : expected) {
    if (out.size() >= limit) break;
    const ChunkRef* ref = find(actual, c);
    const std::string name = chunk_name(c.name, c.instance);
    if (!ref) {
      out.push_back(fmt::format("{}: not in this machine", name));
      continue;
    }
    StateBuffer state(*ref->schema);
    if (auto done = decode_state(*ref->schema, c.instance, c.version, c.payload, state.data()); !done) {
      out.push_back(done.error().message);
      continue;
    }
    for (const FieldDiff& d : diff_states(*ref->schema, state.data(), ref->data, limit - out.size()))
      out.push_back(fmt::format("{}.{}: expected {}, found {}", name, d.path, d.expected, d.actual));
  }
  return out;
}

}  // namespace dejavm
