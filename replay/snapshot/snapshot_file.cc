#include "replay/snapshot/snapshot_file.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "replay/snapshot/head_codec.h"
#include "replay/state/state_codec.h"
#include "vmm/state/memory.h"

namespace dejavm {
namespace {

// Where debuggers see physical memory when linear addresses mean something: in the gap between the canonical halves.
constexpr uint64_t kPhysicalWindow = uint64_t{1} << 48;

Error bad(std::string message) { return {ErrorKind::kBadInput, std::move(message)}; }

std::vector<ElfLoad> loads_of(const SnapshotHead& h) {
  std::vector<ElfLoad> out;
  const uint64_t window = h.mappings.empty() ? 0 : kPhysicalWindow;
  size_t i = 0;
  for (; i < h.mappings.size() && h.mappings[i].linear < kPhysicalWindow; ++i) out.push_back(h.mappings[i]);
  for (const MemoryExtent& e : h.extents) {
    if (e.gpa >= kDiskRegions) break;  // no debugger looks for disks
    out.push_back({e.gpa + window, e.gpa, e.len_bytes, e.offset ? e.offset : h.data, e.offset ? e.len_bytes : 0, 7});
  }
  for (; i < h.mappings.size(); ++i) out.push_back(h.mappings[i]);
  return out;
}

bool has_sums(const SnapshotHead& h, const MemoryExtent& e) { return h.memory_version == 1 || e.offset != 0; }

// Calls f with each block that has a sum, in order, until it answers false.
template <class F>
bool for_each_block(const SnapshotHead& h, F f) {
  uint64_t next = 0;
  for (const MemoryExtent& e : h.extents)
    for (uint64_t b = std::max(next, e.gpa / kBlockBytes);
         has_sums(h, e) && b <= (e.gpa + e.len_bytes - 1) / kBlockBytes; ++b, next = b)
      if (!f(b)) return false;
  return true;
}

// What decode_memory cannot see: extents within the machine, in order, where lay_out would put them.
std::string invalid_memory(const SnapshotHead& h, uint64_t file_bytes) {
  auto regions = memory_layout(h.config.memory_bytes, h.config.rom_bytes, h.config.test_device, h.config.disks);
  uint64_t whole = 0;
  for (const MemoryRegion& r : regions) whole += r.len_bytes;
  for (unsigned n = 0; n < h.disks.size(); ++n)
    if (!h.delta() && !h.disks[n].external) regions.push_back({image_region(n), whole_pages(h.config.disks[n].bytes)});
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
    if (e.gpa < kImageRegions) covered += e.len_bytes;
  }
  if (!h.delta() && covered != whole)
    return fmt::format("{} of the machine's {} bytes of memory are there", covered, whole);
  if (pages != h.state.pages) return fmt::format("{} pages instead of {}", pages, h.state.pages);
  if (offset != file_bytes) return fmt::format("memory ends at byte {}, the file at {}", offset, file_bytes);
  Hash128 sum;
  size_t listed = 0;
  const bool all = for_each_block(h, [&](uint64_t block) {
    if (listed >= h.blocks.size() || h.blocks[listed].block != block) return false;
    if (block < kImageRegions / kBlockBytes) sum += h.blocks[listed].sum;
    ++listed;
    return true;
  });
  if (!all || listed != h.blocks.size()) return "the blocks are not those of the extents";
  if (!h.delta() && sum != h.state.memory) return "the sum of its blocks is not the memory sum";
  return {};
}

// Splits the loads into the extents' own and the mappings; checks the latter.
std::string invalid_loads(SnapshotHead& h, std::span<const ElfLoad> loads) {
  const auto memory = std::ranges::count_if(h.extents, [](const MemoryExtent& e) { return e.gpa < kDiskRegions; });
  if (loads.size() != static_cast<size_t>(memory))
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

}  // namespace

void lay_out(SnapshotHead& h) {
  h.memory_version = h.config.disks.empty() ? 1 : 2;
  h.blocks.clear();
  for_each_block(h, [&](uint64_t b) {
    h.blocks.push_back({b, {}});
    return true;
  });
  // Offsets are numbers of varying length in the notes, and the notes' length moves the offsets: until nothing moves.
  for (h.data = kElfDataAlignment;;) {
    h.file_bytes = h.data;
    for (MemoryExtent& e : h.extents)
      if (e.offset) e.offset = std::exchange(h.file_bytes, h.file_bytes + e.len_bytes);
    const uint64_t data = elf_layout(loads_of(h).size(), encode_notes(h).size() + seal_bytes()).data;
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

namespace {

// The head of a file, note by note. Errors are without the file's name.
class HeadReader {
 public:
  HeadReader(std::span<const uint8_t> bytes, uint64_t file_bytes, SnapshotHead& head)
      : bytes_(bytes), file_bytes_(file_bytes), h_(head) {}

  Result<void> read() {
    auto view = parse_elf_head(bytes_);
    if (!view) return view.error();
    h_.data = view->layout.data;
    h_.file_bytes = file_bytes_;
    for (size_t i = 0; i < view->notes.size(); ++i)
      if (auto done = note(view->notes[i], i + 1 == view->notes.size()); !done) return done;
    for (const std::string_view name : {kSnapshotChunk, kConfigChunk, kMemoryChunk, kSealChunk})
      if (!seen_.contains(std::string(name))) return bad(fmt::format("chunk '{}' is missing", name));
    if (digest_of(h_.state.chunks, h_.state.memory) != h_.state.digest)
      return bad("the digest is not that of the state's chunks and the memory sum");
    if (h_.disks.size() != h_.config.disks.size())
      return bad(fmt::format("the machine has {} disks, chunk '{}' names {}", h_.config.disks.size(), kDisksChunk,
                             h_.disks.size()));
    if (const std::string why = invalid_memory(h_, file_bytes_); !why.empty())
      return bad(fmt::format("chunk '{}': {}", kMemoryChunk, why));
    if (const std::string why = invalid_loads(h_, view->loads); !why.empty()) return bad(why);
    return {};
  }

 private:
  static Error at(const ElfNoteRef& n, std::string_view why) { return bad(fmt::format("byte {}: {}", n.offset, why)); }

  Result<void> note(const ElfNoteRef& n, bool is_last) {
    if (n.name != kChunkOwner) {
      if (!seen_.empty()) return at(n, fmt::format("a note of '{}' among the chunks", n.name));
      h_.notes.push_back({std::string(n.name), n.type, Bytes(n.desc.begin(), n.desc.end())});
      return {};
    }
    if (n.type != kChunkNoteType) return at(n, fmt::format("a DEJAVM note of the unknown type {:#x}", n.type));
    auto decoded = decode_chunk(n.desc);
    if (!decoded) return at(n, decoded.error().message);
    StoredChunk c = decoded.take();
    const std::string label = chunk_name(c.name, c.instance);
    if (!seen_.insert(label).second) return at(n, fmt::format("chunk '{}' occurs twice", label));
    CborReader whole(c.payload);  // one item, not nested without end, whatever it means
    whole.skip();
    if (whole.ok()) whole.end();
    if (!whole.ok())
      return at(n, fmt::format("chunk '{}', byte {} of its payload: {}", label, whole.error_offset(), whole.error()));
    if (is_last) return last(n, c, label);
    if (is_file_chunk(c.name)) return about_the_file(n, std::move(c), label);
    h_.state.chunks.push_back(std::move(c));
    return {};
  }

  Result<void> last(const ElfNoteRef& n, const StoredChunk& c, const std::string& label) const {
    CborReader r(c.payload);
    const Hash128 of = get_hash(r);
    if (c != seal(of))
      return at(n, fmt::format("the last chunk is '{}' instead of the seal: the file's head is damaged", label));
    if (of != hash128(bytes_.first(n.offset))) return at(n, "the seal does not fit: the file's head is damaged");
    return {};
  }

  Result<void> about_the_file(const ElfNoteRef& n, StoredChunk c, const std::string& label) {
    constexpr std::string_view kKnown[] = {kSnapshotChunk, kConfigChunk, kBootChunk,
                                           kSchemasChunk,  kMemoryChunk, kDisksChunk};
    const bool known = c.instance == 0 && std::ranges::find(kKnown, c.name) != std::end(kKnown);
    if (!known && c.critical)
      return at(n, fmt::format("chunk '{}' is unknown here and may not be skipped; a newer dejavm may have written it",
                               label));
    const uint16_t newest = c.name == kMemoryChunk ? 2 : 1;
    const bool has_version = c.version >= 1 && c.version <= newest;
    if (!known || (!has_version && !c.critical)) {
      h_.unknown.push_back(std::move(c));
      return {};
    }
    if (!has_version)
      return at(n, fmt::format("chunk '{}' has version {}; this build knows those up to {}", label, c.version, newest));
    CborReader r(c.payload);
    decode_file_chunk(c, r, h_);
    if (r.ok()) r.end();
    if (!r.ok())
      return at(n, fmt::format("chunk '{}', byte {} of its payload: {}", label, r.error_offset(), r.error()));
    return {};
  }

  std::span<const uint8_t> bytes_;
  uint64_t file_bytes_;
  SnapshotHead& h_;
  std::set<std::string> seen_;
};

}  // namespace

Result<std::unique_ptr<SnapshotFile>> SnapshotFile::open(std::unique_ptr<ByteSource> source) {
  std::unique_ptr<SnapshotFile> f(new SnapshotFile(std::move(source)));
  const uint64_t size = f->source_->size();
  Bytes bytes(std::min<uint64_t>(size, 256));
  if (auto done = f->source_->read_at(0, bytes); !done) return done.error();
  auto head_bytes = elf_head_bytes(bytes, size);
  if (!head_bytes) return f->damaged(head_bytes.error().message);
  bytes.resize(*head_bytes);
  if (auto done = f->source_->read_at(0, bytes); !done) return done.error();
  if (auto done = HeadReader(bytes, size, f->head_).read(); !done) return f->damaged(done.error().message);
  return f;
}

Result<void> SnapshotFile::read_memory(const Page& page) const {
  Bytes buffer(kBlockBytes);
  size_t next_block = 0;
  Hash128 sum;
  for (const MemoryExtent& e : head_.extents) {
    if (!has_sums(head_, e)) {
      if (auto done = read_zeros(e, page); !done) return done;
      continue;
    }
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
        if (!page || gpa >= kImageRegions) continue;
        if (auto ok = page(index, hash.zero() ? nullptr : &buffer[at], hash); !ok) return ok;
      }
      done += len;
    }
  }
  if (!head_.blocks.empty() && sum != head_.blocks[next_block].sum) return damaged_block(next_block);
  return {};
}

// In a full file there is nothing before that they would be told from.
Result<void> SnapshotFile::read_zeros(const MemoryExtent& e, const Page& page) const {
  if (!page || !head_.delta() || e.gpa >= kImageRegions) return {};
  for (uint64_t at = 0; at < e.len_bytes; at += kPageSize)
    if (auto done = page((e.gpa + at) / kPageSize, nullptr, {}); !done) return done;
  return {};
}

Error SnapshotFile::damaged_block(size_t i) const {
  const uint64_t gpa = head_.blocks[i].block * kBlockBytes;
  return damaged(fmt::format("memory from {:#x} to {:#x} is damaged: its hash does not fit", gpa, gpa + kBlockBytes));
}

}  // namespace dejavm
