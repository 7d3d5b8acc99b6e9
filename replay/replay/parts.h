// Replaying by several threads.
#pragma once

#include "replay/replay/replayer.h"

namespace dejavm {

// What replay() does, by so many threads at most, each with a machine of its own, which runs from one keyframe to a
// later one. Since what a part ends with is compared with what the next begins with, all that replay() compares is
// compared. Of several differences the first in the guest's order is reported. `progress` is called by all threads, one
// at a time.
Result<ReplaySummary> replay_in_parts(const TraceReader&, const ReplayOptions&, unsigned jobs);

}  // namespace dejavm
