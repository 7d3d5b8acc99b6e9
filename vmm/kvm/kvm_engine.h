// The hardware engine: vmm/engine.h by KVM. Interrupt controllers and timers are the board's; interrupts enter when the
// vCPU can take them. What KVM cannot do is done by the deterministic engine on the same state: instructions that it
// cannot emulate, MSRs that are not the processor's own, a debug trap due from a snapshot.
//
// Its `retired` is no count of instructions, which hardware does not give, but time: ticks of the host's TSC. So the
// guest's TSC is now_ns + tsc_adjust as on the other engine, and all clocks of the guest agree; a virtual second lasts
// 10^9 ticks of the host's TSC. A run ends as soon as it can after RunControl.until, not exactly there.
//
// Several vCPUs run at once, each on a thread of its own (crew.h); one is with the board at a time.
#pragma once

#include <memory>

#include "vmm/engine.h"
#include "vmm/state/cpu_model.h"
#include "vmm/state/memory.h"

namespace dejavm::kvm {

// Error: no /dev/kvm, no right to it, or it cannot do what is needed.
// `without`: MachineConfig::cpu_without, of which kvm_lacks() must be part.
Result<std::unique_ptr<Engine>> make_kvm_engine(const CpuModel& model, GuestMemory& memory, uint32_t vcpus,
                                                std::span<const std::string> without);
// The optional features of the model that guests of this machine's KVM cannot have, sorted.
Result<std::vector<std::string>> kvm_lacks(const CpuModel&);

}  // namespace dejavm::kvm
