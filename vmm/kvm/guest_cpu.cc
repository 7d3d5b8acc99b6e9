#include "vmm/kvm/guest_cpu.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "vmm/kvm/kvm_state.h"

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

// What of the state uses a feature that this KVM lacks; empty: nothing.
std::string beyond_kvm(const VcpuState& s, const std::vector<std::string>& missing) {
  auto lacks = [&](std::string_view name) { return std::find(missing.begin(), missing.end(), name) != missing.end(); };
  if (s.xcr0 & 4 && lacks("avx"))
    return "the guest uses avx (XCR0 bit 2), which this machine's KVM does not have: go on with --engine deterministic";
  for (const auto& [name, bit] : kCr4Features)
    if (s.cr4 >> bit & 1 && lacks(name))
      return fmt::format(
          "the guest uses {} (CR4 bit {}), which this machine's KVM does not have: go on with --engine deterministic",
          name, bit);
  return {};
}

}  // namespace

GuestCpu::GuestCpu(KvmVcpu& kvm, uint32_t number, const Common& common)
    : kvm_(kvm),
      run_(kvm.run()),
      number_(number),
      common_(common),
      shared_(common.shared),
      kick_(kvm.run()),
      avx_(avx_of(common.soft, number)) {}

// --- state ---

void GuestCpu::set_state(const VcpuState& s) {
  state_ = s;
  nmi_came_ = s.nmi_pending && !s.nmi_blocked;
  fresh_ = true;
  if (std::string why = beyond_kvm(s, common_.missing); !why.empty()) return stop_with(std::move(why));
  fail(store_state(kvm_, state_, avx_));
}

void GuestCpu::get_state(VcpuState& s) const {
  s = state_;
  if (problem_.empty()) fail(load_state(kvm_, s, avx_));  // KVM may not have taken what it was given
}

Standing GuestCpu::standing() const {
  if (!problem_.empty()) return Engine::standing_of(state_);
  kvm_vcpu_events events{};
  CHECK(kvm_.call(KVM_GET_VCPU_EVENTS, &events) >= 0);
  return {{state_.retired},
          state_.activity,
          (registers().rflags & kFlagIf) != 0,
          state_.pending_debug || (events.nmi.pending && !events.nmi.masked)};
}

kvm_regs GuestCpu::registers() const {
  kvm_regs regs{};
  CHECK(kvm_.call(KVM_GET_REGS, &regs) >= 0);
  return regs;
}

Registers GuestCpu::where() const {
  const kvm_regs r = registers();
  return {
      {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15},
      r.rip};
}

void GuestCpu::fail(const Result<void>& done) const {
  if (!done) stop_with(done.error().message);
}

void GuestCpu::stop_with(std::string why) const {
  if (problem_.empty()) problem_ = std::move(why);
}

// --- the run ---

void GuestCpu::enter_run(RunControl& control) {
  control_ = &control;
  control.from = kForever;
  armed_ = 0;
  set_guest_tsc();
}

void GuestCpu::leave_run() { state_.retired = shared_.now().value; }

// The guest's TSC is where VcpuState has it.
void GuestCpu::set_guest_tsc() {
  uint64_t offset = shared_.started_from() + control_->time_base_ns + state_.tsc_adjust - shared_.started_at();
  if (offset == offset_) return;
  offset_ = offset;
  const kvm_device_attr attribute{0, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, reinterpret_cast<uint64_t>(&offset)};
  if (kvm_.call(KVM_SET_DEVICE_ATTR, &attribute) < 0)
    stop_with("KVM does not set a virtual processor's TSC: " + errno_text());
}

bool GuestCpu::sleeps(const RunControl& control) const {
  return (state_.activity == Activity::kHalted || state_.activity == Activity::kWaitForSipi) && !can_wake(control);
}

bool GuestCpu::can_wake(const RunControl& control) const {
  if (state_.activity == Activity::kWaitForSipi) return false;
  return control.nmi || (control.intr && (registers().rflags & kFlagIf)) || nmi_came_;
}

StopReason GuestCpu::run(std::unique_lock<std::mutex>& lock) {
  if (!problem_.empty()) return StopReason::kError;
  switch (state_.activity) {
    case Activity::kRunning: break;
    case Activity::kShutdown: return StopReason::kShutdown;
    case Activity::kHalted:
    case Activity::kWaitForSipi:
      if (control_->init) return StopReason::kInit;
      if (!can_wake(*control_)) return StopReason::kHalted;
      state_.activity = Activity::kRunning;
  }
  nmi_came_ = false;  // KVM has it
  if (!shared_.several()) do_what_is_left();
  StopReason why = loop(lock);
  kick_.disarm();
  if (const StopReason last = finish_exit(); last != StopReason::kLimit) why = last;
  return why;
}

