// The pinned CPU model as KVM's CPUID table.
#pragma once

#include <string>
#include <vector>

#include "vmm/kvm/kvm_vm.h"
#include "vmm/state/cpu_model.h"

namespace dejavm::kvm {

// `without`: features that the guest is not shown.
Result<void> set_cpuid(const KvmVm&, const CpuModel&, std::span<const std::string> without);
// Features of the model that this KVM does not offer: names of optional_features(), or, of what no guest can be
// without, the bit.
std::vector<std::string> missing_features(const KvmFd& system, const CpuModel&);

}  // namespace dejavm::kvm
