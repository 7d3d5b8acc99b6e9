#include "vmm/kvm/kvm_probe.h"

#include <x86intrin.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <initializer_list>

#include "vmm/kvm/kvm_cpuid.h"
#include "vmm/kvm/kvm_state.h"
#include "vmm/kvm/kvm_vm.h"

namespace dejavm::kvm {
namespace {

constexpr uint64_t kCode = 0x1000, kTables = 0x2000, kIdt = 0x5000, kHandler = 0x6000, kGdt = 0x7000, kStack = 0x8000;
constexpr uint8_t kVector = 0x40;

// 64-bit mode, 2 MiB identity mapping, at kCode; an interrupt gate for kVector whose handler is `out 0x11, al; hlt`.
VcpuState start_state() {
  VcpuState s = reset_vcpu_state();
  const SegmentState code{0x10, kSegL | kSegG | kSegP | kSegS | 0xb, 0xffffffff, 0},
      data{0x18, kSegDb | kSegG | kSegP | kSegS | 0x3, 0xffffffff, 0};
  for (unsigned n : {kEs, kSs, kDs, kFs, kGs}) s.segment[n] = data;
  s.segment[kCs] = code;
  s.segment[kTr] = {0x20, kSegP | 0xb, 0x67, 0};
  s.gdtr = {kGdt, 0x2f};
  s.idtr = {kIdt, 0xfff};
  s.cr0 = 0x80000033;
  s.cr3 = kTables;
  s.cr4 = 0x20 | 0x600 | 1 << 18;
  s.efer = 0xd00;  // CR4: PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  s.rip = kCode;
  s.rflags = 2;
  s.gpr[kRsp] = kStack;
  return s;
}

void lay_out(GuestMemory& memory) {
  auto put = [&](uint64_t at, std::initializer_list<uint64_t> words) {
    for (uint64_t w : words) {
      CHECK(memory.write(Gpa{at}, &w, sizeof w));
      at += 8;
    }
  };
  put(kTables, {kTables + 0x1003});
  put(kTables + 0x1000, {kTables + 0x2003});
  put(kTables + 0x2000, {0x83, 0x40000083});  // 0, and a hole at 2 MiB for MMIO
  put(kGdt, {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067, 0});
  put(kIdt + kVector * 16, {uint64_t{0x8e00} << 32 | uint64_t{0x10} << 16 | kHandler, 0});
  put(kHandler, {0xf411e6});  // out 0x11, al; hlt
}

class Prober {
 public:
  Prober(KvmVcpu& vcpu, GuestMemory& memory) : vcpu_(vcpu), memory_(memory) {}

  bool load(std::initializer_list<uint8_t> code, VcpuState s = start_state()) {
    const std::vector<uint8_t> bytes(code);
    CHECK(memory_.write(Gpa{kCode}, bytes.data(), bytes.size()));
    return store_state(vcpu_, s, nullptr).ok();
  }
  // The reason of the next exit, or 0.
  uint32_t next() { return vcpu_.call(KVM_RUN) < 0 ? 0 : vcpu_.run().exit_reason; }
  uint64_t io_value() {
    uint64_t v = 0;
    std::memcpy(&v, reinterpret_cast<uint8_t*>(&vcpu_.run()) + vcpu_.run().io.data_offset, vcpu_.run().io.size);
    return v;
  }
  bool out(uint16_t port) {
    return next() == KVM_EXIT_IO && vcpu_.run().io.direction == KVM_EXIT_IO_OUT && vcpu_.run().io.port == port;
  }
  uint64_t rip() {
    VcpuState s;
    return load_state(vcpu_, s, nullptr) ? s.rip : 0;
  }

