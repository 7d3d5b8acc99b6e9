// A trace without memory.
#pragma once

#include "replay/trace/reader.h"
#include "replay/trace/writer.h"

namespace dejavm {

// The devices' part of a trace: everything but memory. Small, and enough for replay_devices_only().
Result<void> copy_devices(const TraceReader& from, TraceWriter& to);

}  // namespace dejavm
