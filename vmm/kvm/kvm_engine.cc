#include "vmm/kvm/kvm_engine.h"

#include <x86intrin.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "vmm/kvm/kick.h"
#include "vmm/kvm/kvm_cpuid.h"
#include "vmm/kvm/kvm_probe.h"
#include "vmm/kvm/kvm_state.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/kvm/last_exits.h"
#include "vmm/soft/soft_engine.h"

namespace dejavm::kvm {
namespace {

constexpr uint64_t kFlagIf = 1 << 9;
constexpr uint32_t kApicBase = 0x1b, kTscDeadline = 0x6e0, kX2apicFirst = 0x800, kX2apicLast = 0x8ff;

// CPUID features that a guest turns on in CR4, as /proc/cpuinfo names them.
constexpr std::pair<std::string_view, unsigned> kCr4Features[] = {{"umip", 11},  {"fsgsbase", 16}, {"pcid", 17},
                                                                  {"xsave", 18}, {"smep", 20},     {"smap", 21}};

bool is_boards_msr(uint32_t index) {
  return index == kApicBase || index == kTscDeadline || (index >= kX2apicFirst && index <= kX2apicLast);
}

class KvmEngine final : public Engine {
 public:
  KvmEngine(std::unique_ptr<KvmVm> vm, const CpuModel& model, GuestMemory& memory, uint64_t tsc_khz,
            std::vector<std::string> missing)
      : missing_(std::move(missing)),
        vm_(std::move(vm)),
        tsc_khz_(tsc_khz),
        kick_(vm_->run()),
        soft_(soft::make_soft_engine(model, memory, 1, {.strict = false, .use_blocks = false})),
        avx_(avx_of(*soft_)),
        memory_(memory) {}

  std::string_view name() const override { return "kvm"; }
  std::vector<std::pair<std::string_view, uint64_t>> counters() const override {
    return {{"entries", entries_}, {"interrupted_by_timer", kicks_}, {"by_deterministic_engine", soft_steps_}};
  }

  // AVX state is where the deterministic engine has it.
  std::vector<ChunkRef> chunks() override { return avx_chunks(avx_); }
  void power_on(uint32_t vcpu, const VcpuState& s) override {
    if (avx_ != nullptr) *avx_ = {};
    set_state(vcpu, s);
  }
  void set_state(uint32_t, const VcpuState& s) override {
    s_ = s;
    fresh_ = true;
    if (s.xcr0 & 4 && std::find(missing_.begin(), missing_.end(), "avx") != missing_.end())
      return stop_with(
          "the guest uses avx (XCR0 bit 2), which this machine's KVM does not have: go on with --engine deterministic");
    for (const auto& [name, bit] : kCr4Features)
      if (s.cr4 >> bit & 1 && std::find(missing_.begin(), missing_.end(), name) != missing_.end())
        return stop_with(fmt::format(
            "the guest uses {} (CR4 bit {}), which this machine's KVM does not have: go on with --engine deterministic",
            name, bit));
    fail(store_state(*vm_, s_, avx_));
  }
  void get_state(uint32_t, VcpuState& s) const override {
    s = s_;
    if (detail_.empty()) fail(load_state(*vm_, s, avx_));  // KVM may not have taken what it was given
  }

  StopReason run(uint32_t, RunControl& control, ExitHandler& exits) override {
    control.from = kForever;  // one vCPU: its count is the machine's
    if (!detail_.empty()) return StopReason::kError;
    control_ = &control;
    exits_ = &exits;
    if (s_.activity == Activity::kShutdown) return StopReason::kShutdown;
    if (s_.activity == Activity::kHalted) {
      if (control.init) return StopReason::kInit;
      if (!control.nmi && !(control.intr && (rflags() & kFlagIf))) return StopReason::kHalted;
      s_.activity = Activity::kRunning;
    }
    start_clock();
    if (s_.pending_debug != 0) soft_step();
    StopReason why = loop();
    kick_.disarm();
    if (const StopReason last = finish_exit(); last != StopReason::kLimit) why = last;
    s_.retired = retired();
    running_ = false;
    return why;
  }
  std::string detail() const override { return detail_.empty() ? detail_ : detail_ + last_exits_.text(); }

