// A trace written anew: in the present version of the format, whole or without memory.
#pragma once

#include <functional>

#include "replay/trace/reader.h"
#include "replay/trace/writer.h"

namespace dejavm {

enum class TraceParts : uint8_t {
  kAll,
  kDevices,  // everything but memory. Small, and enough for replay_devices_only()
};

// `progress` is told how many of the events are copied, at each keyframe.
Result<void> copy_trace(const TraceReader& from, TraceWriter& to, TraceParts,
                        const std::function<void(uint64_t events)>& progress = {});

}  // namespace dejavm
