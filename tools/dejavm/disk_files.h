// The files on a machine's disk, as they were at a moment.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/dejavm/disk_then.h"

namespace dejavm::cli {

struct Extent {
  uint64_t offset, len_bytes;
};

// What dejavm disk list, read and diff --files print. `differ`: where the two disks do, ascending.
int list_files(DiskThen&, const DiskToolOptions&);
int read_file(DiskThen&, const DiskToolOptions&);
int show_changed_files(DiskThen& a, DiskThen& b, const std::vector<Extent>& differ, const DiskToolOptions&);

}  // namespace dejavm::cli
