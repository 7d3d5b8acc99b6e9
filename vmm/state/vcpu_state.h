// A vCPU between two instructions, independent of the engine that runs it: what a snapshot holds and what one
// engine hands to another. Sources: Intel SDM vol. 1 ch. 3 and 8, vol. 3 ch. 2; AMD APM vol. 2 ch. 15 (segment
// attributes). The local APIC, with the APIC base MSR and CR8 (its TPR), is a device and not here.
#pragma once

#include <array>
#include <cstdint>

#include "devices/core/fields.h"

namespace dejavm {

enum Gpr : uint8_t { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi, kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15 };
enum Seg : uint8_t { kEs, kCs, kSs, kDs, kFs, kGs, kLdtr, kTr, kSegCount };

// A segment register with its descriptor cache. attributes as in AMD's VMCB: type 3:0, S 4, DPL 6:5, P 7, AVL 8,
// L 9, D/B 10, G 11. limit in bytes, already scaled by G. A null segment has P = 0.
struct SegmentState {
  uint16_t selector = 0;
  uint16_t attributes = 0;
  uint32_t limit = 0;
  uint64_t base = 0;
  static constexpr auto fields() {
    return std::tuple{field("selector", &SegmentState::selector),
                      field("attributes", &SegmentState::attributes).range(0, 0xfff),
                      field("limit", &SegmentState::limit).unit("bytes"), field("base", &SegmentState::base)};
  }
  bool operator==(const SegmentState&) const = default;
};
inline constexpr uint16_t kSegL = 1 << 9, kSegDb = 1 << 10, kSegG = 1 << 11, kSegP = 1 << 7, kSegS = 1 << 4;

struct TableState {  // GDTR, IDTR
  uint64_t base = 0;
  uint64_t limit = 0;  // bytes - 1
  static constexpr auto fields() {
    return std::tuple{field("base", &TableState::base), field("limit", &TableState::limit).range(0, 0xffff)};
  }
  bool operator==(const TableState&) const = default;
};

struct Xmm {
  std::array<uint64_t, 2> q{};
  static constexpr auto fields() { return std::tuple{field("q", &Xmm::q)}; }
  bool operator==(const Xmm&) const = default;
};

// x87, MMX and SSE registers. st_* are by physical register number (MMX numbering), not by stack top.
struct FpuState {
  std::array<Xmm, 16> xmm{};
  std::array<uint64_t, 8> st_mantissa{};  // also MM0-MM7
  std::array<uint16_t, 8> st_exponent{};  // sign in bit 15
  uint64_t fip = 0,
           fdp = 0;  // last x87 instruction and operand: 64-bit offsets, or 32-bit offset with selector in 47:32
  uint16_t fcw = 0x37f, fsw = 0;  // fsw with TOP in 13:11
  uint8_t ftw = 0;                // abridged tag word: bit n set when physical register n is not empty
  uint8_t reserved = 0;           // always 0
  uint16_t fop = 0;
  uint32_t mxcsr = 0x1f80;
  uint32_t reserved2 = 0;  // always 0
  static constexpr auto fields() {
    return std::tuple{field("xmm", &FpuState::xmm),
                      field("st_mantissa", &FpuState::st_mantissa),
                      field("st_exponent", &FpuState::st_exponent),
                      field("fip", &FpuState::fip),
                      field("fdp", &FpuState::fdp),
                      field("fcw", &FpuState::fcw),
                      field("fsw", &FpuState::fsw),
                      field("ftw", &FpuState::ftw),
                      field("reserved", &FpuState::reserved).range(0, 0),
                      field("fop", &FpuState::fop).range(0, 0x7ff),
                      field("mxcsr", &FpuState::mxcsr).range(0, 0xffff),
                      field("reserved2", &FpuState::reserved2).range(0, 0)};
  }
  bool operator==(const FpuState&) const = default;
};

enum class Activity : uint8_t { kRunning = 0, kHalted = 1, kShutdown = 2, kWaitForSipi = 3 };

struct VcpuState {
  std::array<uint64_t, 16> gpr{};
  uint64_t rip = 0, rflags = 2;
  uint64_t retired = 0;
  std::array<SegmentState, kSegCount> segment{};
  TableState gdtr, idtr;
  uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, xcr0 = 1;
  std::array<uint64_t, 4> dr{};
  uint64_t dr6 = 0xffff0ff0, dr7 = 0x400;
  uint64_t efer = 0, star = 0, lstar = 0, cstar = 0, sfmask = 0, kernel_gs_base = 0;
  uint64_t sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  uint64_t pat = 0x0007040600070406;
  uint64_t tsc_adjust = 0;  // TSC = now in ns (1 GHz) + tsc_adjust
  uint64_t tsc_aux = 0;
  uint64_t misc_enable = 1;
  uint64_t mtrr_def_type = 0;
  std::array<uint64_t, 16> mtrr_variable{};  // base 0, mask 0, base 1, ...
  std::array<uint64_t, 11> mtrr_fixed{};     // 64K_00000, 16K_80000, 16K_A0000, 4K_C0000 ... 4K_F8000
  uint64_t spec_ctrl = 0;
  uint64_t random_counter = 0;  // RDRAND/RDSEED answers drawn so far; the seed is configuration
  uint64_t random_seed = 0;
  uint64_t pending_debug = 0;  // DR6 bits of a #DB trap due before the next instruction
  Activity activity = Activity::kRunning;
  bool sti_shadow = false;    // interrupts held back until after the next instruction
  bool movss_shadow = false;  // the same for NMI and #DB too
  bool nmi_blocked = false;   // an NMI handler has not returned yet
  bool nmi_pending = false;
  bool smi_pending = false;
  bool init_pending = false;
  uint8_t reserved = 0;  // always 0
  FpuState fpu;

