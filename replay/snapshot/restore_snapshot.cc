#include "replay/snapshot/restore_snapshot.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "replay/snapshot/disk_images.h"

namespace dejavm {
namespace {

constexpr size_t kMaxChain = 1000;

// The parent of the chain's last file. Two snapshots of one moment have the same digest, so files of the chain are no
// candidates.
Result<std::unique_ptr<SnapshotFile>> find_parent(const std::vector<std::unique_ptr<SnapshotFile>>& chain) {
  const SnapshotFile& child = *chain.back();
  const ParentRef& parent = *child.head().parent;
  const std::string folder = folder_of(child.name());
  auto candidate = [&](const std::string& name) -> std::unique_ptr<SnapshotFile> {
    const std::string path = folder + "/" + name;
    for (const auto& f : chain) {
      std::error_code ignored;
      if (std::filesystem::equivalent(path, f->name(), ignored)) return nullptr;
    }
    auto file = SnapshotFile::open(path);
    return file && (*file)->head().state.digest == parent.digest ? file.take() : nullptr;
  };
  if (auto file = candidate(parent.name)) return file;
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& e : std::filesystem::directory_iterator(folder, ignored)) names.push_back(e.path().filename());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names)
    if (auto file = candidate(name)) return file;
  return child.damaged(
      fmt::format("holds the changes since the snapshot '{}' with digest {}, and that is not in its folder",
                  parent.name, to_hex(parent.digest)));
}

// Puts one file's memory into the machine's, which is all zero before a full one.
Result<void> load_memory(const SnapshotFile& file, GuestMemory& memory) {
  for (const MemoryExtent& e : file.head().extents) {
    if (e.gpa >= kImageRegions) break;
    if (!e.offset && !file.head().delta()) continue;
    if (memory.map_file({e.gpa}, e.len_bytes, e.offset ? file.source().fd() : -1, e.offset)) continue;
    uint8_t* to = memory.written_range({e.gpa}, e.len_bytes);
    if (!e.offset) std::memset(to, 0, e.len_bytes);
    else if (auto done = file.source().read_at(e.offset, {to, e.len_bytes}); !done) return done;
  }
  return {};
}

// What each disk starts from: of those given, else what the chain's full file holds.
Result<std::vector<std::unique_ptr<DiskImage>>> images_of(const std::shared_ptr<SnapshotChain>& chain,
                                                          const RestoreOptions& options) {
  const std::shared_ptr<const SnapshotFile> full(chain, chain->files.front().get());
  const auto& disks = full->head().config.disks;
  for (const BoundImage& image : options.images)
    if (image.disk >= disks.size())
      return Error{ErrorKind::kHost, fmt::format("{}: there is no disk {} to start from {}; the machine has {}",
                                                 full->name(), image.disk, image.path, disks.size())};
  std::vector<std::unique_ptr<DiskImage>> out;
  for (unsigned n = 0; n < disks.size(); ++n) {
    const auto given = std::ranges::find(options.images, n, &BoundImage::disk);
    const DiskBase& base = full->head().disks[n];
    if (given != options.images.end()) {
      auto image = open_image(given->path, disks[n]);
      if (!image) return image.error();
      out.push_back(image.take());
    } else if (!base.external || !options.run) {
      out.push_back(image_in(full, n));
    } else {
      const std::string name = base.name.empty() ? "an image" : fmt::format("'{}'", base.name);
      return Error{ErrorKind::kHost,
                   fmt::format("{}: disk {} starts from {} of {} bytes with hash {}, which is not in it; give it: "
                               "--bind disk{}=PATH",
                               full->name(), n, name, disks[n].bytes, to_hex(load_hash(disks[n].hash.data())), n)};
    }
  }
  return out;
}

}  // namespace

Result<SnapshotChain> SnapshotChain::open(const std::string& path) {
  SnapshotChain chain;
  auto file = SnapshotFile::open(path);
  if (!file) return file.error();
  chain.files.push_back(file.take());
  while (chain.files.back()->head().delta()) {
    const SnapshotFile& child = *chain.files.back();
    if (chain.files.size() == kMaxChain)
      return child.damaged(fmt::format("the {}th snapshot in a row that needs a parent", kMaxChain));
    auto parent = find_parent(chain.files);
    if (!parent) return parent.error();
    if (!((*parent)->head().config == child.head().config))
      return child.damaged("its parent is a snapshot of another machine");
    chain.files.push_back(parent.take());
  }
  std::reverse(chain.files.begin(), chain.files.end());
  return chain;
}

