#include "vmm/kvm/kvm_cpuid.h"

#include <array>

#include <fmt/format.h>

namespace dejavm::kvm {
namespace {

constexpr uint32_t kMaxEntries = 256;
struct Table {  // kvm_cpuid2 with its entries
  uint32_t nent, padding;
  kvm_cpuid_entry2 entries[kMaxEntries];
};

void add(Table& t, const CpuModel& model, uint32_t leaf, uint32_t subleaf, bool indexed) {
  const CpuidResult r = model.cpuid(leaf, subleaf, 0, 0, 1);
  CHECK(t.nent < kMaxEntries);
  t.entries[t.nent++] = {leaf, subleaf, indexed ? uint32_t{KVM_CPUID_FLAG_SIGNIFCANT_INDEX} : 0, r.eax, r.ebx, r.ecx, r.edx, {}};
}

struct Feature {
  uint32_t leaf;
  uint32_t CpuidResult::*word;
  __u32 kvm_cpuid_entry2::*kvm_word;
};
constexpr Feature kWords[] = {{1, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx}, {1, &CpuidResult::edx, &kvm_cpuid_entry2::edx},
                              {7, &CpuidResult::ebx, &kvm_cpuid_entry2::ebx}, {7, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx},
                              {0x80000001, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx}, {0x80000001, &CpuidResult::edx, &kvm_cpuid_entry2::edx}};
constexpr std::string_view kWordNames[] = {"1.ecx", "1.edx", "7.ebx", "7.ecx", "80000001.ecx", "80000001.edx"};
// Ours to provide, whatever KVM says: the APIC and its modes, the hypervisor bit.
constexpr uint32_t kOurs[] = {1u << 21 | 1u << 24 | 1u << 31, 1u << 9, 1u << 1, 0, 0, 1u << 9};

}  // namespace

Result<void> set_cpuid(const KvmVm& m, const CpuModel& model) {
  Table t{};
  for (uint32_t first : {0u, 0x40000000u, 0x80000000u}) {
    const uint32_t last = first == 0x40000000u ? first : model.cpuid(first, 0, 0, 0, 1).eax;
    for (uint32_t leaf = first; leaf <= last; ++leaf) {
      const uint32_t subleaves = leaf == 0xb ? 3 : leaf == 0xd ? 2 : leaf == 7 ? 1 : 0;
      if (subleaves == 0) add(t, model, leaf, 0, false);
      for (uint32_t subleaf = 0; subleaf < subleaves; ++subleaf) add(t, model, leaf, subleaf, true);
    }
  }
  if (m.vcpu().call(kSetCpuid2, &t) < 0)
    return Error{ErrorKind::kHost, fmt::format("KVM refuses the CPU model {}: {}", model.name, errno_text())};
  return {};
}

std::vector<std::string> missing_features(const KvmFd& system, const CpuModel& model) {
  Table t{};
  t.nent = kMaxEntries;
  std::vector<std::string> out;
  if (system.call(kGetSupportedCpuid, &t) < 0) return {"(KVM does not tell its features)"};
  for (size_t n = 0; n < std::size(kWords); ++n) {
    uint32_t have = kOurs[n];
    for (uint32_t e = 0; e < t.nent; ++e)
      if (t.entries[e].function == kWords[n].leaf && t.entries[e].index == 0) have |= t.entries[e].*kWords[n].kvm_word;
    const uint32_t lacking = model.cpuid(kWords[n].leaf, 0, 0, 0, 1).*kWords[n].word & ~have;
    for (uint32_t bits = lacking; bits != 0; bits &= bits - 1) out.push_back(fmt::format("CPUID {} bit {}", kWordNames[n], __builtin_ctz(bits)));
  }
  return out;
}

}  // namespace dejavm::kvm
