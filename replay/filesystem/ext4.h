// The files of an ext2, ext3 or ext4 file system on a disk's content, by libext2fs, which only reads. What is in the
// journal alone, for it was not written to its place yet, is not seen.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/core/result.h"
#include "replay/filesystem/partitions.h"
#include "vmm/machine/disk.h"

namespace dejavm {

struct FileOnDisk {
  uint32_t inode = 0, generation = 0;
  uint16_t mode = 0;  // of stat(2)
  uint64_t len_bytes = 0;
  int64_t modified = 0, changed = 0;                     // seconds since 1970
  std::vector<std::pair<uint64_t, uint64_t>> extents{};  // of the disk: offset and length in bytes, in the file's order
  bool operator==(const FileOnDisk&) const = default;
};

class Ext4 {
 public:
  // kBadInput: no such file system, or it cannot be read. The disk outlives it.
  static Result<std::unique_ptr<Ext4>> open(DiskImage&, const Partition&);
  ~Ext4();
  // By path, such as "/etc/fstab"; links of one file each have a name. At most kMaxFiles.
  static constexpr size_t kMaxFiles = 10'000'000;
  Result<std::map<std::string, FileOnDisk>> files();
  // A regular file's content, piece by piece. kBadInput: there is none of this name, or it is no regular file, or
  // cannot be read.
  Result<void> read(const std::string& path, const std::function<Result<void>(std::span<const uint8_t>)>& take);

 private:
  struct Impl;
  explicit Ext4(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dejavm
