#include "replay/snapshot/saver.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "replay/snapshot/core_notes.h"
#include "replay/snapshot/disk_images.h"
#include "replay/state/state_codec.h"
#include "replay/store/atomic_file.h"

namespace dejavm {
namespace {

// One extent for each region: zeros become holes.
// Of a region that is mostly empty: extents with content for what was written, with what lies between when that is
// little, and of zeros for the rest.
void add_sparse(const MemoryRegion& region, std::vector<MemoryExtent>& out) {
  constexpr uint64_t kGapPages = 1024, kMaxExtents = 8192;
  std::vector<std::pair<uint64_t, uint64_t>> runs;  // of pages: first, and behind the last
  for (uint64_t gap = kGapPages; runs.empty() || runs.size() > kMaxExtents; gap *= 2) {
    runs.clear();
    for_each_page_with(region, kPageWritten, [&](uint64_t page) {
      if (!runs.empty() && page - runs.back().second < gap) runs.back().second = page + 1;
      else runs.push_back({page, page + 1});
    });
    if (runs.empty()) break;
  }
  uint64_t done = 0;
  const auto add = [&](uint64_t first, uint64_t end, uint64_t has_content) {
    if (end > first) out.push_back({region.start.value + first * kPageSize, (end - first) * kPageSize, has_content});
  };
  for (const auto& [first, end] : runs) {
    add(done, first, 0);
    add(first, end, 1);
    done = end;
  }
  add(done, region.len_bytes / kPageSize, 0);
}

std::vector<MemoryExtent> whole_memory(std::span<const MemoryRegion> regions) {
  std::vector<MemoryExtent> out;
  for (const MemoryRegion& r : regions) {
    if (r.hidden) add_sparse(r, out);
    else out.push_back({r.start.value, r.len_bytes, 1});
  }
  return out;
}

// Runs of pages that are zero, or not, alike. `pages` ascend.
std::vector<MemoryExtent> runs_of(std::span<const std::pair<uint64_t, bool>> pages) {
  std::vector<MemoryExtent> out;
  for (const auto& [index, zero] : pages) {
    const uint64_t gpa = index * kPageSize;
    if (!out.empty() && out.back().gpa + out.back().len_bytes == gpa && (out.back().offset == 0) == zero &&
        gpa != kFourGiB)
      out.back().len_bytes += kPageSize;
    else out.push_back({gpa, kPageSize, zero ? 0u : 1u});
  }
  return out;
}

}  // namespace

// What the child tells the parent at its end, followed by a message if it failed.
struct Saver::Reply {
  Hash128 digest, memory;
  uint64_t file_bytes = 0, content_bytes = 0;
  uint32_t delta = 0, failed = 0;
};

Saver::Saver(Machine& machine, SnapshotHead about)
    : machine_(machine), about_(std::move(about)), hashes_(machine.memory().regions()) {}

Saver::~Saver() { wait(); }

void Saver::came_from(const std::string& path, const SnapshotHead& head, const PageHashes& hashes) {
  base_ = ParentRef{head.state.digest, file_name(path)};
  base_path_ = path;
  base_memory_ = head.state.memory;
  hashes_.copy_from(hashes);
}

std::vector<uint64_t> Saver::written_pages() const {
  std::vector<uint64_t> out;
  for (const MemoryRegion& r : machine_.memory().regions())
    for_each_page_with(r, kPageDirtySave, [&](uint64_t p) { out.push_back(r.start.value / kPageSize + p); });
  return out;
}

// What the file says of the machine as it is now.
SnapshotHead Saver::head_now(const SaveOptions& options) {
  SnapshotHead head = about_;
  head.engine = machine_.engine().name();
  head.config = machine_.config();
  head.now_ns = machine_.now().value;
  head.retired = machine_.position().retired.value;
  if (options.exits) head.state.exits = options.exits;
  head.disks.resize(head.config.disks.size());
  for (DiskBase& disk : head.disks) disk.external = options.external_base;
  const bool as_stored = !head.state.chunks.empty();
  if (as_stored) return head;
  const auto chunks = machine_.chunks();
  head.state.chunks = store_chunks(chunks);
  for (const ChunkRef& c : chunks)
    if (std::ranges::find(head.schemas, c.schema) == head.schemas.end()) head.schemas.push_back(c.schema);
  return head;
}

// The child, from fork to its end: what came of it goes through the pipe.
void Saver::run_child(int pipe, const std::string& path, const SaveOptions& options, SnapshotHead head,
                      std::vector<uint64_t> written) {
  for (const int ignored : {SIGINT, SIGTERM, SIGPIPE}) std::signal(ignored, SIG_IGN);
  auto done = write(path, options, std::move(head), std::move(written));
  Reply reply;
  std::string message;
  if (done) {
    reply = *done;
  } else {
    reply.failed = 1;
    message = done.error().message;
  }
  std::vector<uint8_t> bytes(sizeof reply);
  std::memcpy(bytes.data(), &reply, sizeof reply);
  bytes.insert(bytes.end(), message.begin(), message.end());
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::write(pipe, bytes.data() + at, bytes.size() - at);
    if (n <= 0) break;
    at += static_cast<size_t>(n);
  }
  ::_exit(done ? 0 : 1);
}

