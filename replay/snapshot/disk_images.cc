#include "replay/snapshot/disk_images.h"

#include <algorithm>

#include <fmt/format.h>

#include "vmm/machine/image_file.h"

namespace dejavm {
namespace {

using Kind = DiskImage::Range::Kind;

constexpr uint64_t kReadBytes = kBlockBytes;

Error unreadable(uint64_t offset) {
  return {ErrorKind::kHost, fmt::format("the image of a disk cannot be read at byte {}", offset)};
}

// Calls f(offset of a page, its content) for each page of a range, the image's last page filled up with zeros.
template <class F>
Result<void> for_each_image_page(DiskImage& image, uint64_t len_bytes, uint64_t from, uint64_t end, F f) {
  Bytes buffer(kReadBytes);
  for (uint64_t at = from; at < end; at += kReadBytes) {
    const uint64_t count = std::min(kReadBytes, end - at);
    const uint64_t in_image = std::min(count, len_bytes - at);
    if (!image.read(at, std::span(buffer).first(in_image))) return unreadable(at);
    std::fill_n(buffer.begin() + static_cast<ptrdiff_t>(in_image), count - in_image, uint8_t{0});
    for (uint64_t page = 0; page < count; page += kPageSize)
      if (auto done = f(at + page, &buffer[page]); !done) return done;
  }
  return {};
}

constexpr uint64_t kCopyBytes = 1 << 20;

class SnapshotImage final : public DiskImage {
 public:
  SnapshotImage(std::shared_ptr<const SnapshotFile> file, unsigned disk) : file_(std::move(file)) {
    const uint64_t start = image_region(disk).value;
    for (const MemoryExtent& extent : file_->head().extents)
      if (extent.gpa >= start && extent.gpa - start < kMaxDiskBytes)
        extents_.push_back({extent.gpa - start, extent.len_bytes, extent.offset});
  }

  bool read(uint64_t offset, std::span<uint8_t> to) override {
    while (!to.empty()) {
      const MemoryExtent* extent = holding(offset);
      if (extent == nullptr) return false;
      const uint64_t at = offset - extent->gpa;
      const std::span<uint8_t> piece = to.first(std::min<uint64_t>(to.size(), extent->len_bytes - at));
      if (!extent->offset) std::ranges::fill(piece, uint8_t{0});
      else if (!file_->source().read_at(extent->offset + at, piece)) return false;
      to = to.subspan(piece.size());
      offset += piece.size();
    }
    return true;
  }

  Range range_at(uint64_t offset) const override {
    if (const MemoryExtent* extent = holding(offset))
      return {extent->offset ? Kind::kData : Kind::kZeros, extent->len_bytes - (offset - extent->gpa)};
    const auto next = after(offset);
    return {Kind::kUnknown, next == extents_.end() ? kMaxDiskBytes : next->gpa - offset};
  }

 private:
  std::vector<MemoryExtent>::const_iterator after(uint64_t offset) const {
    return std::ranges::upper_bound(extents_, offset, {}, &MemoryExtent::gpa);
  }
  const MemoryExtent* holding(uint64_t offset) const {
    const auto next = after(offset);
    if (next == extents_.begin()) return nullptr;
    const MemoryExtent& extent = *(next - 1);
    return offset - extent.gpa < extent.len_bytes ? &extent : nullptr;
  }

