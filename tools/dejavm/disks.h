// The disks of the command line.
#pragma once

#include <memory>
#include <vector>

#include "replay/snapshot/snapshot_file.h"
#include "tools/dejavm/options.h"
#include "vmm/machine/disk.h"

namespace dejavm::cli {

// Opens the images of --disk, and adds to the configuration what the machine shows of them. `bases`: gets their names;
// then their hashes are taken, too.
Result<std::vector<std::unique_ptr<DiskImage>>> open_disks(const Options&, MachineConfig&,
                                                           std::vector<DiskBase>* bases = nullptr);

}  // namespace dejavm::cli
