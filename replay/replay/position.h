// Places in a trace, as people write them:
//   4813014     so many instructions complete
//   @event:N    at event number N of the log
//   @time:T     the last place that is not after virtual time T: nanoseconds, or with a unit: 1500us, 20ms, 1.5s
//   @keyframe:N
//   begin, end
// Suffixes k, M and G of plain numbers: 5M.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "devices/core/result.h"
#include "devices/core/types.h"
#include "replay/trace/reader.h"

namespace dejavm {

inline constexpr const char* kPositionHelp =
    "INSTRUCTIONS (5000000, 5M), @event:N, @time:T (20ms, 1.5s), @keyframe:N, begin or end";

// 4813014, 5M, 1.5G: a number of instructions; none: it is no such number.
std::optional<uint64_t> parse_instructions(std::string_view text);
// Within the trace; an error names what is wrong and what there is.
Result<Retired> parse_position(const TraceReader&, std::string_view text);
// At the begin, virtual time less the instructions complete, ns; each kIdle event moves it.
Result<uint64_t> time_base_of(const TraceReader&);
Retired begin_of(const TraceReader&);
Retired end_of(const TraceReader&);

}  // namespace dejavm
