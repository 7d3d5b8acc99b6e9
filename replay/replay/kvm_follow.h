// Replaying what an engine recorded that does not count instructions (KVM): the deterministic engine executes the
// guest, and the log says where it is. Each exit is taken for the log's next one and has its position; an interrupt
// goes in where RIP and the general registers are those of the log's place event; time is the log's, whatever the
// instructions count.
//
// What the log does not know is what the guest reads of the TSC, or of RDRAND and RDSEED. Code that acts on it takes
// another way here, and the first exit or place that differs is the divergence, which then tells how often they were
// read since the event before.
#pragma once

#include <memory>

#include "replay/replay/verify.h"
#include "replay/trace/reader.h"
#include "vmm/engine.h"

namespace dejavm {

// `soft` executes. Positions, and `retired` in get_state, are the log's; run() minds RunControl.until only at the log's
// events. `board` answers what the engine that recorded answered itself: CPUID.
std::unique_ptr<Engine> make_follow_engine(std::unique_ptr<Engine> soft, ExitHandler& board, LogVerifier& log,
                                           const TraceReader& trace);

}  // namespace dejavm