// What ends the run before the guest is entered.
std::optional<StopReason> GuestCpu::due(bool first) const {
  if (shared_.several()) return shared_.stop ? std::optional(StopReason::kStopped) : std::nullopt;
  if (control_->init) return StopReason::kInit;
  if (control_->stop) {
    control_->stop = false;
    return StopReason::kStopped;
  }
  if (shared_.now() >= control_->until && !first) return StopReason::kLimit;
  return std::nullopt;
}

StopReason GuestCpu::loop(std::unique_lock<std::mutex>& lock) {
  const uint64_t start = rip();
  for (bool first = true;; first = false) {
    if (!problem_.empty()) return StopReason::kError;
    if (kick_.clear()) armed_ = 0;
    const bool in_flight = finish_event_ && event_in_flight(kvm_);
    finish_event_ = false;
    if (!in_flight) {
      if (const auto why = due(first)) return *why;
      inject();
    }
    run_.cr8 = control_->cr8;
    if (!shared_.several()) arm(first, in_flight);
    open_ = false;
    ++counts_.entries;
    const long result = enter(lock);
    const int error = errno;
    if (run_.cr8 != control_->cr8) {
      const Position at = shared_.stamp(number_);
      shared_.exits->cr8_write(at, run_.cr8);
      shared_.exit_done(at);
    }
    if (result >= 0) {
      if (const StopReason why = exit(); why != StopReason::kLimit) return why;
      continue;
    }
    if (error != EINTR && error != EAGAIN) {
      errno = error;
      stop_with("KVM_RUN fails: " + errno_text());
      continue;
    }
    ++counts_.kicks;
    finish_event_ = true;
    // A guest that a slow host interrupts before its first instruction, again and again, would never get on.
    if (first && rip() == start) slice_ = std::min<uint64_t>(slice_ * 2, 10'000'000);
  }
}

