// Reset state and the cross-field rules of a vCPU. The rules are those by which a processor could have got there;
// they also hold for VM entry (SDM vol. 3, 26.3.1), so that a state accepted here runs on every engine.
#include "vmm/state/vcpu_state.h"

#include "vmm/state/cpu_model.h"

namespace dejavm {
namespace {

constexpr uint64_t kPE = 1, kET = 16, kNW = 1 << 29, kCD = 1 << 30, kPG = uint64_t{1} << 31;
constexpr uint64_t kCr0Defined = 0xe005003f;
constexpr uint64_t kPAE = 1 << 5, kPCIDE = 1 << 17;
constexpr uint64_t kLME = 1 << 8, kLMA = 1 << 10;
constexpr uint64_t kFlagVM = 1 << 17;
constexpr uint64_t kFlagsDefined = 0x277fd7;  // VIF and VIP do not exist: no VME
constexpr uint64_t kDr6Fixed1 = 0xffff0ff0, kDr6Writable = 0xe00f;
constexpr uint64_t kDr7Fixed1 = 0x400, kDr7Writable = 0xffff23ff;
constexpr uint64_t kResetDr7 = 0x400;

bool canonical(uint64_t a) { return static_cast<uint64_t>(static_cast<int64_t>(a << 16) >> 16) == a; }

bool memory_type(uint64_t t, bool pat) { return t <= 1 || (t >= 4 && t <= 6) || (pat && t == 7); }

bool memory_types(uint64_t v, bool pat) {
  for (unsigned shift = 0; shift < 64; shift += 8)
    if (!memory_type((v >> shift) & 0xff, pat)) return false;
  return true;
}

const char* invalid_control(const VcpuState& s, const CpuModel& model) {
  const uint64_t beyond = ~((uint64_t{1} << model.physical_address_bits) - 1);
  const bool paging = s.cr0 & kPG, lma = s.efer & kLMA;
  if ((s.cr0 & ~kCr0Defined) || !(s.cr0 & kET)) return "CR0 has reserved bits set, or ET clear";
  if (paging && !(s.cr0 & kPE)) return "CR0.PG without CR0.PE";
  if ((s.cr0 & kNW) && !(s.cr0 & kCD)) return "CR0.NW without CR0.CD";
  if (s.cr4 & ~model.cr4_allowed) return "CR4 has bits that the CPU model lacks";
  if (s.efer & ~model.efer_allowed) return "EFER has bits that the CPU model lacks";
  if (lma != (paging && (s.efer & kLME))) return "EFER.LMA differs from EFER.LME and CR0.PG";
  if (lma && !(s.cr4 & kPAE)) return "long mode without CR4.PAE";
  if ((s.cr4 & kPCIDE) && !lma) return "CR4.PCIDE outside long mode";
  if (lma ? (s.cr3 & beyond) : s.cr3 >> 32) return "CR3 is beyond the physical address space";
  if ((s.xcr0 & ~model.xcr0_allowed) || !(s.xcr0 & 1) || ((s.xcr0 & 4) && !(s.xcr0 & 2)))
    return "XCR0 is not one the CPU model allows";
  return nullptr;
}

const char* invalid_segments(const VcpuState& s) {
  const SegmentState& cs = s.segment[kCs];
  const bool lma = s.efer & kLMA, protected_mode = s.cr0 & kPE, v86 = s.rflags & kFlagVM;
  if (lma && (cs.attributes & kSegL) && (cs.attributes & kSegDb)) return "CS has both L and D in long mode";
  if (v86 && (lma || !protected_mode)) return "RFLAGS.VM outside legacy protected mode";
  for (unsigned n = 0; n < kSegCount; ++n) {
    const SegmentState& g = s.segment[n];
    const bool wide = n == kFs || n == kGs || n == kLdtr || n == kTr;
    if (wide ? !canonical(g.base) : g.base >> 32) return "a segment base is not canonical or not below 4 GiB";
    if (v86 && n <= kGs && (g.attributes != 0xf3 || g.limit != 0xffff || g.base != uint64_t{g.selector} << 4))
      return "a segment is not as virtual-8086 mode has it";
  }
  if (!protected_mode && (s.segment[kSs].attributes & 0x60)) return "SS.DPL is not 0 in real-address mode";
  if (!canonical(s.gdtr.base) || !canonical(s.idtr.base)) return "GDTR or IDTR base is not canonical";
  // In 64-bit mode SYSRET may leave any RIP; the fetch faults.
  if (!(lma && (cs.attributes & kSegL)) && s.rip >> 32) return "RIP is not below 4 GiB outside 64-bit mode";
  return nullptr;
}

const char* invalid_msrs(const VcpuState& s, const CpuModel& model) {
  const uint64_t beyond = ~((uint64_t{1} << model.physical_address_bits) - 1);
  for (uint64_t a : {s.lstar, s.cstar, s.kernel_gs_base, s.sysenter_esp, s.sysenter_eip})
    if (!canonical(a)) return "an MSR holds an address that is not canonical";
  if ((s.sfmask | s.tsc_aux | s.sysenter_cs) >> 32) return "SFMASK, TSC_AUX or SYSENTER_CS exceeds 32 bits";
  if (!memory_types(s.pat, true)) return "PAT holds a reserved memory type";
  if ((s.mtrr_def_type & ~uint64_t{0xcff}) || !memory_type(s.mtrr_def_type & 0xff, false))
    return "the MTRR default type is reserved";
  for (uint64_t v : s.mtrr_fixed)
    if (!memory_types(v, false)) return "a fixed MTRR holds a reserved memory type";
  for (unsigned n = 0; n < 16; n += 2) {
    const uint64_t base = s.mtrr_variable[n], mask = s.mtrr_variable[n + 1];
    if ((base & (beyond | 0xf00)) || !memory_type(base & 0xff, false) || (mask & (beyond | 0x7ff)))
      return "a variable MTRR has reserved bits set";
  }
  if (s.misc_enable & ~uint64_t{1}) return "MISC_ENABLE has reserved bits set";
  if (s.spec_ctrl & ~uint64_t{1}) return "SPEC_CTRL has reserved bits set";
  return nullptr;
}

const char* invalid_debug(const VcpuState& s) {
  if ((s.dr6 & ~kDr6Writable) != kDr6Fixed1) return "DR6 has reserved bits changed";
  if ((s.dr7 & ~kDr7Writable) != kDr7Fixed1) return "DR7 has reserved bits changed";
  if (s.pending_debug & ~kDr6Writable) return "pending_debug has bits that DR6 lacks";
  return nullptr;
}

}  // namespace

// By the CPU model that allows most; which one it is, is not a matter of the state. See Machine::misfit.
const char* Vcpu::invalid(const State& s) {
  const CpuModel& model = *find_cpu_model("dejavm-v2");
  if (!(s.rflags & 2) || (s.rflags & ~kFlagsDefined)) return "RFLAGS has reserved bits changed";
  if (const char* why = invalid_control(s, model)) return why;
  if (const char* why = invalid_segments(s)) return why;
  if (const char* why = invalid_msrs(s, model)) return why;
  return invalid_debug(s);
}

VcpuState reset_vcpu_state() {
  VcpuState s;
  const CpuModel& model = *find_cpu_model("dejavm-v1");
  s.gpr[kRdx] = model.cpuid(1, 0, 0, 0, 1).eax;
  s.rip = 0xfff0;
  for (unsigned n = kEs; n <= kGs; ++n) s.segment[n] = {0, 0x93, 0xffff, 0};
  s.segment[kCs] = {0xf000, 0x9b, 0xffff, 0xffff0000};
  s.segment[kLdtr] = {0, 0x82, 0xffff, 0};
  s.segment[kTr] = {0, 0x8b, 0xffff, 0};
  s.gdtr = s.idtr = {0, 0xffff};
  s.cr0 = kET | kNW | kCD;
  s.dr7 = kResetDr7;
  s.fpu.fcw = 0x40;
  s.fpu.ftw = 0xff;  // tag word 5555h: every register holds +0.0
  return s;
}

}  // namespace dejavm
