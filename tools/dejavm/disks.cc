#include "tools/dejavm/disks.h"

#include <fmt/format.h>

#include "tools/dejavm/image_hashes.h"
#include "vmm/machine/image_file.h"

namespace dejavm::cli {

Result<std::vector<std::unique_ptr<DiskImage>>> open_disks(const Options& o, MachineConfig& config,
                                                           std::vector<DiskBase>* bases) {
  std::vector<std::unique_ptr<DiskImage>> images;
  for (const DiskOption& option : o.disks) {
    auto image = open_image_file(option.path, option.format);
    if (!image) return image.error();
    const uint64_t bytes = (*image)->len_bytes() / option.block_bytes * option.block_bytes;
    if (bytes == 0 || bytes > kMaxDiskBytes)
      return Error{ErrorKind::kHost,
                   fmt::format("{}: a disk of {} bytes; there are those from one block to 8 TiB", option.path, bytes)};
    const std::string serial = option.serial.empty() ? fmt::format("DEJAVM{}", images.size()) : option.serial;
    config.disks.push_back({.bytes = bytes,
                            .block_bytes = option.block_bytes,
                            .read_only = option.read_only,
                            .controller = option.controller,
                            .serial = serial});
    if (bases != nullptr) {
      auto hash = image_hash_of(**image, bytes);
      if (!hash) return Error{ErrorKind::kHost, fmt::format("{}: {}", option.path, hash.error().message)};
      store_hash(*hash, config.disks.back().hash.data());
      bases->push_back({file_name(option.path), false});
    }
    images.push_back(image.take());
  }
  if (disk_count(config, DiskController::kVirtio) > kMaxVirtioDisks)
    return Error{ErrorKind::kHost, fmt::format("a machine has {} virtio disks at most", kMaxVirtioDisks)};
  return images;
}

}  // namespace dejavm::cli
