// dejavm-v1. Sources: AMD APM vol. 3, appendix E (CPUID), Intel SDM vol. 2, CPUID. The signature is that of a family
// 19h, model 1 part with a hypervisor present: Linux then takes its plain AMD paths, leaves page-table isolation and
// the workarounds of earlier families off, and reads no MSR that vmm/soft/system/msr.cc does not have.
//
// Left out on purpose: VME; MCE and MCA (no machine check can happen); MONITOR; ERMS and FSRM (a REP iteration is one
// instruction of virtual time, so 8-byte iterations are the better choice); TOPOEXT, performance counters, SVM.
#include "vmm/state/cpu_model.h"

#include <algorithm>
#include <bit>
#include <string_view>

namespace dejavm {
namespace {

constexpr unsigned kPhysicalBits = 40, kVirtualBits = 48;
constexpr uint64_t kCr4OsxsaveBit = uint64_t{1} << 18;

constexpr uint32_t bits(std::initializer_list<unsigned> list) {
  uint32_t v = 0;
  for (unsigned b : list) v |= uint32_t{1} << b;
  return v;
}

// family 0xf + 0xa, model 1, stepping 1
constexpr uint32_t kSignature = 0x00a00f11;
constexpr uint32_t kMaxBasic = 0xd, kMaxHypervisor = 0x40000000, kMaxExtended = 0x80000021;

// fpu de pse tsc msr pae cx8 apic | mtrr pge cmov pat pse36 | mmx fxsr
constexpr uint32_t kCommonEdx = bits({0, 2, 3, 4, 5, 6, 8, 9, 12, 13, 15, 16, 17, 23, 24});
// sep clflush sse sse2
constexpr uint32_t kLeaf1Edx = kCommonEdx | bits({11, 19, 25, 26});
// sse3 ssse3 cx16 pcid sse4.1 sse4.2 x2apic popcnt tsc-deadline xsave rdrand hypervisor
constexpr uint32_t kLeaf1Ecx = bits({0, 9, 13, 17, 19, 20, 21, 23, 24, 26, 30, 31});
constexpr uint32_t kOsxsave = bits({27});
// fsgsbase tsc_adjust smep invpcid rdseed smap
constexpr uint32_t kLeaf7Ebx = bits({0, 1, 7, 10, 18, 20});
constexpr uint32_t kLeaf7Ecx = bits({2});   // umip
constexpr uint32_t kLeaf7Edx = bits({29});  // ARCH_CAPABILITIES: the engine does not speculate
// syscall nx mmxext pdpe1gb rdtscp lm
constexpr uint32_t kExtended1Edx = kCommonEdx | bits({11, 20, 22, 26, 27, 29});
constexpr uint32_t kExtended1Ecx = bits({0, 8});  // lahf_lm 3dnowprefetch
constexpr uint32_t kInvariantTsc = bits({8});
// xsaveerptr ibrs ssb_no btc_no
constexpr uint32_t kExtended8Ebx = bits({2, 14, 26, 29});
// lfence serialises, null selectors clear the base, srso_no
constexpr uint32_t kExtended21Eax = bits({2, 6, 29});
constexpr uint32_t kExtended21Ecx = bits({1, 2});  // tsa_sq_no tsa_l1_no

constexpr std::string_view kVendor = "AuthenticAMD", kHypervisorVendor = "dejavmdejavm";
constexpr std::string_view kBrand = "dejavm deterministic processor v1";

constexpr uint32_t word(std::string_view s, size_t at) {
  uint32_t v = 0;
  for (size_t n = 0; n < 4; ++n)
    if (at + n < s.size()) v |= uint32_t{static_cast<uint8_t>(s[at + n])} << (8 * n);
  return v;
}

// Caches, as guests expect to find some: 32 KiB L1 (8 ways), 512 KiB L2 (8 ways), no L3; 64-byte lines; 64 TLB
// entries.
constexpr uint32_t kL1 = 32u << 24 | 8u << 16 | 1u << 8 | 64;
constexpr CpuidResult kLeafL1{0xff40ff40, 0xff40ff40, kL1, kL1};
constexpr CpuidResult kLeafL2{0x42004200, 0x42004200, 512u << 16 | 6u << 12 | 1u << 8 | 64, 0};

// Of a vCPU alone in its package: nothing of its APIC id names a thread or a core.
CpuidResult topology(uint32_t subleaf, uint32_t apic_id) {
  const uint32_t kind = subleaf == 0 ? 1 : subleaf == 1 ? 2 : 0;  // SMT, core, none
  return {0, kind != 0 ? 1u : 0u, kind << 8 | (subleaf & 0xff), apic_id};
}

// x87 and SSE: the legacy area and the header. XSAVEOPT, but no compaction and no supervisor states.
CpuidResult xsave_area(uint32_t subleaf, uint64_t xcr0_allowed) {
  constexpr uint32_t kBytes = 512 + 64;
  const uint32_t low = static_cast<uint32_t>(xcr0_allowed), high = static_cast<uint32_t>(xcr0_allowed >> 32);
  if (subleaf == 0) return {low, kBytes, kBytes, high};
  if (subleaf == 1) return {bits({0}), 0, 0, 0};
  return {};
}

constexpr uint64_t kXcr0Allowed = 3, kXcr0AllowedV2 = 7;

CpuidResult basic(uint32_t leaf, uint32_t subleaf, uint32_t apic_id, uint64_t cr4) {
  switch (leaf) {
    case 0: return {kMaxBasic, word(kVendor, 0), word(kVendor, 8), word(kVendor, 4)};
    case 1: {
      const uint32_t osxsave = cr4 & kCr4OsxsaveBit ? kOsxsave : 0;
      return {kSignature, (apic_id & 0xff) << 24 | 1u << 16 | 8u << 8, kLeaf1Ecx | osxsave, kLeaf1Edx};
    }
    case 6: return {bits({2}), 0, 0, 0};  // the APIC timer never stops
    case 7: return subleaf == 0 ? CpuidResult{0, kLeaf7Ebx, kLeaf7Ecx, kLeaf7Edx} : CpuidResult{};
    case 0xb: return topology(subleaf, apic_id);
    case 0xd: return xsave_area(subleaf, kXcr0Allowed);
    default: return {};
  }
}

CpuidResult extended(uint32_t leaf) {
  switch (leaf) {
    case 0x80000000: return {kMaxExtended, word(kVendor, 0), word(kVendor, 8), word(kVendor, 4)};
    case 0x80000001: return {kSignature, 0, kExtended1Ecx, kExtended1Edx};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const size_t at = 16 * (leaf - 0x80000002);
      return {word(kBrand, at), word(kBrand, at + 4), word(kBrand, at + 8), word(kBrand, at + 12)};
    }
    case 0x80000005: return kLeafL1;
    case 0x80000006: return kLeafL2;
    case 0x80000007: return {0, 0, 0, kInvariantTsc};
    case 0x80000008: return {kPhysicalBits | kVirtualBits << 8, kExtended8Ebx, 0, 0};
    case 0x80000021: return {kExtended21Eax, 0, kExtended21Ecx, 0};
    default: return {};
  }
}

// A leaf that does not exist reads as zeros, as on AMD.
CpuidResult cpuid_v1(uint32_t leaf, uint32_t subleaf, uint32_t apic_id, uint64_t cr4, uint64_t) {
  if (leaf <= kMaxBasic) return basic(leaf, subleaf, apic_id, cr4);
  if (leaf == kMaxHypervisor)
    return {kMaxHypervisor, word(kHypervisorVendor, 0), word(kHypervisorVendor, 4), word(kHypervisorVendor, 8)};
  return leaf >= 0x80000000 ? extended(leaf) : CpuidResult{};
}

// dejavm-v2: with AVX and what else `extended` means. The AVX component of XSAVE lies behind the header.
CpuidResult cpuid_v2(uint32_t leaf, uint32_t subleaf, uint32_t apic_id, uint64_t cr4, uint64_t xcr0) {
  constexpr uint32_t kAvxBytes = 256, kAvxAt = 512 + 64;
  CpuidResult r = cpuid_v1(leaf, subleaf, apic_id, cr4, xcr0);
  switch (leaf) {
    case 1: r.ecx |= bits({1, 25, 28}); break;  // pclmulqdq aes avx
    case 7:
      if (subleaf == 0) r.ebx |= bits({3, 5, 8, 19, 29});
      break;  // bmi1 avx2 bmi2 adx sha
    case 0xd:
      if (subleaf == 0)
        r = {static_cast<uint32_t>(kXcr0AllowedV2), kAvxAt + (xcr0 & 4 ? kAvxBytes : 0), kAvxAt + kAvxBytes, 0};
      if (subleaf == 2) r = {kAvxBytes, kAvxAt, 0, 0};
      break;
    case 0x80000001: r.ecx |= bits({5}); break;  // abm: lzcnt
    case 0x80000004: {
      // "... processor v1": its last character
      constexpr size_t kLast = kBrand.size() - 1 - 32;
      static_assert(kLast < 16);
      uint32_t* const word = kLast < 4 ? &r.eax : kLast < 8 ? &r.ebx : kLast < 12 ? &r.ecx : &r.edx;
      *word += 1u << (8 * (kLast % 4));
      break;
    }
    default: break;
  }
  return r;
}

constexpr CpuModel kModelV1 = {
    .name = "dejavm-v1",
    .physical_address_bits = kPhysicalBits,
    // TSD DE PSE PAE PGE PCE OSFXSR OSXMMEXCPT UMIP FSGSBASE PCIDE OSXSAVE SMEP SMAP
    .cr4_allowed = bits({2, 3, 4, 5, 7, 8, 9, 10, 11, 16, 17, 18, 20, 21}),
    .efer_allowed = bits({0, 8, 10, 11}),  // SCE LME LMA NXE
    .xcr0_allowed = kXcr0Allowed,
    .extended = false,
    .cpuid = cpuid_v1,
};

constexpr CpuModel kModels[] = {kModelV1,
                                {
                                    .name = "dejavm-v2",
                                    .physical_address_bits = kPhysicalBits,
                                    .cr4_allowed = kModelV1.cr4_allowed,
                                    .efer_allowed = kModelV1.efer_allowed,
                                    .xcr0_allowed = kXcr0AllowedV2,
                                    .extended = true,
                                    .cpuid = cpuid_v2,
                                }};

}  // namespace