  KvmVcpu& vcpu_;
  GuestMemory& memory_;
};

void probe_exits(Prober& p, KvmProbe& r) {
  p.load({0xb0, 0x5a, 0xe6, 0x10, 0xf4});  // mov al, 0x5a; out 0x10, al; hlt
  r.port_io = p.out(0x10) && p.io_value() == 0x5a && p.next() == KVM_EXIT_HLT;
  p.load({0xb8, 0x78, 0x56, 0x34, 0x12, 0x89, 0x04, 0x25, 0x10, 0x00, 0x20, 0x00,
          0xf4});  // mov eax, 0x12345678; mov [0x200010], eax; hlt
  uint32_t stored = 0;
  r.mmio = p.next() == KVM_EXIT_MMIO && p.vcpu_.run().mmio.is_write && p.vcpu_.run().mmio.phys_addr == 0x40000010;
  std::memcpy(&stored, p.vcpu_.run().mmio.data, sizeof stored);
  r.mmio = r.mmio && stored == 0x12345678 && p.next() == KVM_EXIT_HLT;
  p.load({0xb9, 0x1b, 0x00, 0x00, 0x00, 0x0f, 0x32, 0xe7, 0x10, 0xf4});  // mov ecx, 0x1b; rdmsr; out 0x10, eax; hlt
  if (p.next() == KVM_EXIT_X86_RDMSR && p.vcpu_.run().msr.index == 0x1b) {
    p.vcpu_.run().msr.data = 0x1234;
    p.vcpu_.run().msr.error = 0;
    r.msr_exits = p.out(0x10) && p.io_value() == 0x1234;
  }
}

void probe_state(Prober& p, KvmProbe& r) {
  uint64_t offset = uint64_t{1} << 40;  // and so from 2^40 on
  offset -= __rdtsc();
  const kvm_device_attr attribute{0, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, reinterpret_cast<uint64_t>(&offset)};
  p.load({0x0f, 0x31, 0x89, 0xd0, 0xe7, 0x10, 0xf4});  // rdtsc; mov eax, edx; out 0x10, eax
  r.tsc_offset = p.vcpu_.call(KVM_SET_DEVICE_ATTR, &attribute) == 0 && p.out(0x10) && p.io_value() >> 4 == 0x10;
  p.load({0xb8, 3, 0, 0, 0, 0x31, 0xd2, 0x31, 0xc9, 0x0f, 0x01, 0xd1, 0xf4});  // eax = 3, edx = ecx = 0; xsetbv; hlt
  VcpuState s;
  r.xsetbv = p.next() == KVM_EXIT_HLT && load_state(p.vcpu_, s, nullptr) && s.xcr0 == 3;
}

void probe_interrupt(Prober& p, KvmProbe& r) {
  kvm_run& run = p.vcpu_.run();
  p.load({0xe6, 0x12, 0xfb, 0x90, 0x90, 0x90, 0xf4});  // out 0x12, al; sti; nop; nop; nop; hlt
  if (!p.out(0x12)) return;
  run.request_interrupt_window = 1;
  if (p.next() != KVM_EXIT_IRQ_WINDOW_OPEN || !run.ready_for_interrupt_injection) return;
  run.request_interrupt_window = 0;
  const uint64_t at = p.rip();
  const kvm_interrupt vector{kVector};
  r.interrupt_window =
      at == kCode + 4 && p.vcpu_.call(KVM_INTERRUPT, &vector) == 0 && p.out(0x11) && p.next() == KVM_EXIT_HLT;
}

void probe_control(Prober& p, KvmProbe& r) {
  p.load({0xe6, 0x10, 0xf4});
  if (p.out(0x10)) {
    p.vcpu_.run().immediate_exit = 1;
    r.immediate_exit = p.next() == 0 && errno == EINTR && p.rip() == kCode + 2;
    p.vcpu_.run().immediate_exit = 0;
  }
  p.load({0x90, 0xff, 0xc0, 0x48, 0x89, 0xc3, 0xf4});  // nop; inc eax; mov rbx, rax; hlt
  r.single_step = true;
  for (uint64_t at : {1, 3, 6}) {
    kvm_guest_debug debug{};
    debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    p.vcpu_.call(KVM_SET_GUEST_DEBUG, &debug);
    r.single_step = r.single_step && p.next() == KVM_EXIT_DEBUG && p.rip() == kCode + at;
  }
  p.load({0xb9, 3, 0, 0, 0, 0xbf, 0, 0x90, 0, 0, 0xf3, 0xaa, 0xf4});  // mov ecx, 3; mov edi, 0x9000; rep stosb; hlt
  unsigned steps = 0;
  for (; steps < 8 && p.rip() < kCode + 12; ++steps) {
    kvm_guest_debug debug{};
    debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    p.vcpu_.call(KVM_SET_GUEST_DEBUG, &debug);
    if (p.next() != KVM_EXIT_DEBUG) break;
  }
  r.rep_single_step = r.single_step && steps == 5;
  const kvm_guest_debug off{};
  p.vcpu_.call(KVM_SET_GUEST_DEBUG, &off);
  constexpr uint32_t kTurns = 2'000'000;
  const auto* n = reinterpret_cast<const uint8_t*>(&kTurns);
  p.load({0xb9, n[0], n[1], n[2], n[3], 0xff, 0xc9, 0x75, 0xfc, 0xf4});  // mov ecx, kTurns; 1: dec ecx; jnz 1b; hlt
  const auto start = std::chrono::steady_clock::now();
  p.vcpu_.run().immediate_exit = 0;
  if (p.next() == KVM_EXIT_HLT)
    r.kernel_minstr_per_s =
        2e-6 * kTurns / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Result<KvmProbe> probe_kvm() {
  auto memory = GuestMemory::create(1 << 20, 0);
  if (!memory) return memory.error();
  lay_out(**memory);
  auto vm = KvmVm::create(memory->get());
  if (!vm) return vm.error();
  KvmVm& m = **vm;
  const CpuModel& model = *find_cpu_model("dejavm-v2");
  if (auto done = m.filter_msrs(); !done) return done.error();
  if (auto done = set_cpuid(m, model, missing_features(m.system(), model)); !done) return done.error();
  KvmProbe r;
  Prober p(m.vcpu(), **memory);
  probe_exits(p, r);
  probe_state(p, r);
  probe_interrupt(p, r);
  probe_control(p, r);
  r.missing = missing_features(m.system(), model);
  if (!r.xsetbv) r.missing.emplace_back("xsave");
  return r;
}

}  // namespace dejavm::kvm
