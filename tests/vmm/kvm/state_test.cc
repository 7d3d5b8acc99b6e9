// VcpuState through KVM and back: every field that KVM holds comes back as it went in.
#include <random>

#include "replay/state/state_codec.h"
#include "tests/vmm/kvm/kvm_fixture.h"
#include "vmm/kvm/kvm_cpuid.h"
#include "vmm/kvm/kvm_state.h"

namespace dejavm::kvm {
namespace {

struct Vm {
  std::unique_ptr<GuestMemory> memory;
  std::unique_ptr<KvmVm> vm;
  bool avx = false;  // KVM has it
};
Vm make_vm() {
  Vm v;
  v.memory = GuestMemory::create(1 << 20, 0).take();
  v.vm = KvmVm::create(v.memory.get()).take();
  EXPECT_TRUE(v.vm->filter_msrs().ok());
  const CpuModel& model = *find_cpu_model("dejavm-v2");
  const auto missing = missing_features(v.vm->system(), model);
  v.avx = std::find(missing.begin(), missing.end(), "avx") == missing.end();
  EXPECT_TRUE(set_cpuid(*v.vm, model, missing).ok());
  return v;
}

std::string differences(const VcpuState& a, const VcpuState& b) {
  std::string out;
  for (const FieldDiff& d : diff_states(schema_of<Vcpu>(), &a, &b, 40))
    out += d.path + ": " + d.expected + ", came back " + d.actual + "\n";
  return out;
}

using KvmState = WithKvm;

TEST_F(KvmState, ResetComesBack) {
  const Vm v = make_vm();
  const VcpuState in = reset_vcpu_state();
  ASSERT_TRUE(store_state(v.vm->vcpu(), in, nullptr).ok());
  VcpuState out = in;
  ASSERT_TRUE(load_state(v.vm->vcpu(), out, nullptr).ok());
  EXPECT_EQ(differences(in, out), "");
}

// What load_state leaves alone would not show.
void forget(VcpuState& out) {
  for (Xmm& x : out.fpu.xmm) x.q = {};
  out.gpr = {};
  out.segment = {};
  out.fpu.st_mantissa = {};
  out.dr = {};
  out.star = out.lstar = out.cstar = out.tsc_aux = 0;
  out.sti_shadow = out.nmi_blocked = false;
  out.xcr0 = 0;
  out.rip = out.rflags = out.cr0 = out.cr2 = out.cr3 = out.cr4 = out.efer = 0;
}

uint64_t canonical(std::mt19937_64& random) {
  return static_cast<uint64_t>(static_cast<int64_t>(random() << 16) >> 16);
}

void fill_fpu(VcpuState& in, std::mt19937_64& random) {
  for (Xmm& x : in.fpu.xmm) x.q = {random(), random()};
  for (unsigned r = 0; r < 8; ++r) {
    in.fpu.st_mantissa[r] = random();
    in.fpu.st_exponent[r] = static_cast<uint16_t>(random());
  }
  in.fpu.fcw = 0x40 | (random() & 0xf3f);
  in.fpu.fsw = random() & 0x7f00;
  in.fpu.ftw = static_cast<uint8_t>(random());
  in.fpu.fip = canonical(random);
  in.fpu.fdp = canonical(random);
  in.fpu.fop = random() & 0x7ff;
  in.fpu.mxcsr = random() & 0xffbf;
}

// 64-bit mode, with whatever values are allowed in everything that a guest can set.
VcpuState random_long_mode_state(std::mt19937_64& random) {
  VcpuState in = reset_vcpu_state();
  for (uint64_t& r : in.gpr) r = random();
  in.rip = canonical(random);
  in.rflags = 2 | (random() & 0xcd5);  // the arithmetic flags, DF; IF below
  in.rflags |= random() & 0x200;
  in.cr0 = 0x80000033;
  in.cr4 = 0x620 | (random() & 0x10084);
  in.efer = 0xd01;
  in.cr3 = random() & 0xff000;
  in.cr2 = random();
  in.segment[kCs] = {0x10, kSegL | kSegG | kSegP | kSegS | 0xb, 0xffffffff, 0};
  for (unsigned seg : {kEs, kSs, kDs, kFs, kGs})
    in.segment[seg] = {0x18, kSegDb | kSegG | kSegP | kSegS | 0x3, 0xffffffff, 0};
  in.segment[kFs].base = canonical(random);
  in.segment[kGs].base = canonical(random);
  in.segment[kTr] = {0x20, kSegP | 0xb, 0x67, canonical(random)};
  in.gdtr = {canonical(random), random() & 0xffff};
  in.idtr = {canonical(random), random() & 0xffff};
  for (uint64_t& d : in.dr) d = canonical(random);
  in.dr6 = 0xffff0ff0 | (random() & 0xf);
  in.dr7 = 0x400 | (random() & 0xff);
  in.star = random();
  in.lstar = canonical(random);
  in.cstar = canonical(random);
  in.sfmask = random() & 0x3f7fd5;
  in.kernel_gs_base = canonical(random);
  in.sysenter_cs = random() & 0xffff;
  in.sysenter_esp = canonical(random);
  in.sysenter_eip = canonical(random);
  in.tsc_aux = random() & 0xffffffff;
  in.xcr0 = random() & 2 ? 3 : 1;
  in.nmi_blocked = random() & 1;
  in.sti_shadow = in.rflags & 0x200 && random() & 1;
  fill_fpu(in, random);
  return in;
}

TEST_F(KvmState, RandomLongModeStatesComeBack) {
  const Vm v = make_vm();
  std::mt19937_64 random(1);
  for (int n = 0; n < 300; ++n) {
    VcpuState in = random_long_mode_state(random);
    VcpuAvx::State avx;
    if (v.avx && random() % 4 != 0) {
      in.xcr0 = 7;
      for (Xmm& y : avx.ymm_high) y.q = {random(), random()};
    }
    const auto stored = store_state(v.vm->vcpu(), in, &avx);
    ASSERT_TRUE(stored.ok()) << stored.error().message;
    VcpuState out = in;
    forget(out);
    VcpuAvx::State avx_out;
    avx_out.ymm_high[3].q = {1, 2};
    ASSERT_TRUE(load_state(v.vm->vcpu(), out, &avx_out).ok());
    ASSERT_EQ(differences(in, out), "") << "state " << n;
    ASSERT_EQ(avx, avx_out) << "state " << n;
  }
}

}  // namespace
}  // namespace dejavm::kvm