const CpuModel* find_cpu_model(std::string_view name) {
  for (const CpuModel& m : kModels)
    if (m.name == name) return &m;
  return nullptr;
}

constexpr CpuFeature kOptional[] = {{"pni", 1, &CpuidResult::ecx, 0},
                                    {"ssse3", 1, &CpuidResult::ecx, 9},
                                    {"cx16", 1, &CpuidResult::ecx, 13},
                                    {"pcid", 1, &CpuidResult::ecx, 17},
                                    {"sse4_1", 1, &CpuidResult::ecx, 19},
                                    {"sse4_2", 1, &CpuidResult::ecx, 20},
                                    {"popcnt", 1, &CpuidResult::ecx, 23},
                                    {"tsc", 1, &CpuidResult::edx, 4},
                                    {"tsc", 0x80000001, &CpuidResult::edx, 4},
                                    {"xsave", 1, &CpuidResult::ecx, 26},
                                    {"rdrand", 1, &CpuidResult::ecx, 30},
                                    {"fsgsbase", 7, &CpuidResult::ebx, 0},
                                    {"smep", 7, &CpuidResult::ebx, 7},
                                    {"invpcid", 7, &CpuidResult::ebx, 10},
                                    {"rdseed", 7, &CpuidResult::ebx, 18},
                                    {"smap", 7, &CpuidResult::ebx, 20},
                                    {"umip", 7, &CpuidResult::ecx, 2},
                                    {"lahf_lm", 0x80000001, &CpuidResult::ecx, 0},
                                    {"3dnowprefetch", 0x80000001, &CpuidResult::ecx, 8},
                                    {"syscall", 0x80000001, &CpuidResult::edx, 11},
                                    {"nx", 0x80000001, &CpuidResult::edx, 20},
                                    {"pclmulqdq", 1, &CpuidResult::ecx, 1},
                                    {"aes", 1, &CpuidResult::ecx, 25},
                                    {"avx", 1, &CpuidResult::ecx, 28},
                                    {"bmi1", 7, &CpuidResult::ebx, 3},
                                    {"avx2", 7, &CpuidResult::ebx, 5},
                                    {"bmi2", 7, &CpuidResult::ebx, 8},
                                    {"adx", 7, &CpuidResult::ebx, 19},
                                    {"sha_ni", 7, &CpuidResult::ebx, 29},
                                    {"abm", 0x80000001, &CpuidResult::ecx, 5},
                                    {"mmxext", 0x80000001, &CpuidResult::edx, 22},
                                    {"pdpe1gb", 0x80000001, &CpuidResult::edx, 26},
                                    {"rdtscp", 0x80000001, &CpuidResult::edx, 27}};

