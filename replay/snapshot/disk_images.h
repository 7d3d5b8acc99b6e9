// The images that disks start from: their hash, and how snapshot files hold them.
#pragma once

#include <memory>
#include <vector>

#include "replay/snapshot/snapshot_file.h"
#include "replay/store/atomic_file.h"
#include "vmm/machine/disk.h"

namespace dejavm {

// The sum of hash_page over the image's pages, numbered from 0; the last one is filled up with zeros. Zero pages add
// nothing, and holes are not read. kHost: it cannot be read.
Result<Hash128> image_hash(DiskImage&, uint64_t len_bytes);

// What of an image is known, as extents for lay_out. `image`: nullptr is all zeros.
std::vector<MemoryExtent> image_extents(unsigned disk, const DiskImage* image, uint64_t len_bytes);

// Writes an extent of an image to the file, but for pages of zeros, and adds its hashes to the sums of its blocks.
// Returns how many bytes it has written.
Result<uint64_t> write_image_extent(AtomicFile&, const MemoryExtent&, DiskImage&, uint64_t len_bytes,
                                    std::vector<BlockSum>& blocks);

// Writes a disk's content from one offset to another to the same place of a file, whose size is `to` then; zeros are
// holes. kHost: it cannot be read, or the file not be written.
Result<void> write_raw(AtomicFile&, DiskImage&, uint64_t from, uint64_t to);

// A raw image, if it is the one that the disk started from, by size and hash. kHost: it is not, or cannot be read.
Result<std::unique_ptr<DiskImage>> open_image(const std::string& path, const DiskConfig&);

// The image of a disk as a full snapshot file holds it.
std::unique_ptr<DiskImage> image_in(std::shared_ptr<const SnapshotFile>, unsigned disk);

}  // namespace dejavm
