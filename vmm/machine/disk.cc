#include "vmm/machine/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace dejavm {

static int64_t modified_ns(const struct stat& st) {
  return int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
}

Result<std::unique_ptr<RawImage>> RawImage::open(const std::string& path) {
  const auto bad = [&](std::string_view why) { return Error{ErrorKind::kHost, fmt::format("{}: {}", path, why)}; };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return bad(std::strerror(errno));
  std::unique_ptr<RawImage> image(new RawImage(fd));
  struct stat st {};
  if (fstat(fd, &st) != 0) return bad(std::strerror(errno));
  if (S_ISDIR(st.st_mode)) return bad("a directory, not a disk image");
  const off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0) return bad("not a disk image: its size is unknown");
  if (end == 0) return bad("an empty disk image");
  image->len_bytes_ = static_cast<uint64_t>(end);
  image->modified_ns_ = modified_ns(st);
  return image;
}

RawImage::~RawImage() { close(fd_); }

bool RawImage::read(uint64_t offset, std::span<uint8_t> to) {
  for (size_t done = 0; done < to.size();) {
    const ssize_t n = pread(fd_, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      problem_ = n < 0 ? std::strerror(errno) : "it is shorter than it was";
      return false;
    }
    done += static_cast<size_t>(n);
  }
  return true;
}

bool RawImage::changed() const {
  struct stat st {};
  return fstat(fd_, &st) != 0 || modified_ns(st) != modified_ns_ || lseek(fd_, 0, SEEK_END) < off_t(len_bytes_);
}

DiskImage::Range RawImage::range_at(uint64_t offset) const {
  const auto at = static_cast<off_t>(offset);
  const uint64_t rest = offset < len_bytes_ ? len_bytes_ - offset : kPageSize;
  const off_t data = lseek(fd_, at, SEEK_DATA);
  if (data < 0)
    return {errno == ENXIO ? Range::Kind::kZeros : Range::Kind::kData, rest};  // nothing more, or it cannot tell
  const uint64_t hole = (static_cast<uint64_t>(data) - offset) / kPageSize * kPageSize;
  if (hole > 0) return {Range::Kind::kZeros, hole};
  const off_t end = lseek(fd_, data, SEEK_HOLE);
  if (end < 0) return {Range::Kind::kData, rest};
  const uint64_t len = static_cast<uint64_t>(end) - offset;
  return {Range::Kind::kData, (len + kPageSize - 1) / kPageSize * kPageSize};
}

Disk::Disk(const DiskConfig& config, unsigned number, GuestMemory& memory, std::unique_ptr<DiskImage> image)
    : number_(number),
      len_bytes_(config.bytes),
      memory_(memory),
      bits_(disk_region(number)),
      content_(bits_ + disk_bitmap_bytes(config.bytes)),
      image_(std::move(image)) {}

bool Disk::is_written(uint64_t page) const {
  uint8_t bits = 0;
  CHECK(memory_.read(bits_ + page / 8, &bits, 1));
  return bits >> page % 8 & 1;
}

template <class F>
bool Disk::for_each_page(uint64_t offset, uint64_t len_bytes, F f) {
  CHECK(offset <= len_bytes_ && len_bytes <= len_bytes_ - offset);
  for (uint64_t done = 0; done < len_bytes;) {
    const uint64_t at = (offset + done) % kPageSize;
    const uint64_t count = std::min(kPageSize - at, len_bytes - done);
    if (!f((offset + done) / kPageSize, at, count, done)) return false;
    done += count;
  }
  return true;
}

bool Disk::read(uint64_t offset, std::span<uint8_t> to) {
  return for_each_page(offset, to.size(), [&](uint64_t page, uint64_t at, uint64_t count, uint64_t done) {
    const std::span<uint8_t> piece = to.subspan(done, count);
    if (is_written(page)) return memory_.read(content_ + page * kPageSize + at, piece.data(), count);
    return read_image(page * kPageSize + at, piece);
  });
}

