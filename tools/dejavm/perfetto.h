// A trace as Perfetto and chrome://tracing read it: the JSON of the Trace Event Format.
#pragma once

#include <string>

#include "devices/core/result.h"
#include "replay/trace/reader.h"

namespace dejavm::cli {

// Exits of each device, interrupts, sleep and the console, all on the virtual time line.
Result<void> export_perfetto(const TraceReader&, const std::string& path, bool force);

}  // namespace dejavm::cli