  static constexpr auto fields() {
    using S = VcpuState;
    return std::tuple{field("gpr", &S::gpr),
                      field("rip", &S::rip),
                      field("rflags", &S::rflags).range(2, 0x3fffff),
                      field("retired", &S::retired).unit("instructions"),
                      field("segment", &S::segment),
                      field("gdtr", &S::gdtr),
                      field("idtr", &S::idtr),
                      field("cr0", &S::cr0),
                      field("cr2", &S::cr2),
                      field("cr3", &S::cr3),
                      field("cr4", &S::cr4),
                      field("xcr0", &S::xcr0),
                      field("dr", &S::dr),
                      field("dr6", &S::dr6),
                      field("dr7", &S::dr7),
                      field("efer", &S::efer),
                      field("star", &S::star),
                      field("lstar", &S::lstar),
                      field("cstar", &S::cstar),
                      field("sfmask", &S::sfmask),
                      field("kernel_gs_base", &S::kernel_gs_base),
                      field("sysenter_cs", &S::sysenter_cs),
                      field("sysenter_esp", &S::sysenter_esp),
                      field("sysenter_eip", &S::sysenter_eip),
                      field("pat", &S::pat),
                      field("tsc_adjust", &S::tsc_adjust).unit("ns"),
                      field("tsc_aux", &S::tsc_aux),
                      field("misc_enable", &S::misc_enable),
                      field("mtrr_def_type", &S::mtrr_def_type),
                      field("mtrr_variable", &S::mtrr_variable),
                      field("mtrr_fixed", &S::mtrr_fixed),
                      field("spec_ctrl", &S::spec_ctrl),
                      field("random_counter", &S::random_counter),
                      field("random_seed", &S::random_seed),
                      field("pending_debug", &S::pending_debug),
                      field("activity", &S::activity).range(0, 3),
                      field("sti_shadow", &S::sti_shadow),
                      field("movss_shadow", &S::movss_shadow),
                      field("nmi_blocked", &S::nmi_blocked),
                      field("nmi_pending", &S::nmi_pending),
                      field("smi_pending", &S::smi_pending),
                      field("init_pending", &S::init_pending),
                      field("reserved", &S::reserved).range(0, 0),
                      field("fpu", &S::fpu)};
  }
  bool operator==(const VcpuState&) const = default;
};

// The vCPU as a model for schema_of: chunk "vcpu", one instance per vCPU.
struct Vcpu {
  static constexpr std::string_view kName = "vcpu";
  static constexpr uint16_t kVersion = 1;
  using State = VcpuState;
  static const char* invalid(const State& s);  // canonical addresses, reserved bits of CRs and EFER, flags
};

// The upper halves of the YMM registers, of CPU models that have them: chunk "vcpu-avx".
struct VcpuAvx {
  static constexpr std::string_view kName = "vcpu-avx";
  static constexpr uint16_t kVersion = 1;
  struct State {
    std::array<Xmm, 16> ymm_high{};
    static constexpr auto fields() { return std::tuple{field("ymm_high", &State::ymm_high)}; }
    bool operator==(const State&) const = default;
  };
  static const char* invalid(const State&) { return nullptr; }
};

// The state after RESET (SDM vol. 3 table 10-1): real mode at F000:FFF0, base 0xffff0000.
VcpuState reset_vcpu_state();

}  // namespace dejavm
