// The pinned CPU model as KVM's CPUID table.
#pragma once

#include <string>
#include <vector>

#include "vmm/cpu_model.h"
#include "vmm/kvm/kvm_vm.h"

namespace dejavm::kvm {

// What a guest is not to see although KVM offers it.
struct CpuidWithout {
  bool xsave = false;
};
Result<void> set_cpuid(const KvmVm&, const CpuModel&, CpuidWithout);
// Features of the model that this KVM does not offer: names as in /proc/cpuinfo. The guest is not shown them.
std::vector<std::string> missing_features(const KvmFd& system, const CpuModel&);

}  // namespace dejavm::kvm
