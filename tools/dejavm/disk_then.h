// A machine's disk at one moment.
#pragma once

#include <memory>
#include <string>

#include "replay/snapshot/restore_snapshot.h"
#include "replay/timeline/timeline.h"
#include "tools/dejavm/disk_tool.h"
#include "vmm/machine/image_file.h"

namespace dejavm::cli {

// A disk at one moment, and what keeps it: a trace gone through to there, a snapshot, or no more than a raw image.
struct DiskThen {
  std::string name;
  uint64_t len_bytes = 0;
  uint32_t block_bytes = 512;
  std::unique_ptr<TraceReader> trace;
  std::unique_ptr<Timeline> timeline;
  RestoredFile restored;
  std::unique_ptr<ImageFile> raw;
  Disk* disk = nullptr;  // nullptr: raw

  DiskImage& content() const { return disk ? static_cast<DiskImage&>(*disk) : *raw; }
  bool read(uint64_t offset, std::span<uint8_t> to) const { return content().read(offset, to); }
  DiskImage::Range range_at(uint64_t offset) const { return content().range_at(offset); }
};

// Of a trace, at `at` (empty: its end), of a snapshot, or of an image.
Result<DiskThen> open_disk(const std::string& file, const std::string& at, const DiskToolOptions&);
Error cannot_read(const DiskThen&, uint64_t offset);

}  // namespace dejavm::cli
