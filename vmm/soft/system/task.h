// Task switches of legacy protected mode, through 16-bit and 32-bit TSSs. Source: Intel SDM vol. 3, 8.2-8.4.
#pragma once

#include "vmm/soft/system/descriptor.h"

namespace dejavm::soft::sys {

enum class TaskCause : uint8_t { kJump, kCall, kEvent, kReturn };

struct TaskSwitch {
  TaskCause cause;
  uint16_t selector;    // of the new TSS
  Descriptor tss;       // checked by the caller: type, privilege, presence, each with its own error
  uint64_t return_rip;  // saved in the old TSS
  uint64_t flags;       // saved in the old TSS
  uint32_t ext = 0;
  bool entered = false;  // set once the new task is the current one
};

// Faults that belong to the old task change nothing. Once the new task is entered, c.rip is at its first instruction
// and later faults (its segments) are its own. On success c.rip and c.next_rip are there; the caller still checks EIP
// with check_task_target, after pushing an error code if there is one.
void switch_task(Cpu& c, TaskSwitch& t);
void check_task_target(const Cpu& c, uint32_t ext);

// The new TSS of a task gate: #GP or #NP (selector | ext).
Descriptor fetch_task_gate_tss(Cpu& c, uint16_t selector, uint32_t ext);

}  // namespace dejavm::soft::sys