  std::shared_ptr<const SnapshotFile> file_;
  std::vector<MemoryExtent> extents_;  // at offsets of the image
};

}  // namespace

Result<void> write_raw(AtomicFile& file, DiskImage& disk, uint64_t from, uint64_t to) {
  Bytes buffer;
  for (uint64_t at = from; at < to;) {
    const DiskImage::Range range = disk.range_at(at);
    const bool has_data = range.kind == Kind::kData;
    const uint64_t count = std::min({range.len_bytes, to - at, has_data ? kCopyBytes : to});
    buffer.resize(has_data ? count : 0);
    if (!disk.read(at, buffer))
      return Error{ErrorKind::kHost, fmt::format("the disk cannot be read at byte {}: {}", at, disk.problem())};
    const bool is_zero = std::ranges::all_of(buffer, [](uint8_t byte) { return byte == 0; });
    if (!is_zero)
      if (auto done = file.write_at(at, buffer); !done) return done;
    at += count;
  }
  return file.set_size(to);
}

Result<Hash128> image_hash(DiskImage& image, uint64_t len_bytes) {
  Hash128 sum;
  for (uint64_t at = 0; at < len_bytes;) {
    const DiskImage::Range range = image.range_at(at);
    const uint64_t end = at + std::min(range.len_bytes, whole_pages(len_bytes) - at);
    if (range.kind == Kind::kUnknown) return unreadable(at);
    if (range.kind == Kind::kData) {
      auto done = for_each_image_page(image, len_bytes, at, end, [&](uint64_t offset, const uint8_t* page) {
        sum += hash_page(offset / kPageSize, page);
        return Result<void>{};
      });
      if (!done) return done.error();
    }
    at = end;
  }
  return sum;
}

std::vector<MemoryExtent> image_extents(unsigned disk, const DiskImage* image, uint64_t len_bytes) {
  const uint64_t start = image_region(disk).value;
  const uint64_t whole = whole_pages(len_bytes);
  if (image == nullptr) return {{start, whole, 0}};
  std::vector<MemoryExtent> out;
  for (uint64_t at = 0; at < whole;) {
    const DiskImage::Range range = image->range_at(at);
    const uint64_t count = std::min(range.len_bytes, whole - at);
    const uint64_t has_content = range.kind == Kind::kData ? 1 : 0;
    if (range.kind != Kind::kUnknown) {
      const bool goes_on =
          !out.empty() && out.back().gpa + out.back().len_bytes == start + at && out.back().offset == has_content;
      if (goes_on) out.back().len_bytes += count;
      else out.push_back({start + at, count, has_content});
    }
    at += count;
  }
  return out;
}

Result<uint64_t> write_image_extent(AtomicFile& file, const MemoryExtent& extent, DiskImage& image, uint64_t len_bytes,
                                    std::vector<BlockSum>& blocks) {
  if (!extent.offset) return uint64_t{0};
  const uint64_t start = extent.gpa / (kMaxDiskBytes * 2) * (kMaxDiskBytes * 2);
  auto block = std::ranges::lower_bound(blocks, extent.gpa / kBlockBytes, {}, &BlockSum::block);
  uint64_t written = 0;
  const uint64_t from = extent.gpa - start;
  auto done = for_each_image_page(image, len_bytes, from, from + extent.len_bytes,
                                  [&](uint64_t offset, const uint8_t* page) -> Result<void> {
                                    const uint64_t gpa = start + offset;
                                    const Hash128 hash = hash_page(gpa / kPageSize, page);
                                    if (hash.zero()) return {};
                                    if (block->block != gpa / kBlockBytes)
                                      block = std::ranges::lower_bound(blocks, gpa / kBlockBytes, {}, &BlockSum::block);
                                    block->sum += hash;
                                    written += kPageSize;
                                    return file.write_at(extent.offset + (gpa - extent.gpa), {page, kPageSize});
                                  });
  if (!done) return done.error();
  return written;
}

Result<std::unique_ptr<DiskImage>> open_image(const std::string& path, const DiskConfig& disk) {
  auto image = open_image_file(path);
  if (!image) return image.error();
  const auto bad = [&](const std::string& why) { return Error{ErrorKind::kHost, fmt::format("{}: {}", path, why)}; };
  const uint64_t bytes = (*image)->len_bytes() / disk.block_bytes * disk.block_bytes;
  if (bytes != disk.bytes) return bad(fmt::format("an image of {} bytes; the disk has {}", bytes, disk.bytes));
  auto hash = image_hash(**image, disk.bytes);
  if (!hash) return bad(hash.error().message);
  const Hash128 wanted = load_hash(disk.hash.data());
  if (*hash != wanted)
    return bad(fmt::format("an image with hash {}; the disk started from one with {}", to_hex(*hash), to_hex(wanted)));
  return std::unique_ptr<DiskImage>(image.take());
}

std::unique_ptr<DiskImage> image_in(std::shared_ptr<const SnapshotFile> file, unsigned disk) {
  return std::make_unique<SnapshotImage>(std::move(file), disk);
}

}  // namespace dejavm
