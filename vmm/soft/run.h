// The run loop of one vCPU: events at instruction boundaries, blocks, single instructions.
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

// c.control and c.exits are set. Returns with c at an instruction boundary.
StopReason run_vcpu(Cpu& c, bool use_blocks);

}  // namespace dejavm::soft
