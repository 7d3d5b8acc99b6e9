// The run loop of one vCPU: events at instruction boundaries, blocks, single instructions.
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

// c.control and c.exits are set. Returns with c at an instruction boundary.
StopReason run_vcpu(Cpu& c, bool use_blocks);

// For translated code, which goes on without the run loop where that would do nothing else.
// At the boundary before c.rip nothing is due, and the next instruction may be in a block.
bool nothing_due(Cpu& c);
// The block at c.rip, or nullptr when the next instruction is to run by itself. Throws the fault of its fetch.
struct Block;
Block* find_block(Cpu& c);

// For blocks: fetches the instruction of 64-bit code at c.rip, which begins within 15 bytes of its page's end, to d,
// where it is already if it is what was there the last time (len 0: there was none). Throws the fault of its fetch.
void fetch_across(Cpu& c, Decoded& d);

}  // namespace dejavm::soft
