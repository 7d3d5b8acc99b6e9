// The hashes of disks' images, which take a pass over each: those of large raw files are kept in the user's cache
// ($XDG_CACHE_HOME or ~/.cache, dejavm/image-hashes) for as long as the file is the same by device, inode, size and the
// times of its last changes, to the nanosecond. Nobody can set the time of the last change of an inode (ctime).
#pragma once

#include "devices/core/result.h"
#include "replay/store/hash.h"
#include "vmm/machine/disk.h"

namespace dejavm::cli {

// Of the image's first `len_bytes`. kHost: it cannot be read.
Result<Hash128> image_hash_of(ImageFile&, uint64_t len_bytes);

}  // namespace dejavm::cli