bool has_feature(const CpuModel& model, std::string_view name) {
  return std::any_of(std::begin(kOptional), std::end(kOptional), [&](const CpuFeature& f) {
    return f.name == name && model.cpuid(f.leaf, 0, 0, 0, 1).*f.word >> f.bit & 1;
  });
}

std::span<const CpuFeature> optional_features() { return kOptional; }

bool is_optional_feature(std::string_view name) {
  return std::any_of(std::begin(kOptional), std::end(kOptional), [&](const CpuFeature& f) { return f.name == name; });
}

CpuidResult without_features(CpuidResult r, uint32_t leaf, uint32_t subleaf, std::span<const std::string> names) {
  for (const std::string& name : names) {
    if (name == "xsave" && leaf == 0xd) return {};
    if (name == "avx" && leaf == 0xd && subleaf != 1) r = xsave_area(subleaf, kXcr0Allowed);
    for (const CpuFeature& f : kOptional)
      if (f.name == name && f.leaf == leaf && subleaf == 0) r.*f.word &= ~(1u << f.bit);
    if (name == "xsave" && leaf == 1) r.ecx &= ~kOsxsave;
  }
  return r;
}

// Leaf 1 counts logical processors, 0BH gives the width of a core's number, 80000001H says that they are no threads
// (CmpLegacy), 80000008H both (AMD APM vol. 3, E.3.2, E.3.6, E.4.2, E.4.7).
CpuidResult in_package(CpuidResult r, uint32_t leaf, uint32_t subleaf, uint32_t cores) {
  if (cores < 2) return r;
  const auto width = static_cast<uint32_t>(std::bit_width(cores - 1));
  switch (leaf) {
    case 1:
      r.ebx = (r.ebx & ~(0xffu << 16)) | cores << 16;
      r.edx |= bits({28});
      break;
    case 0xb:
      if (subleaf != 1) break;
      r.eax = width;
      r.ebx = cores;
      break;
    case 0x80000001: r.ecx |= bits({1}); break;
    case 0x80000008: r.ecx |= width << 12 | (cores - 1); break;
    default: break;
  }
  return r;
}

}  // namespace dejavm