Result<void> Saver::can_save(const Machine& machine, const std::string& path, const SaveOptions& options) {
  const auto& disks = machine.config().disks;
  for (unsigned n = 0; n < disks.size(); ++n)
    if (const DiskImage* image = machine.disk(n).image(); image != nullptr && image->changed())
      return Error{ErrorKind::kHost,
                   fmt::format("{}: the image of disk {} was written by another program since the machine started "
                               "from it, so it cannot be saved",
                               path, n)};
  const auto unknown = std::ranges::find(disks, decltype(DiskConfig::hash){}, &DiskConfig::hash);
  if (!options.external_base || unknown == disks.end()) return {};
  return Error{ErrorKind::kHost,
               fmt::format("{}: the image of disk {} cannot stay outside, for its hash is not known; save it within",
                           path, unknown - disks.begin())};
}

Result<void> Saver::write_images(AtomicFile& file, SnapshotHead& h, uint64_t& content_bytes) {
  for (const MemoryExtent& extent : h.extents) {
    if (extent.gpa < kImageRegions || !extent.offset) continue;
    const auto disk = static_cast<unsigned>((extent.gpa - kImageRegions) >> 44);
    DiskImage& image = *machine_.disk(disk).image();
    auto written = write_image_extent(file, extent, image, h.config.disks[disk].bytes, h.blocks);
    if (!written) return written.error();
    content_bytes += *written;
  }
  return {};
}

