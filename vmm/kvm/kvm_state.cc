#include "vmm/kvm/kvm_state.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace dejavm::kvm {
namespace {

Result<void> refused(const char* what) {
  return Error{ErrorKind::kHost,
               fmt::format("KVM does not take or give a virtual processor's {}: {}", what, errno_text())};
}

kvm_segment segment_out(const SegmentState& s) {
  kvm_segment k{};
  k.base = s.base;
  k.limit = s.limit;
  k.selector = s.selector;
  k.type = s.attributes & 15;
  k.s = s.attributes >> 4 & 1;
  k.dpl = s.attributes >> 5 & 3;
  k.present = s.attributes >> 7 & 1;
  k.avl = s.attributes >> 8 & 1;
  k.l = s.attributes >> 9 & 1;
  k.db = s.attributes >> 10 & 1;
  k.g = s.attributes >> 11 & 1;
  k.unusable = !k.present;
  return k;
}

SegmentState segment_in(const kvm_segment& k) {
  const bool present = k.present && !k.unusable;
  return {k.selector,
          static_cast<uint16_t>((k.type & 15) | (k.s & 1) << 4 | (k.dpl & 3) << 5 | present << 7 | (k.avl & 1) << 8 |
                                (k.l & 1) << 9 | (k.db & 1) << 10 | (k.g & 1) << 11),
          k.limit, k.base};
}

// The order of Gpr, in kvm_regs.
constexpr __u64 kvm_regs::*kGprs[16] = {&kvm_regs::rax, &kvm_regs::rcx, &kvm_regs::rdx, &kvm_regs::rbx,
                                        &kvm_regs::rsp, &kvm_regs::rbp, &kvm_regs::rsi, &kvm_regs::rdi,
                                        &kvm_regs::r8,  &kvm_regs::r9,  &kvm_regs::r10, &kvm_regs::r11,
                                        &kvm_regs::r12, &kvm_regs::r13, &kvm_regs::r14, &kvm_regs::r15};
// The order of Seg, in kvm_sregs.
constexpr kvm_segment kvm_sregs::*kSegments[kSegCount] = {&kvm_sregs::es,  &kvm_sregs::cs, &kvm_sregs::ss,
                                                          &kvm_sregs::ds,  &kvm_sregs::fs, &kvm_sregs::gs,
                                                          &kvm_sregs::ldt, &kvm_sregs::tr};
struct NativeMsr {
  uint32_t index;
  uint64_t VcpuState::*member;
  bool read_back = true;
};
// SYSENTER's are written by our own engine, and KVM for AMD keeps half of them: enough for SYSENTER, which 64-bit mode
// has not there.
constexpr NativeMsr kMsrs[] = {{0xc0000081, &VcpuState::star},           {0xc0000082, &VcpuState::lstar},
                               {0xc0000083, &VcpuState::cstar},          {0xc0000084, &VcpuState::sfmask},
                               {0xc0000102, &VcpuState::kernel_gs_base}, {0xc0000103, &VcpuState::tsc_aux},
                               {0x174, &VcpuState::sysenter_cs, false},  {0x175, &VcpuState::sysenter_esp, false},
                               {0x176, &VcpuState::sysenter_eip, false}};

struct MsrList {  // kvm_msrs with its entries
  uint32_t nmsrs, padding;
  kvm_msr_entry entries[std::size(kMsrs)];
};

// The XSAVE area (SDM vol. 1, 13.4): FXSAVE's layout, then the header.
struct XsaveImage {
  uint16_t fcw, fsw;
  uint8_t ftw, reserved;
  uint16_t fop;
  uint64_t fip, fdp;
  uint32_t mxcsr, mxcsr_mask;
  struct {
    uint64_t mantissa;
    uint16_t exponent;
    uint8_t zero[6];
  } st[8];  // by stack position
  uint64_t xmm[16][2];
  uint8_t unused[96];
  uint64_t xstate_bv, xcomp_bv, reserved2[6];
  Xmm ymm_high[16];  // where CPUID 0xd.2 has it, of the model and of every processor
};
static_assert(sizeof(XsaveImage) == 576 + 256);

FpuState fpu_in(const XsaveImage& x) {
  FpuState f;
  if (x.xstate_bv & 1) {
    f.fcw = x.fcw;
    f.fsw = x.fsw;
    f.ftw = x.ftw;
    f.fop = x.fop & 0x7ff;
    f.fip = x.fip;
    f.fdp = x.fdp;
    for (unsigned n = 0; n < 8; ++n) {
      const unsigned physical = (n + (x.fsw >> 11)) & 7;
      f.st_mantissa[physical] = x.st[n].mantissa;
      f.st_exponent[physical] = x.st[n].exponent;
    }
  }
  if (x.xstate_bv & 2)
    for (unsigned n = 0; n < 16; ++n) f.xmm[n].q = {x.xmm[n][0], x.xmm[n][1]};
  f.mxcsr = x.mxcsr;
  return f;
}

void fpu_out(const FpuState& f, const VcpuAvx::State* avx, XsaveImage& x) {
  x.fcw = f.fcw;
  x.fsw = f.fsw;
  x.ftw = f.ftw;
  x.fop = f.fop;
  x.fip = f.fip;
  x.fdp = f.fdp;
  x.mxcsr = f.mxcsr;
  for (unsigned n = 0; n < 8; ++n) {
    const unsigned physical = (n + (f.fsw >> 11)) & 7;
    x.st[n].mantissa = f.st_mantissa[physical];
    x.st[n].exponent = f.st_exponent[physical];
  }
  for (unsigned n = 0; n < 16; ++n) {
    x.xmm[n][0] = f.xmm[n].q[0];
    x.xmm[n][1] = f.xmm[n].q[1];
  }
  x.xstate_bv = 3;
  if (avx == nullptr) return;
  std::copy(avx->ymm_high.begin(), avx->ymm_high.end(), x.ymm_high);
  x.xstate_bv |= 4;
}

}  // namespace