// The first page from `page` on, which is like this, that is not; at most `limit`.
uint64_t Disk::end_of_run(uint64_t page, uint64_t limit, bool written) const {
  const uint8_t* const bits = memory_.page(bits_);
  const uint8_t eight = written ? 0xff : 0;
  while (page < limit) {
    if (page % 8 == 0 && bits[page / 8] == eight) page += 8;
    else if (is_written(page) == written) ++page;
    else break;
  }
  return std::min(page, limit);
}

DiskImage::Range Disk::range_at(uint64_t offset) const {
  const uint64_t first = offset / kPageSize;
  const bool written = is_written(first);
  constexpr uint64_t kLook = uint64_t{1} << 18;
  const uint64_t limit = std::min((len_bytes_ + kPageSize - 1) / kPageSize, first + kLook);
  const uint64_t count = (end_of_run(first, limit, written) - first) * kPageSize;
  if (written) return {Range::Kind::kData, count};
  if (image_ == nullptr) return {Range::Kind::kZeros, count};
  const Range range = image_->range_at(offset);
  return {range.kind, std::min(range.len_bytes, count)};
}

void Disk::log_to(DiskLog* log) {
  log_ = image_ != nullptr ? log : nullptr;
  const uint64_t pieces = (len_bytes_ + kDiskPieceBytes - 1) / kDiskPieceBytes;
  logged_.assign(log_ != nullptr ? pieces : 0, false);
}

bool Disk::log_piece(uint64_t number) {
  if (logged_[number]) return true;
  const uint64_t at = number * kDiskPieceBytes;
  std::vector<uint8_t> content(std::min(kDiskPieceBytes, len_bytes_ - at));
  if (!image_->read(at, content)) return lose(image_->problem());
  if (!log_->piece(number_, number, content)) return lose(log_->why());
  logged_[number] = true;
  return true;
}

bool Disk::lose(const std::string& why) {
  if (loss_.empty()) loss_ = why.empty() ? "what is there is not known" : why;
  return false;
}

// Within a page, and so within a piece.
bool Disk::read_image(uint64_t offset, std::span<uint8_t> to) {
  if (image_ == nullptr) {
    std::ranges::fill(to, uint8_t{0});
    return true;
  }
  if (log_ == nullptr) return image_->read(offset, to) || lose(image_->problem());
  if (!log_piece(offset / kDiskPieceBytes)) return false;
  return log_->read(number_, offset, to) || lose(log_->why());
}

bool Disk::write_page(uint64_t page, uint64_t at, std::span<const uint8_t> from) {
  if (is_written(page)) return memory_.write(content_ + page * kPageSize + at, from.data(), from.size());
  std::array<uint8_t, kPageSize> whole{};
  const uint64_t in_disk = std::min(kPageSize, len_bytes_ - page * kPageSize);
  if (from.size() < in_disk && !read(page * kPageSize, std::span(whole).first(in_disk))) return false;
  std::ranges::copy(from, whole.begin() + static_cast<ptrdiff_t>(at));
  const bool is_zero = std::ranges::all_of(whole, [](uint8_t byte) { return byte == 0; });
  if (!is_zero) CHECK(memory_.write(content_ + page * kPageSize, whole.data(), kPageSize));
  uint8_t bits = 0;
  CHECK(memory_.read(bits_ + page / 8, &bits, 1));
  bits |= static_cast<uint8_t>(1u << page % 8);
  return memory_.write(bits_ + page / 8, &bits, 1);
}

bool Disk::write(uint64_t offset, std::span<const uint8_t> from) {
  return for_each_page(offset, from.size(), [&](uint64_t page, uint64_t at, uint64_t count, uint64_t done) {
    return write_page(page, at, from.subspan(done, count));
  });
}

bool Disk::zero(uint64_t offset, uint64_t len_bytes) {
  static constexpr std::array<uint8_t, kPageSize> kZeros{};
  return for_each_page(offset, len_bytes, [&](uint64_t page, uint64_t at, uint64_t count, uint64_t) {
    return write_page(page, at, std::span(kZeros).first(count));
  });
}

}  // namespace dejavm
