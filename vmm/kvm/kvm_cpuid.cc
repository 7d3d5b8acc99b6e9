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

struct Feature {
  uint32_t leaf;
  uint32_t CpuidResult::*word;
  __u32 kvm_cpuid_entry2::*kvm_word;
};
constexpr Feature kWords[] = {
    {1, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx},          {1, &CpuidResult::edx, &kvm_cpuid_entry2::edx},
    {7, &CpuidResult::ebx, &kvm_cpuid_entry2::ebx},          {7, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx},
    {0x80000001, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx}, {0x80000001, &CpuidResult::edx, &kvm_cpuid_entry2::edx}};
// Ours to provide, whatever KVM says: the APIC and its modes, the hypervisor bit.
// Word 80000001.edx of an AMD processor repeats bits of 1.edx; an Intel host's KVM leaves them out.
constexpr uint32_t kRepeated = 0x0183f3ff;
constexpr uint32_t kOurs[] = {1u << 21 | 1u << 24 | 1u << 31, 1u << 9, 1u << 1, 0, 0, kRepeated};

std::string feature_name(const Feature& f, unsigned bit) {
  for (const CpuFeature& o : optional_features())
    if (o.leaf == f.leaf && o.word == f.word && o.bit == bit) return std::string(o.name);
  const char* word = f.word == &CpuidResult::ebx ? "ebx" : f.word == &CpuidResult::ecx ? "ecx" : "edx";
  return fmt::format("CPUID {:x}.{} bit {}", f.leaf, word, bit);
}

// The model's words, less what this KVM lacks.
std::array<uint32_t, std::size(kWords)> lacking_words(const KvmFd& system, const CpuModel& model) {
  Table t{};
  t.nent = kMaxEntries;
  if (system.call(kGetSupportedCpuid, &t) < 0) t.nent = 0;
  std::array<uint32_t, std::size(kWords)> out{};
  for (size_t n = 0; n < std::size(kWords); ++n) {
    uint32_t have = kOurs[n];
    for (uint32_t e = 0; e < t.nent; ++e)
      if (t.entries[e].function == kWords[n].leaf && t.entries[e].index == 0) have |= t.entries[e].*kWords[n].kvm_word;
    out[n] = model.cpuid(kWords[n].leaf, 0, 0, 0, 1).*kWords[n].word & ~have;
  }
  return out;
}

Table table_of(const CpuModel& model, uint32_t vcpu, uint32_t vcpus, std::span<const std::string> without) {
  Table t{};
  auto add = [&](uint32_t leaf, uint32_t subleaf, bool indexed) {
    const CpuidResult shown = without_features(model.cpuid(leaf, subleaf, vcpu, 0, 1), leaf, subleaf, without);
    const CpuidResult r = in_package(shown, leaf, subleaf, vcpus);
    CHECK(t.nent < kMaxEntries);
    t.entries[t.nent++] = {leaf,  subleaf, indexed ? uint32_t{KVM_CPUID_FLAG_SIGNIFCANT_INDEX} : 0, r.eax, r.ebx, r.ecx,
                           r.edx, {}};
  };
  for (uint32_t first : {0u, 0x40000000u, 0x80000000u}) {
    const uint32_t last = first == 0x40000000u ? first : model.cpuid(first, 0, 0, 0, 1).eax;
    for (uint32_t leaf = first; leaf <= last; ++leaf) {
      const uint32_t subleaves = leaf == 0xb ? 3 : leaf == 0xd ? 3 : leaf == 7 ? 1 : 0;
      if (subleaves == 0) add(leaf, 0, false);
      for (uint32_t subleaf = 0; subleaf < subleaves; ++subleaf) add(leaf, subleaf, true);
    }
  }
  return t;
}

}  // namespace

Result<void> set_cpuid(const KvmVm& m, const CpuModel& model, std::span<const std::string> without) {
  for (uint32_t n = 0; n < m.vcpus(); ++n) {
    const Table t = table_of(model, n, m.vcpus(), without);
    if (m.vcpu(n).call(kSetCpuid2, &t) < 0)
      return Error{ErrorKind::kHost, fmt::format("KVM refuses the CPU model {}: {}", model.name, errno_text())};
  }
  return {};
}

std::vector<std::string> missing_features(const KvmFd& system, const CpuModel& model) {
  std::vector<std::string> out;
  const auto lacking = lacking_words(system, model);
  for (size_t n = 0; n < std::size(kWords); ++n)
    for (uint32_t bits = lacking[n]; bits != 0; bits &= bits - 1)
      out.push_back(feature_name(kWords[n], static_cast<unsigned>(__builtin_ctz(bits))));
  return out;
}

}  // namespace dejavm::kvm
