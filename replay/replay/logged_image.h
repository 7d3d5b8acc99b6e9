// The images of a machine's disks as a trace has them.
#pragma once

#include <memory>
#include <vector>

#include "replay/trace/reader.h"
#include "vmm/machine/disk.h"

namespace dejavm {

// One for each disk of the machine that was recorded; what was never read then cannot be read from them. The trace
// outlives them.
Result<std::vector<std::unique_ptr<DiskImage>>> logged_images(const TraceReader&);

}  // namespace dejavm
