// One attempt to deliver an event; deliver_event (cpu.h) adds what follows from faults on the way.
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft::sys {

// On return c.rip is at the handler. Throws the fault met; nothing has changed then, unless a task gate already
// entered its task: then c.rip and `return_rip` are that task's first instruction.
void deliver_once(Cpu& c, const Event& e, uint64_t& return_rip);

}  // namespace dejavm::soft::sys
