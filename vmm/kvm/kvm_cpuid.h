// The pinned CPU model as KVM's CPUID table.
#pragma once

#include <string>
#include <vector>

#include "vmm/cpu_model.h"
#include "vmm/kvm/kvm_vm.h"

namespace dejavm::kvm {

Result<void> set_cpuid(const KvmVm&, const CpuModel&);
// Features of the model that this KVM does not offer: names as in /proc/cpuinfo. The guest sees them all the same when the processor
// has them; what it lacks is emulated where it can be.
std::vector<std::string> missing_features(const KvmFd& system, const CpuModel&);

}  // namespace dejavm::kvm
