// The hardware engine in exact mode: vmm/engine.h by KVM, instruction by instruction.
#pragma once

#include <memory>

#include "vmm/engine.h"
#include "vmm/state/cpu_model.h"
#include "vmm/state/memory.h"

namespace dejavm::kvm {

// Exact mode ("kvm-step"): `retired` counts instructions and the run is the deterministic engine's, exit for exit; what
// is plain computation the processor executes, step by step. Slow: hundreds of thousands of instructions a second.
Result<std::unique_ptr<Engine>> make_step_engine(const CpuModel& model, GuestMemory& memory, uint32_t vcpus,
                                                 uint32_t revision);

}  // namespace dejavm::kvm