// Until the timer runs out, entries cost no system call but KVM_RUN.
void GuestCpu::arm(bool first, bool in_flight) {
  const uint64_t now = shared_.now().value, until = control_->until.value;
  const uint64_t limit = until > now ? std::min(until - now, uint64_t{1} << 40) : 0;
  // An event that is on its way in gets the time to arrive.
  const uint64_t left = in_flight ? std::max<uint64_t>(slice_, 100'000) : first ? std::max(limit, slice_) : limit;
  if (armed_ == now + left) return;
  armed_ = now + left;
  kick_.arm(shared_.host_ns(left));
}

long GuestCpu::enter(std::unique_lock<std::mutex>& lock) {
  if (!shared_.several()) return kvm_.call(KVM_RUN);
  knows_of_intr_ = control_->intr;
  in_guest_ = true;
  lock.unlock();
  const long result = kvm_.call(KVM_RUN);
  const int error = errno;
  lock.lock();
  in_guest_ = false;
  errno = error;
  return result;
}

void GuestCpu::call_back(pthread_t thread) {
  if (!in_guest_) return;
  run_.immediate_exit = 1;
  CHECK(pthread_kill(thread, Kick::kSignal) == 0);
}

void GuestCpu::inject() {
  run_.request_interrupt_window = 0;
  if (control_->nmi) {
    control_->nmi = false;
    shared_.exits->place(shared_.stamp(number_), where(), true);
    if (kvm_.call(KVM_NMI) < 0) stop_with("KVM takes no NMI: " + errno_text());
  }
  if (!control_->intr) return;
  if (!run_.ready_for_interrupt_injection || !run_.if_flag || fresh_) {
    run_.request_interrupt_window = 1;
    fresh_ = false;
    return;
  }
  const Position at = shared_.stamp(number_);
  shared_.exits->place(at, where(), false);
  const int vector = shared_.exits->acknowledge_interrupt(at);
  if (vector >= 0) {
    const kvm_interrupt in{static_cast<uint32_t>(vector)};
    if (kvm_.call(KVM_INTERRUPT, &in) < 0) stop_with("KVM takes no interrupt: " + errno_text());
    finish_event_ = true;
  }
  run_.request_interrupt_window = control_->intr;
  shared_.exit_done(at);
}

// --- exits ---

// kLimit: goes on.
StopReason GuestCpu::exit() {
  last_exits_.add(run_);
  switch (run_.exit_reason) {
    case KVM_EXIT_IO: port(); break;
    case KVM_EXIT_MMIO: mmio(); break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR: msr(); break;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_INTR: break;
    case KVM_EXIT_HLT: state_.activity = Activity::kHalted; return halted();
    case KVM_EXIT_SHUTDOWN: state_.activity = Activity::kShutdown; return StopReason::kShutdown;
    case KVM_EXIT_INTERNAL_ERROR:
      if (run_.internal.suberror == KVM_INTERNAL_ERROR_EMULATION) leave_to_soft();
      else stop_with(fmt::format("KVM stops with internal error {}", run_.internal.suberror));
      break;
    case KVM_EXIT_FAIL_ENTRY:
      stop_with(fmt::format("the processor refuses the guest's state: reason {:#x}",
                            run_.fail_entry.hardware_entry_failure_reason));
      break;
    default: stop_with(fmt::format("KVM stops for reason {}, which no guest should bring about", run_.exit_reason));
  }
  return StopReason::kLimit;
}

StopReason GuestCpu::halted() {
  if (control_->nmi || (control_->intr && run_.if_flag)) {
    state_.activity = Activity::kRunning;
    return StopReason::kLimit;
  }
  return StopReason::kHalted;
}

void GuestCpu::port() {
  open_ = true;
  uint8_t* data = reinterpret_cast<uint8_t*>(&run_) + run_.io.data_offset;
  for (uint32_t n = 0; n < run_.io.count; ++n, data += run_.io.size) {
    const Position at = shared_.stamp(number_);
    uint64_t value = 0;
    if (run_.io.direction == KVM_EXIT_IO_OUT) {
      std::memcpy(&value, data, run_.io.size);
      shared_.exits->io_write(at, Port{run_.io.port}, run_.io.size, value);
    } else {
      value = shared_.exits->io_read(at, Port{run_.io.port}, run_.io.size);
      std::memcpy(data, &value, run_.io.size);
    }
    shared_.exit_done(at);
  }
}

void GuestCpu::mmio() {
  open_ = true;
  uint64_t value = 0;
  const Gpa gpa{run_.mmio.phys_addr};
  if (run_.mmio.is_write && common_.memory.find(gpa) != nullptr) return;  // ROM
  const Position at = shared_.stamp(number_);
  if (run_.mmio.is_write) {
    std::memcpy(&value, run_.mmio.data, run_.mmio.len);
    shared_.exits->mmio_write(at, gpa, run_.mmio.len, value);
  } else {
    value = shared_.exits->mmio_read(at, gpa, run_.mmio.len);
    std::memcpy(run_.mmio.data, &value, run_.mmio.len);
  }
  shared_.exit_done(at);
}

void GuestCpu::msr() {
  run_.msr.error = 0;
  open_ = true;
  if (is_boards_msr(run_.msr.index)) {
    const Position at = shared_.stamp(number_);
    uint64_t value = run_.msr.data;
    const bool done = run_.exit_reason == KVM_EXIT_X86_RDMSR ? shared_.exits->msr_read(at, run_.msr.index, value)
                                                             : shared_.exits->msr_write(at, run_.msr.index, value);
    run_.msr.data = value;
    run_.msr.error = !done;
    shared_.exit_done(at);
    return;
  }
  // As if the instruction had not been: its exit ends, then the state before it comes back, and our own engine
  // executes it.
  VcpuState before;
  get_state(before);
  finish_exit();
  fail(store_state(kvm_, before, avx_));
  leave_to_soft();
}

// KVM completes an exit's instruction when it is entered again: until then the state is neither before nor after it.
// An instruction with more than one access makes more exits. kLimit: done.
StopReason GuestCpu::finish_exit() {
  StopReason why = StopReason::kLimit;
  while (open_ && why == StopReason::kLimit) {
    run_.immediate_exit = 1;
    open_ = false;
    if (kvm_.call(KVM_RUN) >= 0) why = exit();
  }
  run_.immediate_exit = 0;
  return why;
}

// --- what the deterministic engine does ---

// Of several vCPUs the others stand still then: what it reads and writes in one instruction is one access to them.
void GuestCpu::leave_to_soft() {
  if (!shared_.several()) return soft_step();
  left_ = true;
  shared_.stop_all();
}

void GuestCpu::do_what_is_left() {
  if (left_ || state_.pending_debug != 0) soft_step();
  left_ = false;
}

// One instruction.
void GuestCpu::soft_step() {
  Engine& soft = common_.soft;
  VcpuState s;
  get_state(s);
  const Position at = shared_.stamp(number_);
  s.retired = at.retired.value;
  soft.set_state(number_, s);
  soft.get_state(number_, s);
  soft.restored();  // forgets code and translations: KVM's guest may have changed both
  RunControl one = *control_;
  one.until = at.retired + 1;
  one.intr = one.nmi = one.init = one.stop = false;
  const StopReason why = soft.run(number_, one, *shared_.exits);
  soft.get_state(number_, s);
  control_->stop |= one.stop;
  s.retired = state_.retired;  // time goes by the TSC
  fresh_ = true;
  const bool tsc_moved = s.tsc_adjust != state_.tsc_adjust;
  state_ = s;
  if (why == StopReason::kUnimplemented) stop_with(soft.detail());
  fail(store_state(kvm_, state_, avx_));
  if (tsc_moved) set_guest_tsc();
  ++counts_.soft_steps;
  shared_.exit_done(at);
}

}  // namespace dejavm::kvm