Result<void> SnapshotChain::read_memory(const SnapshotFile::Page& page) const {
  for (const auto& file : files)
    if (auto done = file->read_memory(page); !done) return done;
  return {};
}

Verification::Verification(std::shared_ptr<SnapshotChain> chain, std::span<const MemoryRegion> regions)
    : chain_(std::move(chain)), hashes_(regions), thread_([this] {
        result_ = verify();
        if (!result_) failed_ = true;
      }) {}

Verification::~Verification() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

Result<void> Verification::wait() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

Result<void> Verification::verify() {
  Hash128 sum;
  bool first = true;  // before it memory is zero, and its pages of zeros need no look, which would cost host memory
  auto page = [&](uint64_t index, const uint8_t*, const Hash128& hash) -> Result<void> {
    if (stop_) return Error{ErrorKind::kHost, "stopped"};
    if (first && hash.zero()) return {};
    Hash128& known = hashes_[index];
    if (known == hash) return {};
    sum -= known;
    sum += hash;
    known = hash;
    return {};
  };
  for (const auto& file : chain_->files) {
    if (auto done = file->read_memory(page); !done) return done;
    first = false;
  }
  if (sum != chain_->head().state.memory)
    return chain_->files.back()->damaged(
        "memory, with that of its parents, is not what was saved: the memory sum differs");
  return {};
}

Result<RestoredFile> restore_file(const std::string& path, Console* console, const RestoreOptions& options) {
  auto chain = SnapshotChain::open(path);
  if (!chain) return chain.error();
  RestoredFile r;
  r.chain = std::make_shared<SnapshotChain>(chain.take());
  const SnapshotHead& head = r.chain->head();
  auto images = images_of(r.chain, options);
  if (!images) return images.error();
  auto machine = Machine::create(head.config, options.engine.or_else(head.engine), console, images.take());
  if (!machine) return machine.error();
  r.machine = machine.take();
  r.machine->sync_out();
  if (auto done = load_chunks(head.state.chunks, r.machine->chunks()); !done)
    return r.chain->files.back()->damaged(done.error().message);
  if (const char* why = r.machine->misfit()) return r.chain->files.back()->damaged(why);
  if (r.machine->position().retired.value > head.retired)
    return r.chain->files.back()->damaged("its position is behind its vCPU");
  GuestMemory& memory = r.machine->memory();
  r.verification = std::make_unique<Verification>(r.chain, memory.regions());
  for (const auto& file : r.chain->files)
    if (auto done = load_memory(*file, memory); !done) return done.error();
  r.machine->sync_in();
  if (r.machine->position().retired.value != head.retired || r.machine->now().value != head.now_ns)
    return r.chain->files.back()->damaged("chunk 'file.snapshot': its position or time is not that of the machine");
  if (options.verify)
    if (auto done = r.verification->wait(); !done) return done.error();
  return r;
}

SnapshotHead head_for_rewrite(RestoredFile& file, bool as_stored) {
  const SnapshotHead& h = file.chain->head();
  SnapshotHead out;
  out.writer = h.writer;
  out.boot = h.boot;
  out.append = h.append;
  out.bindings = h.bindings;
  out.disks = file.chain->files.front()->head().disks;
  out.unknown = h.unknown;
  out.state.exits = h.state.exits;
  out.state.chunks = h.state.chunks;
  out.schema_payload = h.schema_payload;
  if (as_stored) return out;
  file.machine->sync_out();
  const auto refs = file.machine->chunks();
  out.state.chunks = store_chunks(refs);
  for (const ChunkRef& r : refs)
    if (std::find(out.schemas.begin(), out.schemas.end(), r.schema) == out.schemas.end())
      out.schemas.push_back(r.schema);
  for (const StoredChunk& c : h.state.chunks)
    if (std::none_of(refs.begin(), refs.end(),
                     [&](const ChunkRef& r) { return r.schema->name == c.name && r.instance == c.instance; }))
      out.state.chunks.push_back(c);
  return out;
}

}  // namespace dejavm