  void memory_written(Gpa, uint64_t) override {}  // the processor sees it by itself
  void dirty_flags_cleared() override {}
  void collect_dirty() override { vm_->collect_dirty(); }

 private:
  uint64_t retired() const { return running_ ? s_.retired + (__rdtsc() - tsc_start_) : s_.retired; }
  Position position() const { return {0, {retired()}}; }
  kvm_regs kvm_registers() const {
    kvm_regs regs{};
    CHECK(vm_->vcpu().call(KVM_GET_REGS, &regs) >= 0);
    return regs;
  }
  Registers where() const {
    const kvm_regs r = kvm_registers();
    return {
        {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15},
        r.rip};
  }
  uint64_t rflags() const { return kvm_registers().rflags; }
  uint64_t rip() const { return kvm_registers().rip; }
  void fail(const Result<void>& r) const {
    if (!r && detail_.empty()) detail_ = r.error().message;
  }
  void stop_with(std::string why) const {
    if (detail_.empty()) detail_ = std::move(why);
  }

  // From here on `retired` follows the TSC, and the guest's TSC is where VcpuState has it.
  void start_clock() {
    tsc_start_ = __rdtsc();
    running_ = true;
    set_guest_tsc();
  }
  void set_guest_tsc() {
    uint64_t offset = s_.retired + control_->time_base_ns + s_.tsc_adjust - tsc_start_;
    if (offset == offset_) return;
    offset_ = offset;
    const kvm_device_attr attribute{0, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, reinterpret_cast<uint64_t>(&offset)};
    if (vm_->vcpu().call(KVM_SET_DEVICE_ATTR, &attribute) < 0)
      stop_with("KVM does not set a virtual processor's TSC: " + errno_text());
  }