Result<void> store_state(const KvmVcpu& m, const VcpuState& s, const VcpuAvx::State* avx) {
  kvm_sregs sregs{};
  if (m.call(KVM_GET_SREGS, &sregs) < 0) return refused("segment registers");
  for (unsigned n = 0; n < kSegCount; ++n) sregs.*kSegments[n] = segment_out(s.segment[n]);
  sregs.gdt.base = s.gdtr.base;
  sregs.gdt.limit = static_cast<uint16_t>(s.gdtr.limit);
  sregs.idt.base = s.idtr.base;
  sregs.idt.limit = static_cast<uint16_t>(s.idtr.limit);
  sregs.cr0 = s.cr0;
  sregs.cr2 = s.cr2;
  sregs.cr3 = s.cr3;
  sregs.cr4 = s.cr4;
  sregs.efer = s.efer;
  std::memset(sregs.interrupt_bitmap, 0, sizeof sregs.interrupt_bitmap);
  if (m.call(KVM_SET_SREGS, &sregs) < 0) return refused("segment and control registers");
  kvm_regs regs{};
  for (unsigned n = 0; n < 16; ++n) regs.*kGprs[n] = s.gpr[n];
  regs.rip = s.rip;
  regs.rflags = s.rflags;
  if (m.call(KVM_SET_REGS, &regs) < 0) return refused("general registers");
  MsrList msrs{};
  msrs.nmsrs = std::size(kMsrs);
  for (size_t n = 0; n < std::size(kMsrs); ++n) msrs.entries[n] = {kMsrs[n].index, 0, s.*kMsrs[n].member};
  if (m.call(kSetMsrs, &msrs) != static_cast<long>(std::size(kMsrs))) return refused("MSRs");
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = s.xcr0;
  if (m.call(KVM_SET_XCRS, &xcrs) < 0) return refused("XCR0");
  kvm_xsave xsave{};
  XsaveImage image{};
  // A guest that is not shown AVX cannot have any, and KVM takes none then.
  fpu_out(s.fpu, avx != nullptr && *avx != VcpuAvx::State{} ? avx : nullptr, image);
  std::memcpy(xsave.region, &image, sizeof image);
  if (m.call(kSetXsave, &xsave) < 0) return refused("XSAVE area");
  kvm_debugregs debug{};
  std::copy(s.dr.begin(), s.dr.end(), debug.db);
  debug.dr6 = s.dr6;
  debug.dr7 = s.dr7;
  if (m.call(KVM_SET_DEBUGREGS, &debug) < 0) return refused("debug registers");
  kvm_vcpu_events events{};
  events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
  events.interrupt.shadow = static_cast<uint8_t>((s.sti_shadow ? KVM_X86_SHADOW_INT_STI : 0) |
                                                 (s.movss_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0));
  events.nmi.pending = s.nmi_pending;
  events.nmi.masked = s.nmi_blocked;
  if (m.call(KVM_SET_VCPU_EVENTS, &events) < 0) return refused("pending events");
  return {};
}

