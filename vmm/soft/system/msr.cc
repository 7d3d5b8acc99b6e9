// Model-specific registers that a vCPU holds itself. Source: Intel SDM vol. 4; AMD's "Processor Programming
// Reference" for family 19h for the constants. What is not here is the board's.
#include "vmm/soft/system/control.h"

namespace dejavm::soft {
namespace {

using sys::set_efer;

enum Msr : uint32_t {
  kTsc = 0x10,
  kTscAdjust = 0x3b,
  kSpecCtrl = 0x48,
  kMtrrCap = 0xfe,
  kSysenterCs = 0x174,
  kSysenterEsp,
  kSysenterEip,
  kMiscEnable = 0x1a0,
  kMtrrBase0 = 0x200,
  kMtrrMask7 = 0x20f,
  kMtrr64K = 0x250,
  kMtrr16K = 0x258,
  kMtrr4K = 0x268,
  kPat = 0x277,
  kMtrrDefType = 0x2ff,
  kEfer = 0xc0000080,
  kStar,
  kLstar,
  kCstar,
  kSfmask,
  kFsBase = 0xc0000100,
  kGsBase,
  kKernelGsBase,
  kTscAux
};

// Event selects and counters of AMD's four performance counters. No CPUID bit hides them, so systems look at them
// without asking: they count nothing, read as zero, and what is written is lost (as in a KVM guest without a PMU).
bool is_performance_counter(const Cpu& c, uint32_t index) {
  return c.since(2) && index >= 0xc0010000 && index <= 0xc0010007;
}

// What an engine without speculation may claim: RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO,
// TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO.
constexpr uint64_t kArchCapabilities = 0x7b | 1 << 8 | 7 << 13 | 1 << 20 | 1 << 24 | 3 << 26;
static_assert(kArchCapabilities == 0x0d10e17b);

// Constants: they read so, and a write of the same value is accepted; any other is #GP(0).
struct Constant {
  uint32_t index;
  uint64_t value;
};
constexpr Constant kConstants[] = {
    {0x8b, 0},  // microcode revision
    {0x10a, kArchCapabilities},
    {0x1d9, 0},                       // DEBUGCTL: no branch trace, no single-step on branches
    {0xc0010010, 0},                  // SYSCFG: no memory encryption, no RdMem/WrMem in fixed MTRRs, no TOM2
    {0xc0010015, uint64_t{1} << 24},  // HWCR: the TSC counts at its nominal frequency
    {0xc001001f, uint64_t{1} << 46},  // NB_CFG: extended PCI configuration by port 0xcf8 needs no enabling
    {0xc0010055, 0},                  // interrupt pending message: no C1E
    {0xc0010058, 0},                  // no MMIO configuration space
    {0xc0010117, 0},                  // VM_HSAVE_PA: no SVM
    {0xc0011022, 0},                  // data cache configuration
    {0xc0011023, 0},                  // bus unit configuration (instruction cache on later families)
    {0xc0011029, 2},                  // DE_CFG: LFENCE serialises
    {0xc001102a, 0},                  // bus unit configuration 2
};
const Constant* find_constant(uint32_t index) {
  for (const Constant& k : kConstants)
    if (k.index == index) return &k;
  return nullptr;
}

constexpr uint64_t kMtrrCapValue = 8 | 1 << 8 | 1 << 10;  // eight variable ranges, fixed ranges, write combining
constexpr uint64_t kSpecCtrlAllowed = 1;                  // IBRS
constexpr uint64_t kMiscEnableAllowed = 1;                // fast strings
constexpr uint64_t kSfmaskAllowed = 0xffffffff;

void require(bool ok) {
  if (!ok) Cpu::fault(kGP, 0);
}

bool memory_type(uint64_t t, bool pat) { return t == 0 || t == 1 || (t >= 4 && t <= 6) || (pat && t == 7); }

bool memory_types(uint64_t v, bool pat) {
  for (unsigned shift = 0; shift < 64; shift += 8)
    if (!memory_type((v >> shift) & 0xff, pat)) return false;
  return true;
}

// Which fixed-range MTRR an index is, or -1.
int fixed_mtrr(uint32_t index) {
  if (index == kMtrr64K) return 0;
  if (index == kMtrr16K || index == kMtrr16K + 1) return static_cast<int>(1 + index - kMtrr16K);
  if (index >= kMtrr4K && index < kMtrr4K + 8) return static_cast<int>(3 + index - kMtrr4K);
  return -1;
}

bool valid_variable_mtrr(const Cpu& c, uint32_t index, uint64_t v) {
  const uint64_t beyond = ~((uint64_t{1} << c.model->physical_address_bits) - 1);
  if (index & 1) return !(v & (beyond | 0x7ff));
  return !(v & (beyond | 0xf00)) && memory_type(v & 0xff, false);
}

// Registers that are a plain 64-bit member, with what may be written there.
enum class Rule : uint8_t { kAny, kCanonical, kPatTypes, kMask };
struct Plain {
  uint32_t index;
  uint64_t VcpuState::*member;
  Rule rule;
  uint64_t mask = ~uint64_t{0};  // kMask: bits that may be set
};
constexpr Plain kPlain[] = {
    {kStar, &VcpuState::star, Rule::kAny},
    {kLstar, &VcpuState::lstar, Rule::kCanonical},
    {kCstar, &VcpuState::cstar, Rule::kCanonical},
    {kSfmask, &VcpuState::sfmask, Rule::kMask, kSfmaskAllowed},
    {kKernelGsBase, &VcpuState::kernel_gs_base, Rule::kCanonical},
    {kTscAux, &VcpuState::tsc_aux, Rule::kMask, 0xffffffff},
    {kTscAdjust, &VcpuState::tsc_adjust, Rule::kAny},
    {kSpecCtrl, &VcpuState::spec_ctrl, Rule::kMask, kSpecCtrlAllowed},
    {kSysenterEsp, &VcpuState::sysenter_esp, Rule::kCanonical},
    {kSysenterEip, &VcpuState::sysenter_eip, Rule::kCanonical},
    {kSysenterCs, &VcpuState::sysenter_cs, Rule::kMask, 0xffffffff},
    {kPat, &VcpuState::pat, Rule::kPatTypes},
    {kMiscEnable, &VcpuState::misc_enable, Rule::kMask, kMiscEnableAllowed},
};

const Plain* find_plain(uint32_t index) {
  for (const Plain& p : kPlain)
    if (p.index == index) return &p;
  return nullptr;
}

// The local APIC's TSC deadline follows the TSC.
void tell_tsc_adjust(Cpu& c) { c.exits->msr_write(c.position(), kTscAdjust, c.s.tsc_adjust); }

void write_plain(Cpu& c, const Plain& p, uint64_t v) {
  switch (p.rule) {
    case Rule::kAny: break;
    case Rule::kCanonical: require(Cpu::canonical(v)); break;
    case Rule::kPatTypes: require(memory_types(v, true)); break;
    case Rule::kMask: require(!(v & ~p.mask)); break;
  }
  c.s.*p.member = v;
  if (p.index == kTscAdjust) tell_tsc_adjust(c);
}

// DefType: type in 7:0, FE 10, E 11.
void write_def_type(Cpu& c, uint64_t v) {
  require(!(v & ~uint64_t{0xcff}) && memory_type(v & 0xff, false));
  c.s.mtrr_def_type = v;
}

void write_base(Cpu& c, unsigned seg, uint64_t v) {
  require(Cpu::canonical(v));
  c.set_segment_base(seg, v);
}

bool is_variable_mtrr(uint32_t index) { return index >= kMtrrBase0 && index <= kMtrrMask7; }

}  // namespace

uint64_t read_msr(Cpu& c, uint32_t index) {
  if (const Plain* p = find_plain(index)) return c.s.*p->member;
  if (const Constant* k = find_constant(index)) return k->value;
  if (const int n = fixed_mtrr(index); n >= 0) return c.s.mtrr_fixed[static_cast<size_t>(n)];
  if (is_variable_mtrr(index)) return c.s.mtrr_variable[index - kMtrrBase0];
  if (is_performance_counter(c, index)) return 0;
  switch (index) {
    case kTsc: ++c.unlogged_reads; return c.tsc();
    case kEfer: return c.s.efer;
    case kFsBase: return c.s.segment[kFs].base;
    case kGsBase: return c.s.segment[kGs].base;
    case kMtrrCap: return kMtrrCapValue;
    case kMtrrDefType: return c.s.mtrr_def_type;
    default: break;
  }
  uint64_t v = 0;
  require(c.exits->msr_read(c.position(), index, v));
  return v;
}

void write_msr(Cpu& c, uint32_t index, uint64_t value) {
  if (const Plain* p = find_plain(index)) return write_plain(c, *p, value);
  if (const Constant* k = find_constant(index)) return require(value == k->value);
  if (const int n = fixed_mtrr(index); n >= 0) {
    require(memory_types(value, false));
    c.s.mtrr_fixed[static_cast<size_t>(n)] = value;
    return;
  }
  if (is_variable_mtrr(index)) {
    require(valid_variable_mtrr(c, index, value));
    c.s.mtrr_variable[index - kMtrrBase0] = value;
    return;
  }
  if (is_performance_counter(c, index)) return;
  switch (index) {
    case kTsc: c.s.tsc_adjust = value - c.now_ns(); return tell_tsc_adjust(c);
    case kEfer: return set_efer(c, value);
    case kFsBase: return write_base(c, kFs, value);
    case kGsBase: return write_base(c, kGs, value);
    case kMtrrCap: Cpu::fault(kGP, 0);
    case kMtrrDefType: return write_def_type(c, value);
    default: return require(c.exits->msr_write(c.position(), index, value));
  }
}

}  // namespace dejavm::soft
