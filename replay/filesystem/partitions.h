// Where the partitions of a disk are: of its MBR (the four of its table, and the chain of an extended one) or its GPT
// (UEFI Specification 2.10, chapter 5).
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/machine/disk.h"

namespace dejavm {

struct Partition {
  unsigned number = 0;  // as Linux counts; 0: the whole disk, which has no table
  uint64_t offset = 0;  // bytes
  uint64_t len_bytes = 0;
};

// Those that lie within the disk, by number; at most 128. A disk that has no table, or whose table cannot be read, is
// one partition.
std::vector<Partition> partitions_of(DiskImage&, uint64_t len_bytes, uint32_t block_bytes);

}  // namespace dejavm
