// VcpuState in and out of a KVM vCPU. What KVM has no place for (MTRRs, PAT, TSC_ADJUST, random numbers, counts) is
// left as it is in the VcpuState that comes in: the engine keeps it.
#pragma once

#include "vmm/engine.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm::kvm {

// `avx`: of CPU models that have it, else nullptr.
Result<void> store_state(const KvmVcpu&, const VcpuState&, const VcpuAvx::State* avx);
Result<void> load_state(const KvmVcpu&, VcpuState&, VcpuAvx::State* avx);
// Where an engine has the AVX state of a vCPU; nullptr: it has none.
VcpuAvx::State* avx_of(Engine&, uint32_t vcpu);
// Of all its vCPUs.
std::vector<ChunkRef> avx_chunks(Engine&);
// An exception or interrupt that is on its way into the guest: VcpuState cannot hold it, the guest has to take it
// first.
bool event_in_flight(const KvmVcpu&);

}  // namespace dejavm::kvm
