// What the disks of a recorded machine were asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "devices/core/result.h"
#include "devices/core/transfer.h"
#include "replay/trace/reader.h"

namespace dejavm {

// A command of NVMe, or a request of virtio, as it moved its data.
struct DiskRequest {
  uint64_t event = 0;  // by which the guest asked: a write to a doorbell
  Position at;
  Nanos now;
  unsigned disk = 0;
  Transfer::Kind kind{};  // from kFromDisk on
  uint64_t offset = 0;    // bytes, in the disk
  uint64_t len_bytes = 0;
  bool ok = true;  // false: it named memory that is not there
};
std::string_view name_of_request(Transfer::Kind);  // "read", "write", ...
// All of a trace's, in their order, from the devices alone; until `take` returns false.
Result<void> disk_requests(const TraceReader&, const std::function<bool(const DiskRequest&)>& take);

}  // namespace dejavm