  StopReason loop() {
    kvm_run& run = vm_->run();
    const uint64_t start = rip();
    uint64_t armed =
        0;  // the deadline that the timer is set for: until it runs out, entries cost no system call but KVM_RUN
    for (bool first = true;; first = false) {
      if (!detail_.empty()) return StopReason::kError;
      if (kick_.clear()) armed = 0;
      const uint64_t now = retired();
      const bool in_flight = finish_event_ && event_in_flight(*vm_);
      finish_event_ = false;
      if (!in_flight) {
        if (control_->init) return StopReason::kInit;
        if (control_->stop) {
          control_->stop = false;
          return StopReason::kStopped;
        }
        if (now >= control_->until.value && !first) return StopReason::kLimit;
        inject(run);
      }
      run.cr8 = control_->cr8;
      // An event that is on its way in gets the time to arrive.
      const uint64_t until = control_->until.value, limit = until > now ? std::min(until - now, uint64_t{1} << 40) : 0;
      const uint64_t left = in_flight ? std::max<uint64_t>(slice_, 100'000) : first ? std::max(limit, slice_) : limit;
      if (armed != now + left) {
        armed = now + left;
        kick_.arm(static_cast<uint64_t>(static_cast<unsigned __int128>(left) * 1'000'000 / tsc_khz_));
      }
      open_ = false;
      ++entries_;
      const long result = vm_->vcpu().call(KVM_RUN);
      const int error = errno;
      if (run.cr8 != control_->cr8) exits_->cr8_write(position(), run.cr8);
      if (result < 0) {
        if (error == EINTR || error == EAGAIN) {
          ++kicks_;
          finish_event_ = true;
          // A guest that a slow host interrupts before its first instruction, again and again, would never get on.
          if (first && rip() == start) slice_ = std::min<uint64_t>(slice_ * 2, 10'000'000);
          continue;
        }
        errno = error;
        stop_with("KVM_RUN fails: " + errno_text());
        continue;
      }
      if (const StopReason why = exit(run); why != StopReason::kLimit) return why;
    }
  }

  void inject(kvm_run& run) {
    run.request_interrupt_window = 0;
    if (control_->nmi) {
      control_->nmi = false;
      exits_->place(position(), where(), true);
      if (vm_->vcpu().call(KVM_NMI) < 0) stop_with("KVM takes no NMI: " + errno_text());
    }
    if (!control_->intr) return;
    if (!run.ready_for_interrupt_injection || !run.if_flag || fresh_) {
      run.request_interrupt_window = 1;
      fresh_ = false;
      return;
    }
    const Position at = position();
    exits_->place(at, where(), false);
    const int vector = exits_->acknowledge_interrupt(at);
    if (vector >= 0) {
      const kvm_interrupt in{static_cast<uint32_t>(vector)};
      if (vm_->vcpu().call(KVM_INTERRUPT, &in) < 0) stop_with("KVM takes no interrupt: " + errno_text());
      finish_event_ = true;
    }
    run.request_interrupt_window = control_->intr;
  }

  // kLimit: goes on.
  StopReason exit(kvm_run& run) {
    last_exits_.add(run);
    switch (run.exit_reason) {
      case KVM_EXIT_IO:
        port(run);
        open_ = true;
        break;
      case KVM_EXIT_MMIO:
        mmio(run);
        open_ = true;
        break;
      case KVM_EXIT_X86_RDMSR:
      case KVM_EXIT_X86_WRMSR: msr(run); break;
      case KVM_EXIT_IRQ_WINDOW_OPEN:
      case KVM_EXIT_SET_TPR:
      case KVM_EXIT_INTR: break;
      case KVM_EXIT_HLT: s_.activity = Activity::kHalted; return halted();
      case KVM_EXIT_SHUTDOWN: s_.activity = Activity::kShutdown; return StopReason::kShutdown;
      case KVM_EXIT_INTERNAL_ERROR:
        if (run.internal.suberror == KVM_INTERNAL_ERROR_EMULATION) soft_step();
        else stop_with(fmt::format("KVM stops with internal error {}", run.internal.suberror));
        break;
      case KVM_EXIT_FAIL_ENTRY:
        stop_with(fmt::format("the processor refuses the guest's state: reason {:#x}",
                              run.fail_entry.hardware_entry_failure_reason));
        break;
      default: stop_with(fmt::format("KVM stops for reason {}, which no guest should bring about", run.exit_reason));
    }
    return StopReason::kLimit;
  }

  StopReason halted() {
    if (control_->nmi || (control_->intr && vm_->run().if_flag)) {
      s_.activity = Activity::kRunning;
      return StopReason::kLimit;
    }
    return StopReason::kHalted;
  }

  void port(kvm_run& run) {
    uint8_t* data = reinterpret_cast<uint8_t*>(&run) + run.io.data_offset;
    for (uint32_t n = 0; n < run.io.count; ++n, data += run.io.size) {
      uint64_t value = 0;
      if (run.io.direction == KVM_EXIT_IO_OUT) {
        std::memcpy(&value, data, run.io.size);
        exits_->io_write(position(), Port{run.io.port}, run.io.size, value);
      } else {
        value = exits_->io_read(position(), Port{run.io.port}, run.io.size);
        std::memcpy(data, &value, run.io.size);
      }
    }
  }

  void mmio(kvm_run& run) {
    uint64_t value = 0;
    const Gpa gpa{run.mmio.phys_addr};
    if (run.mmio.is_write) {
      if (memory_.find(gpa) != nullptr) return;  // ROM
      std::memcpy(&value, run.mmio.data, run.mmio.len);
      exits_->mmio_write(position(), gpa, run.mmio.len, value);
    } else {
      value = exits_->mmio_read(position(), gpa, run.mmio.len);
      std::memcpy(run.mmio.data, &value, run.mmio.len);
    }
  }

  void msr(kvm_run& run) {
    run.msr.error = 0;
    open_ = true;
    if (is_boards_msr(run.msr.index)) {
      uint64_t value = run.msr.data;
      const bool done = run.exit_reason == KVM_EXIT_X86_RDMSR ? exits_->msr_read(position(), run.msr.index, value)
                                                              : exits_->msr_write(position(), run.msr.index, value);
      run.msr.data = value;
      run.msr.error = !done;
      return;
    }
    // As if the instruction had not been: its exit ends, then the state before it comes back, and our own engine
    // executes it.
    VcpuState before;
    get_state(0, before);
    finish_exit();
    fail(store_state(*vm_, before, avx_));
    soft_step();
  }

  // KVM completes an exit's instruction when it is entered again: until then the state is neither before nor after it.
  // An instruction with more than one access makes more exits. kLimit: done.
  StopReason finish_exit() {
    StopReason why = StopReason::kLimit;
    while (open_ && why == StopReason::kLimit) {
      vm_->run().immediate_exit = 1;
      open_ = false;
      if (vm_->vcpu().call(KVM_RUN) >= 0) why = exit(vm_->run());
    }
    vm_->run().immediate_exit = 0;
    return why;
  }

  // One instruction by the deterministic engine.
  void soft_step() {
    VcpuState s;
    get_state(0, s);
    const uint64_t at = retired();
    s.retired = at;
    soft_->set_state(0, s);
    soft_->get_state(0, s);
    soft_->restored();  // forgets code and translations: KVM's guest may have changed both
    RunControl one = *control_;
    one.until = {at + 1};
    one.intr = one.nmi = one.init = one.stop = false;
    one.time_base_ns = control_->time_base_ns;
    const StopReason why = soft_->run(0, one, *exits_);
    soft_->get_state(0, s);
    control_->stop |= one.stop;
    s.retired = s_.retired;  // time goes by the TSC
    fresh_ = true;
    const bool tsc_moved = s.tsc_adjust != s_.tsc_adjust;
    s_ = s;
    if (why == StopReason::kUnimplemented) stop_with(soft_->detail());
    fail(store_state(*vm_, s_, avx_));
    if (tsc_moved) set_guest_tsc();
    ++soft_steps_;
  }

  std::vector<std::string> missing_;  // features
  std::unique_ptr<KvmVm> vm_;
  uint64_t tsc_khz_;
  Kick kick_;
  std::unique_ptr<Engine> soft_;
  VcpuAvx::State* avx_;  // nullptr: the CPU model has none
  GuestMemory& memory_;
  VcpuState s_;  // what KVM has no place for, and `retired` at the start of the run
  RunControl* control_ = nullptr;
  ExitHandler* exits_ = nullptr;
  uint64_t tsc_start_ = 0, offset_ = 1;
  uint64_t slice_ = 2'000;  // ticks for which the guest runs at least
  bool running_ = false, open_ = false, finish_event_ = false;
  bool fresh_ = true;  // what kvm_run says of IF and injection is of an older state
  uint64_t entries_ = 0, kicks_ = 0, soft_steps_ = 0;
  LastExits last_exits_;
  mutable std::string detail_;
};

}  // namespace

namespace {
const Result<KvmProbe>& probed() {
  static const Result<KvmProbe> probe = probe_kvm();
  return probe;
}
}  // namespace

Result<std::vector<std::string>> kvm_lacks(const CpuModel& model) {
  if (!probed()) return probed().error();
  std::vector<std::string> out = probed()->missing;
  for (const std::string& name : out)
    if (!is_optional_feature(name))
      return Error{ErrorKind::kHost, "KVM does not offer guests " + name + ", which every one needs"};
  std::erase_if(out, [&](const std::string& name) { return !has_feature(model, name); });
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::unique_ptr<Engine>> make_kvm_engine(const CpuModel& model, GuestMemory& memory,
                                                std::span<const std::string> without) {
  if (!probed()) return probed().error();
  auto vm = KvmVm::create(&memory);
  if (!vm) return vm.error();
  std::unique_ptr<KvmVm> m = vm.take();
  if (auto done = m->filter_msrs(); !done) return done.error();
  if (auto done = set_cpuid(*m, model, without); !done) return done.error();
  const long khz = m->vcpu().call(KVM_GET_TSC_KHZ);
  if (khz <= 0) return Error{ErrorKind::kHost, "KVM does not tell the frequency of the TSC"};
  return std::unique_ptr<Engine>(
      std::make_unique<KvmEngine>(std::move(m), model, memory, static_cast<uint64_t>(khz), probed()->missing));
}

}  // namespace dejavm::kvm
