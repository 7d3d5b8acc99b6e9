// Writing what a machine has written to a disk back to the image that the disk started from.
#pragma once

#include <memory>
#include <string>

#include "devices/core/result.h"
#include "vmm/machine/disk.h"
#include "vmm/machine/image_file.h"

namespace dejavm::cli {

// A raw image that will be replaced, as a whole and at once: whoever reads it meanwhile, or is killed while writing,
// has the old one or the new one. Locked against others who would do the same, for as long as this lives.
class ImageCommit {
 public:
  // kHost: no raw file (qcow2, an NBD server, a device), not to be written, or locked.
  static Result<std::unique_ptr<ImageCommit>> prepare(const std::string& path, ImageFormat = ImageFormat::kAuto);
  ~ImageCommit();
  // `disk`: its content, `len_bytes` of it; what the image has beyond stays. kHost: the image was replaced or written
  // meanwhile, the disk cannot be read, the host's disk is full; then the image is as it was.
  Result<void> replace(DiskImage& disk, uint64_t len_bytes);
  const std::string& path() const { return path_; }

 private:
  ImageCommit(int lock, std::string path, std::unique_ptr<RawImage> image)
      : lock_(lock), path_(std::move(path)), image_(std::move(image)) {}
  int lock_;
  std::string path_;  // without links
  std::unique_ptr<RawImage> image_;
};

}  // namespace dejavm::cli