Result<void> load_state(const KvmVcpu& m, VcpuState& s, VcpuAvx::State* avx) {
  kvm_sregs sregs{};
  kvm_regs regs{};
  if (m.call(KVM_GET_SREGS, &sregs) < 0 || m.call(KVM_GET_REGS, &regs) < 0) return refused("registers");
  for (unsigned n = 0; n < kSegCount; ++n) s.segment[n] = segment_in(sregs.*kSegments[n]);
  s.gdtr = {sregs.gdt.base, sregs.gdt.limit};
  s.idtr = {sregs.idt.base, sregs.idt.limit};
  s.cr0 = sregs.cr0;
  s.cr2 = sregs.cr2;
  s.cr3 = sregs.cr3;
  s.cr4 = sregs.cr4;
  s.efer = sregs.efer;
  for (unsigned n = 0; n < 16; ++n) s.gpr[n] = regs.*kGprs[n];
  s.rip = regs.rip;
  s.rflags = regs.rflags;
  MsrList msrs{};
  msrs.nmsrs = std::size(kMsrs);
  for (size_t n = 0; n < std::size(kMsrs); ++n) msrs.entries[n].index = kMsrs[n].index;
  if (m.call(kGetMsrs, &msrs) != static_cast<long>(std::size(kMsrs))) return refused("MSRs");
  for (size_t n = 0; n < std::size(kMsrs); ++n)
    if (kMsrs[n].read_back) s.*kMsrs[n].member = msrs.entries[n].data;
  kvm_xcrs xcrs{};
  if (m.call(KVM_GET_XCRS, &xcrs) < 0) return refused("XCR0");
  s.xcr0 = xcrs.xcrs[0].value;
  kvm_xsave xsave{};
  if (m.call(kGetXsave, &xsave) < 0) return refused("XSAVE area");
  XsaveImage image{};
  std::memcpy(&image, xsave.region, sizeof image);
  s.fpu = fpu_in(image);
  if (avx != nullptr) {
    *avx = {};
    if (image.xstate_bv & 4) std::copy(std::begin(image.ymm_high), std::end(image.ymm_high), avx->ymm_high.begin());
  }
  kvm_debugregs debug{};
  if (m.call(KVM_GET_DEBUGREGS, &debug) < 0) return refused("debug registers");
  std::copy(debug.db, debug.db + 4, s.dr.begin());
  s.dr6 = debug.dr6;
  s.dr7 = debug.dr7;
  kvm_vcpu_events events{};
  if (m.call(KVM_GET_VCPU_EVENTS, &events) < 0) return refused("pending events");
  s.sti_shadow = events.interrupt.shadow & KVM_X86_SHADOW_INT_STI;
  s.movss_shadow =
      events.interrupt.shadow == KVM_X86_SHADOW_INT_MOV_SS;  // AMD's processors have one shadow, and KVM then says both
  s.nmi_pending = events.nmi.pending;
  s.nmi_blocked = events.nmi.masked;
  return {};
}

std::vector<ChunkRef> avx_chunks(Engine& engine) {
  std::vector<ChunkRef> out = engine.chunks();
  std::erase_if(out, [](const ChunkRef& c) { return c.schema != &schema_of<VcpuAvx>(); });
  return out;
}

VcpuAvx::State* avx_of(Engine& engine, uint32_t vcpu) {
  for (const ChunkRef& c : avx_chunks(engine))
    if (c.instance == vcpu) return static_cast<VcpuAvx::State*>(c.data);
  return nullptr;
}

bool event_in_flight(const KvmVcpu& m) {
  kvm_vcpu_events events{};
  CHECK(m.call(KVM_GET_VCPU_EVENTS, &events) >= 0);
  return events.exception.injected || events.exception.pending || events.interrupt.injected || events.nmi.injected;
}

}  // namespace dejavm::kvm
