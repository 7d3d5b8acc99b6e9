// A disk of the machine: an image that is never written, and over it what the guest has written, which is kept in
// guest memory, in a region that no guest can address. So what was written is in digests, keyframes, snapshots and
// deltas as memory is.
//
// The region of disk n begins at disk_region(n): a bit for each 4 KiB of the disk, set if it was written, rounded up to
// a page; then the disk's content there.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vmm/state/config.h"
#include "vmm/state/memory.h"

namespace dejavm {

// What a disk starts from. Reads are within its size.
class DiskImage {
 public:
  virtual ~DiskImage() = default;
  // False: it cannot be read any more, or what is there is not known.
  virtual bool read(uint64_t offset, std::span<uint8_t> to) = 0;
  // Why the last read failed, as the host says it; empty: what is there is not known.
  virtual std::string problem() const { return {}; }
  // Somebody has written to it since it was opened.
  virtual bool changed() const { return false; }
  // Copies of this process may read it, but not two of them at the same time.
  virtual bool is_for_one_copy() const { return false; }
  // What begins at this offset, which is a multiple of kPageSize, and how far it goes at least: a multiple of
  // kPageSize again, or to the image's end or beyond. Holes of sparse files are zeros.
  struct Range {
    enum class Kind : uint8_t { kData, kZeros, kUnknown } kind;
    uint64_t len_bytes;  // never 0
  };
  virtual Range range_at(uint64_t offset) const = 0;
};

// Who is told of each piece of an image (kDiskPieceBytes) when it is read for the first time, and gives back what it
// was told: what the guest sees is what was logged, whatever becomes of the image meanwhile.
struct DiskLog {
  virtual ~DiskLog() = default;
  // False: it cannot be kept, and why() says why.
  virtual bool piece(unsigned disk, uint64_t number, std::span<const uint8_t> content) = 0;
  virtual bool read(unsigned disk, uint64_t offset, std::span<uint8_t> to) = 0;
  virtual std::string why() const = 0;
};

// An image of the host's (image_file.h). Its size is the disk's, rounded down to whole blocks.
class ImageFile : public DiskImage {
 public:
  virtual uint64_t len_bytes() const = 0;
};

// A file of raw content.
class RawImage final : public ImageFile {
 public:
  // kHost: it is not there, not to be read, no file, or empty.
  static Result<std::unique_ptr<RawImage>> open(const std::string& path);
  ~RawImage() override;
  uint64_t len_bytes() const override { return len_bytes_; }
  int fd() const { return fd_; }
  bool read(uint64_t offset, std::span<uint8_t> to) override;
  std::string problem() const override { return problem_; }
  bool changed() const override;
  Range range_at(uint64_t offset) const override;

 private:
  explicit RawImage(int fd) : fd_(fd) {}
  int fd_;
  uint64_t len_bytes_ = 0;
  int64_t modified_ns_ = 0;  // when it was opened
  std::string problem_;
};

// The image of a disk, where a snapshot does not have it within.
struct BoundImage {
  unsigned disk = 0;
  std::string path;  // as open_image_file takes it
};

class Disk final : public DiskImage {
 public:
  // Its region is in `memory`. `image`: nullptr is all zeros.
  Disk(const DiskConfig&, unsigned number, GuestMemory& memory, std::unique_ptr<DiskImage> image);
  // All ranges are within the disk. False: the image cannot be read, and loss() says why.
  bool read(uint64_t offset, std::span<uint8_t> to) override;
  bool write(uint64_t offset, std::span<const uint8_t> from);
  bool zero(uint64_t offset, uint64_t len_bytes);
  // What was written is data; the rest is as the image tells.
  Range range_at(uint64_t offset) const override;
  std::string problem() const override { return loss_; }
  // From now on, with every piece anew; nullptr: nobody.
  void log_to(DiskLog* log);
  // Why a read of the image failed, the first time; empty: none has.
  const std::string& loss() const { return loss_; }
  // What it started from; nullptr: all zeros.
  DiskImage* image() const { return image_.get(); }
  void start_from(std::unique_ptr<DiskImage> image) { image_ = std::move(image); }

 private:
  bool read_image(uint64_t offset, std::span<uint8_t> to);
  bool log_piece(uint64_t number);
  bool lose(const std::string& why);
  bool is_written(uint64_t page) const;
  uint64_t end_of_run(uint64_t page, uint64_t limit, bool written) const;
  // Calls f(page, offset in it, length, offset in the whole) for each page of a range, until one returns false.
  template <class F>
  bool for_each_page(uint64_t offset, uint64_t len_bytes, F f);
  bool write_page(uint64_t page, uint64_t offset, std::span<const uint8_t> from);

  unsigned number_;
  uint64_t len_bytes_;
  DiskLog* log_ = nullptr;
  std::vector<bool> logged_;  // by piece
  std::string loss_;
  GuestMemory& memory_;
  Gpa bits_, content_;
  std::unique_ptr<DiskImage> image_;
};

}  // namespace dejavm
