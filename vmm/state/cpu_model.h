// Pinned, named CPU models: CPUID answers and the feature set that both engines must honour. Never the host's CPUID.
// dejavm-v1: an AMD-like vendor (so that Linux leaves page-table isolation off), x86-64-v2 plus what vmm/soft has.
// dejavm-v2: the same with AVX, AVX2, BMI1, BMI2, LZCNT, ADX, AES, PCLMULQDQ and SHA.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "vmm/engine.h"

namespace dejavm {

struct CpuModel {
  std::string_view name;
  unsigned physical_address_bits;  // 40
  uint64_t cr4_allowed, efer_allowed, xcr0_allowed;
  bool extended;  // AVX, AVX2, BMI1, BMI2, LZCNT, ADX, AES, PCLMULQDQ, SHA
  CpuidResult (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t apic_id, uint64_t cr4, uint64_t xcr0);
};

const CpuModel* find_cpu_model(std::string_view name);  // nullptr: unknown

// A feature that a machine can be without (MachineConfig::cpu_without): where hardware does not have all of the model.
struct CpuFeature {
  std::string_view name;  // as in /proc/cpuinfo
  uint32_t leaf;
  uint32_t CpuidResult::*word;
  unsigned bit;
};
std::span<const CpuFeature> optional_features();
bool is_optional_feature(std::string_view name);
bool has_feature(const CpuModel&, std::string_view optional_feature);
// The answer of CPUID without them. Without xsave its leaf (0xd) is empty, without avx it has no AVX component.
CpuidResult without_features(CpuidResult, uint32_t leaf, uint32_t subleaf, std::span<const std::string> names);
// The answer of CPUID on a processor package of several cores, whose APIC ids count from 0.
CpuidResult in_package(CpuidResult, uint32_t leaf, uint32_t subleaf, uint32_t cores);

}  // namespace dejavm
