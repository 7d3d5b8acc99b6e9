// What a trace holds of the images of the machine's disks: each piece that was read, once. FORMAT.md, "Blocks".
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "devices/core/result.h"
#include "vmm/state/memory.h"

namespace dejavm {

class TraceReader;

struct DiskPiece {
  uint32_t frame = 0;   // index
  uint32_t offset = 0;  // of its content in the frame's payload
  uint32_t len_bytes = 0;
  bool zero = false;  // nothing but zeros, which are not there
};

// By disk, and by number.
using DiskPieces = std::vector<std::map<uint64_t, DiskPiece>>;

Result<DiskPieces> find_disk_pieces(const TraceReader&);

}  // namespace dejavm
