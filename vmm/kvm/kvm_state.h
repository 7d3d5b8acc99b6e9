// VcpuState in and out of a KVM vCPU. What KVM has no place for (MTRRs, PAT, TSC_ADJUST, random numbers, counts) is left
// as it is in the VcpuState that comes in: the engine keeps it.
#pragma once

#include "vmm/kvm/kvm_vm.h"
#include "vmm/vcpu_state.h"

namespace dejavm::kvm {

Result<void> store_state(const KvmVm&, const VcpuState&);
Result<void> load_state(const KvmVm&, VcpuState&);
// An exception or interrupt that is on its way into the guest: VcpuState cannot hold it, the guest has to take it first.
bool event_in_flight(const KvmVm&);

}  // namespace dejavm::kvm