Result<void> Saver::start(const std::string& path, const SaveOptions& options) {
  if (auto done = can_save(machine_, path, options); !done) return done;
  collect(true);  // its result stays for poll() unless this one's takes its place
  if (!options.force && ::access(path.c_str(), F_OK) == 0) return exists_error(path);
  const auto begin = std::chrono::steady_clock::now();
  machine_.sync_out();
  SnapshotHead head = head_now(options);
  const uint64_t retired = head.retired;
  std::vector<uint64_t> written;
  std::error_code ignored;  // of a file that is not there
  if (options.delta && base_ && !std::filesystem::equivalent(path, base_path_, ignored)) {
    head.parent = base_;
    written = written_pages();
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return host_error(path, "start a save", errno);
  const pid_t child = ::fork();
  if (child < 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    return host_error(path, "start a save", error);
  }
  if (child == 0) run_child(ends[1], path, options, std::move(head), std::move(written));
  ::close(ends[1]);
  // From here on the flags say what changes after this snapshot.
  machine_.memory().clear_dirty(kPageDirtySave);
  machine_.engine().dirty_flags_cleared();
  child_ = child;
  pipe_ = ends[0];
  path_ = path;
  retired_ = retired;
  pause_ns_ = static_cast<uint64_t>((std::chrono::steady_clock::now() - begin).count());
  return {};
}

// The child's part. It alone touches hashes_.
Result<Saver::Reply> Saver::write(const std::string& path, const SaveOptions& options, SnapshotHead h,
                                  std::vector<uint64_t> written) {
  auto file = AtomicFile::create(path, options.force);
  if (!file) return file.error();
  GuestMemory& memory = machine_.memory();
  std::vector<VcpuState> vcpus;
  for (const ChunkRef& c : machine_.chunks())
    if (c.schema == &schema_of<Vcpu>()) vcpus.push_back(*static_cast<const VcpuState*>(c.data));
  h.notes = core_notes(vcpus);
  if (h.parent) {
    std::vector<std::pair<uint64_t, bool>> changed;
    Hash128 sum = base_memory_;
    for (const uint64_t index : written) {
      const Hash128 now = hash_page(index, memory.page({index * kPageSize}));
      Hash128& before = hashes_[index];
      if (now == before) continue;
      sum -= before;
      sum += now;
      before = now;
      changed.emplace_back(index, now.zero());
    }
    h.state.memory = sum;
    h.extents = runs_of(changed);
  } else {
    h.extents = whole_memory(memory.regions());
    for (unsigned n = 0; n < h.disks.size() && !options.external_base; ++n)
      std::ranges::copy(image_extents(n, machine_.disk(n).image(), h.config.disks[n].bytes),
                        std::back_inserter(h.extents));
    h.mappings = linear_mappings(vcpus[0], memory.regions());
    for (const MemoryRegion& r : memory.regions())
      for (uint64_t p = 0; p < r.len_bytes && !r.hidden; p += kPageSize)
        if ((r.flags[p / kPageSize] & kPageWritten) && is_vmcoreinfo(r.host + p) && h.notes.back().name != "VMCOREINFO")
          h.notes.push_back(vmcoreinfo(r.host + p));
  }
  h.state.pages = 0;
  for (const MemoryExtent& e : h.extents) h.state.pages += e.len_bytes / kPageSize;
  lay_out(h);

  // Memory, hashed on the way; zero pages stay holes.
  Reply reply;
  auto block = h.blocks.begin();
  Hash128 sum;
  for (const MemoryExtent& e : h.extents) {
    if (e.gpa >= kImageRegions) break;
    if (!e.offset) continue;
    uint64_t run = 0;  // pages that are waiting to be written
    for (uint64_t at = 0; at <= e.len_bytes; at += kPageSize) {
      const uint64_t gpa = e.gpa + at, index = gpa / kPageSize;
      const bool end = at == e.len_bytes;
      bool zero = true;
      if (!end) {
        while (block->block != gpa / kBlockBytes) ++block;
        const MemoryRegion* r = memory.find({gpa});
        if (h.parent || (r->flags[(gpa - r->start.value) / kPageSize] & kPageWritten)) {
          const Hash128 hash = hash_page(index, memory.page({gpa}));
          zero = hash.zero();
          sum += hash;
          block->sum += hash;
          if (!h.parent && hashes_[index] != hash) hashes_[index] = hash;
        } else if (!h.parent && !hashes_[index].zero()) {
          hashes_[index] = {};
        }
      }
      if (!zero) ++run;
      if ((zero || run == 512) && run > 0) {
        const uint64_t len = run * kPageSize, from = at + (zero ? 0 : kPageSize) - len;
        if (auto done = (*file)->write_at(e.offset + from, {memory.page({e.gpa + from}), len}); !done)
          return done.error();
        reply.content_bytes += len;
        run = 0;
      }
    }
  }
  if (auto done = write_images(**file, h, reply.content_bytes); !done) return done.error();
  if (!h.parent) h.state.memory = sum;
  h.state.digest = digest_of(h.state.chunks, h.state.memory);
  const Bytes front = encode_snapshot_head(h);
  CHECK(front.size() == h.data);
  if (auto done = (*file)->write_at(0, front); !done) return done.error();
  if (auto done = (*file)->set_size(h.file_bytes); !done) return done.error();
  if (auto done = (*file)->commit(); !done) return done.error();
  reply.digest = h.state.digest;
  reply.memory = h.state.memory;
  reply.file_bytes = h.file_bytes;
  reply.delta = h.parent ? 1 : 0;
  return reply;
}

std::optional<Result<Saved>> Saver::collect(bool block) {
  if (child_ <= 0) return std::nullopt;
  if (!block) {
    pollfd p{pipe_, POLLIN, 0};
    if (::poll(&p, 1, 0) <= 0) return std::nullopt;
  }
  std::string bytes;
  char part[4096];
  for (ssize_t n; (n = ::read(pipe_, part, sizeof part)) != 0;) {
    if (n < 0 && errno != EINTR) break;
    if (n > 0) bytes.append(part, static_cast<size_t>(n));
  }
  int status;
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {}
  ::close(pipe_);
  child_ = 0;
  Reply reply;
  reply.failed = 1;
  if (bytes.size() >= sizeof reply) std::memcpy(&reply, bytes.data(), sizeof reply);
  if (reply.failed) {
    base_.reset();  // hashes_ may be half changed
    std::string why =
        bytes.size() > sizeof reply ? bytes.substr(sizeof reply) : path_ + ": the saving process was killed";
    result_ = Error{ErrorKind::kHost, std::move(why)};
  } else {
    base_ = ParentRef{reply.digest, file_name(path_)};
    base_path_ = path_;
    base_memory_ = reply.memory;
    result_ = Saved{path_, reply.digest, retired_, reply.file_bytes, reply.content_bytes, reply.delta != 0, pause_ns_};
  }
  return result_;
}

std::optional<Result<Saved>> Saver::poll() {
  collect(false);
  return std::exchange(result_, std::nullopt);
}

std::optional<Result<Saved>> Saver::wait() {
  collect(true);
  return std::exchange(result_, std::nullopt);
}

}  // namespace dejavm
