#include "replay/snapshot/snapshot_file.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "replay/state/state_codec.h"
#include "replay/trace/frame.h"
#include "vmm/state/memory.h"

namespace dejavm {
namespace {

constexpr std::string_view kOwner = "DEJAVM";
constexpr uint64_t kMaxChunkBytes = 64 << 20;
// Where debuggers see physical memory when linear addresses mean something: in the gap between the canonical halves.
constexpr uint64_t kPhysicalWindow = uint64_t{1} << 48;

// Chunks about the file; all others are the machine's, in its order.
constexpr std::string_view kFilePrefix = "file.";
constexpr std::string_view kSnapshot = "file.snapshot", kConfig = "file.config", kBoot = "file.boot",
                           kSchemas = "file.schemas", kMemory = "file.memory", kSeal = "file.seal";

Error bad(std::string message) { return {ErrorKind::kBadInput, std::move(message)}; }

bool is_file_chunk(std::string_view name) { return name.substr(0, kFilePrefix.size()) == kFilePrefix; }

std::vector<ElfLoad> loads_of(const SnapshotHead& h) {
  std::vector<ElfLoad> out;
  const uint64_t window = h.mappings.empty() ? 0 : kPhysicalWindow;
  size_t i = 0;
  for (; i < h.mappings.size() && h.mappings[i].linear < kPhysicalWindow; ++i) out.push_back(h.mappings[i]);
  for (const MemoryExtent& e : h.extents)
    out.push_back({e.gpa + window, e.gpa, e.len_bytes, e.offset ? e.offset : h.data, e.offset ? e.len_bytes : 0, 7});
  for (; i < h.mappings.size(); ++i) out.push_back(h.mappings[i]);
  return out;
}

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

// Calls f with each block that the extents touch, in order, until it answers false.
template <class F>
bool for_each_block(std::span<const MemoryExtent> extents, F f) {
  uint64_t next = 0;
  for (const MemoryExtent& e : extents)
    for (uint64_t b = std::max(next, e.gpa / kBlockBytes); b <= (e.gpa + e.len_bytes - 1) / kBlockBytes; ++b, next = b)
      if (!f(b)) return false;
  return true;
}

// What decode_memory cannot see: extents within the machine, in order, where lay_out would put them.
std::string invalid_memory(const SnapshotHead& h, uint64_t file_bytes) {
  const auto regions = memory_layout(h.config.memory_bytes, h.config.rom_bytes, h.config.test_device);
  uint64_t end = 0, pages = 0, offset = h.data, covered = 0;
  for (size_t i = 0; i < h.extents.size(); ++i) {
    const MemoryExtent& e = h.extents[i];
    auto refuse = [&](std::string_view why) {
      return fmt::format("extent {} ({:#x}, {:#x} bytes): {}", i, e.gpa, e.len_bytes, why);
    };
    if (e.gpa % kPageSize || e.len_bytes % kPageSize || e.len_bytes == 0) return refuse("not in whole pages");
    if (i > 0 && e.gpa < end) return refuse("overlaps the extent before it, or is out of order");
    const bool inside = std::any_of(regions.begin(), regions.end(), [&](const MemoryRegion& r) {
      return e.gpa >= r.start.value && e.gpa - r.start.value < r.len_bytes &&
             e.len_bytes <= r.len_bytes - (e.gpa - r.start.value);
    });
    if (!inside) return refuse("outside the machine's memory");
    if (e.offset) {
      if (e.offset != offset)
        return refuse(fmt::format("its content is said to be at byte {}, not {}", e.offset, offset));
      if (e.len_bytes > file_bytes - std::min(file_bytes, offset)) return refuse("its content ends beyond the file");
      offset += e.len_bytes;
    }
    end = e.gpa + e.len_bytes;
    pages += e.len_bytes / kPageSize;
    covered += e.len_bytes;
  }
  uint64_t whole = 0;
  for (const MemoryRegion& r : regions) whole += r.len_bytes;
  if (!h.delta() && covered != whole)
    return fmt::format("{} of the machine's {} bytes of memory are there", covered, whole);
  if (pages != h.state.pages) return fmt::format("{} pages instead of {}", pages, h.state.pages);
  if (offset != file_bytes) return fmt::format("memory ends at byte {}, the file at {}", offset, file_bytes);
  Hash128 sum;
  size_t listed = 0;
  const bool all = for_each_block(h.extents, [&](uint64_t block) {
    if (listed >= h.blocks.size() || h.blocks[listed].block != block) return false;
    sum += h.blocks[listed++].sum;
    return true;
  });
  if (!all || listed != h.blocks.size()) return "the blocks are not those of the extents";
  if (!h.delta() && sum != h.state.memory) return "the sum of its blocks is not the memory sum";
  return {};
}

// Splits the loads into the extents' own and the mappings; checks the latter.
std::string invalid_loads(SnapshotHead& h, std::span<const ElfLoad> loads) {
  if (loads.size() != h.extents.size())
    for (const ElfLoad& l : loads)
      if (l.linear < kPhysicalWindow || l.linear >= 2 * kPhysicalWindow) h.mappings.push_back(l);
  const auto expected = loads_of(h);
  if (!std::equal(expected.begin(), expected.end(), loads.begin(), loads.end()))
    return "the program headers do not describe the memory";
  uint64_t end = 0;
  for (const ElfLoad& m : h.mappings) {
    auto e = std::upper_bound(h.extents.begin(), h.extents.end(), m.physical,
                              [](uint64_t gpa, const MemoryExtent& x) { return gpa < x.gpa; });
    const bool inside = e != h.extents.begin() && (--e, m.physical - e->gpa < e->len_bytes &&
                                                            m.len_bytes <= e->len_bytes - (m.physical - e->gpa));
    if (!inside || e->offset == 0 || m.offset != e->offset + (m.physical - e->gpa) || m.file_bytes != m.len_bytes ||
        m.len_bytes == 0 || m.linear < end || m.len_bytes > ~m.linear)
      return fmt::format("the program header for {:#x} does not describe memory", m.linear);
    end = m.linear + m.len_bytes;
  }
  return {};
}

StoredChunk file_chunk(std::string_view name, Bytes payload, bool critical = true) {
  return {std::string(name), 0, 1, critical, std::move(payload)};
}

void append_chunk(Bytes& out, const StoredChunk& c) {
  append_note(out, {std::string(kOwner), kChunkNoteType, encode_chunk(c)});
}

Bytes encode_notes(const SnapshotHead& h) {
  Bytes out;
  for (const ElfNote& n : h.notes) append_note(out, n);
  append_chunk(out, file_chunk(kSnapshot, encode_about(h)));
  CborWriter config, boot;
  encode_config(config, h.config);
  append_chunk(out, file_chunk(kConfig, config.take()));
  boot.map(2);
  boot.text("append");
  boot.text(h.append);
  boot.text("images");
  encode_boot(boot, h.boot);
  append_chunk(out, file_chunk(kBoot, boot.take(), false));
  CborWriter schemas;
  if (h.schemas.empty()) schemas.raw(h.schema_payload);
  else encode_schemas(schemas, h.schemas);
  append_chunk(out, file_chunk(kSchemas, schemas.take(), false));
  append_chunk(out, file_chunk(kMemory, encode_memory(h)));
  for (const StoredChunk& c : h.unknown) append_chunk(out, c);
  for (const StoredChunk& c : h.state.chunks) append_chunk(out, c);
  return out;
}

StoredChunk seal(const Hash128& of) {
  CborWriter w;
  put_hash(w, of);
  return file_chunk(kSeal, w.take());
}
uint64_t seal_bytes() { return note_bytes({std::string(kOwner), kChunkNoteType, encode_chunk(seal({}))}); }

}  // namespace

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

void lay_out(SnapshotHead& h) {
  h.blocks.clear();
  for_each_block(h.extents, [&](uint64_t b) {
    h.blocks.push_back({b, {}});
    return true;
  });
  // Offsets are numbers of varying length in the notes, and the notes' length moves the offsets: until nothing moves.
  for (h.data = kElfDataAlignment;;) {
    h.file_bytes = h.data;
    for (MemoryExtent& e : h.extents)
      if (e.offset) e.offset = std::exchange(h.file_bytes, h.file_bytes + e.len_bytes);
    const uint64_t data = elf_layout(h.extents.size() + h.mappings.size(), encode_notes(h).size() + seal_bytes()).data;
    if (data == h.data) break;
    h.data = data;
  }
  for (ElfLoad& m : h.mappings) {
    m.file_bytes = m.len_bytes;
    for (const MemoryExtent& e : h.extents)
      if (m.physical >= e.gpa && m.physical - e.gpa < e.len_bytes) m.offset = e.offset + (m.physical - e.gpa);
  }
}

Bytes encode_snapshot_head(const SnapshotHead& h) {
  Bytes notes = encode_notes(h);
  const auto loads = loads_of(h);
  const ElfLayout layout = elf_layout(loads.size(), notes.size() + seal_bytes());
  Bytes out = elf_head(layout, loads);
  out.insert(out.end(), notes.begin(), notes.end());
  append_chunk(out, seal(hash128(out)));
  out.resize(layout.data);
  return out;
}

Error SnapshotFile::damaged(std::string_view why) const { return bad(fmt::format("{}: {}", name(), why)); }

Result<std::unique_ptr<SnapshotFile>> SnapshotFile::open(const std::string& path) {
  auto source = open_file(path);
  if (!source) return source.error();
  return open(source.take());
}

Result<std::unique_ptr<SnapshotFile>> SnapshotFile::open(std::unique_ptr<ByteSource> source) {
  std::unique_ptr<SnapshotFile> f(new SnapshotFile(std::move(source)));
  SnapshotHead& h = f->head_;
  const uint64_t size = f->source_->size();
  Bytes bytes(std::min<uint64_t>(size, 256));
  if (auto done = f->source_->read_at(0, bytes); !done) return done.error();
  auto head_bytes = elf_head_bytes(bytes, size);
  if (!head_bytes) return f->damaged(head_bytes.error().message);
  bytes.resize(*head_bytes);
  if (auto done = f->source_->read_at(0, bytes); !done) return done.error();
  auto view = parse_elf_head(bytes);
  if (!view) return f->damaged(view.error().message);
  h.data = view->layout.data;
  h.file_bytes = size;

  std::set<std::string> seen;
  for (size_t i = 0; i < view->notes.size(); ++i) {
    const ElfNoteRef& n = view->notes[i];
    if (n.name != kOwner) {
      if (!seen.empty()) return f->damaged(fmt::format("byte {}: a note of '{}' among the chunks", n.offset, n.name));
      h.notes.push_back({std::string(n.name), n.type, Bytes(n.desc.begin(), n.desc.end())});
      continue;
    }
    auto at = [&](std::string_view why) { return f->damaged(fmt::format("byte {}: {}", n.offset, why)); };
    if (n.type != kChunkNoteType) return at(fmt::format("a DEJAVM note of the unknown type {:#x}", n.type));
    auto decoded = decode_chunk(n.desc);
    if (!decoded) return at(decoded.error().message);
    StoredChunk c = decoded.take();
    const std::string label = chunk_name(c.name, c.instance);
    if (!seen.insert(label).second) return at(fmt::format("chunk '{}' occurs twice", label));
    CborReader whole(c.payload);  // one item, not nested without end, whatever it means
    whole.skip();
    if (whole.ok()) whole.end();
    if (!whole.ok())
      return at(fmt::format("chunk '{}', byte {} of its payload: {}", label, whole.error_offset(), whole.error()));
    CborReader r(c.payload);
    if (i + 1 == view->notes.size()) {
      const Hash128 of = get_hash(r);
      if (c != seal(of))
        return at(fmt::format("the last chunk is '{}' instead of the seal: the file's head is damaged", label));
      if (of != hash128(std::span(bytes).first(n.offset)))
        return at("the seal does not fit: the file's head is damaged");
      break;
    }
    if (!is_file_chunk(c.name)) {
      h.state.chunks.push_back(std::move(c));
      continue;
    }
    const bool known = c.instance == 0 && (c.name == kSnapshot || c.name == kConfig || c.name == kBoot ||
                                           c.name == kSchemas || c.name == kMemory);
    if (!known || (c.version != 1 && !c.critical)) {
      if (c.critical)
        return at(fmt::format("chunk '{}' is unknown here and may not be skipped; a newer dejavm may have written it",
                              label));
      h.unknown.push_back(std::move(c));
      continue;
    }
    if (c.version != 1)
      return at(fmt::format("chunk '{}' has version {}; this build knows version 1", label, c.version));
    if (c.name == kSnapshot) decode_about(r, h);
    else if (c.name == kConfig) h.config = decode_config(r);
    else if (c.name == kMemory) decode_memory(r, h);
    else if (c.name == kSchemas) {
      read_schemas(r, nullptr);
      h.schema_payload = c.payload;
    } else {
      CborMap map(r);
      for (std::string_view key; map.next(key);) {
        if (key == "append") h.append = r.text();
        else if (key == "images") h.boot = decode_boot(r);
        else r.fail(fmt::format("unknown key '{}'; a newer dejavm may have written it", key));
      }
    }
    if (r.ok()) r.end();
    if (!r.ok()) return at(fmt::format("chunk '{}', byte {} of its payload: {}", label, r.error_offset(), r.error()));
  }
  for (const std::string_view name : {kSnapshot, kConfig, kMemory, kSeal})
    if (!seen.contains(std::string(name))) return f->damaged(fmt::format("chunk '{}' is missing", name));
  if (digest_of(h.state.chunks, h.state.memory) != h.state.digest)
    return f->damaged("the digest is not that of the state's chunks and the memory sum");
  if (const std::string why = invalid_memory(h, size); !why.empty())
    return f->damaged(fmt::format("chunk '{}': {}", kMemory, why));
  if (const std::string why = invalid_loads(h, view->loads); !why.empty()) return f->damaged(why);
  return f;
}

Result<void> SnapshotFile::read_memory(const Page& page) const {
  Bytes buffer(kBlockBytes);
  size_t next_block = 0;
  Hash128 sum;
  for (const MemoryExtent& e : head_.extents) {
    for (uint64_t done = 0; done < e.len_bytes;) {
      const uint64_t gpa = e.gpa + done, block = gpa / kBlockBytes;
      if (block != head_.blocks[next_block].block) {
        if (sum != head_.blocks[next_block].sum) return damaged_block(next_block);
        ++next_block;
        sum = {};
      }
      const uint64_t len = std::min(e.len_bytes - done, kBlockBytes - gpa % kBlockBytes);
      if (e.offset)
        if (auto read = source_->read_at(e.offset + done, std::span(buffer).first(len)); !read) return read;
      for (uint64_t at = 0; at < len; at += kPageSize) {
        const uint64_t index = (gpa + at) / kPageSize;
        const Hash128 hash = e.offset ? hash_page(index, &buffer[at]) : Hash128{};
        sum += hash;
        if (!page) continue;
        if (auto ok = page(index, hash.zero() ? nullptr : &buffer[at], hash); !ok) return ok;
      }
      done += len;
    }
  }
  if (!head_.blocks.empty() && sum != head_.blocks[next_block].sum) return damaged_block(next_block);
  return {};
}

Error SnapshotFile::damaged_block(size_t i) const {
  const uint64_t gpa = head_.blocks[i].block * kBlockBytes;
  return damaged(fmt::format("memory from {:#x} to {:#x} is damaged: its hash does not fit", gpa, gpa + kBlockBytes));
}

}  // namespace dejavm
