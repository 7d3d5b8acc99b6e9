#include "vmm/kvm/crew.h"

#include <signal.h>

#include <algorithm>
#include <chrono>

namespace dejavm::kvm {
namespace {

// What exits meet once the machine is off: the guest is not to be seen any more.
class Nowhere final : public ExitHandler {
 public:
  uint64_t io_read(Position, Port, unsigned) override { return 0; }
  void io_write(Position, Port, unsigned, uint64_t) override {}
  uint64_t mmio_read(Position, Gpa, unsigned) override { return 0; }
  void mmio_write(Position, Gpa, unsigned, uint64_t) override {}
  bool msr_read(Position, uint32_t, uint64_t& value) override {
    value = 0;
    return true;
  }
  bool msr_write(Position, uint32_t, uint64_t) override { return true; }
  uint64_t cr8_read(Position) override { return 0; }
  void cr8_write(Position, uint64_t) override {}
  CpuidResult cpuid(Position, uint32_t, uint32_t, uint64_t, uint64_t) override { return {}; }
  int acknowledge_interrupt(Position) override { return -1; }
};

}  // namespace

Crew::~Crew() {
  {
    const std::lock_guard lock(board);
    quit_ = true;
  }
  begin_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// Signals to the process are for the threads that it had before.
void Crew::hire() {
  sigset_t all_but_ours, before;
  sigfillset(&all_but_ours);
  sigdelset(&all_but_ours, Kick::kSignal);
  CHECK(pthread_sigmask(SIG_SETMASK, &all_but_ours, &before) == 0);
  for (uint32_t n = 0; n < cpus_.size(); ++n) threads_.emplace_back([this, n] { work(n); });
  CHECK(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
}

StopReason Crew::run(std::span<const std::unique_ptr<GuestCpu>> cpus, Engine::Together& together) {
  std::unique_lock lock(board);
  cpus_ = cpus;
  supervisor_ = &together.supervisor;
  exits = &together.exits;
  controls = together.controls;
  end_ = together.until;
  event_ = controls[0].until;
  stop = false;
  start_clock(controls[0].from);
  for (uint32_t n = 0; n < cpus.size(); ++n) cpus[n]->enter_run(controls[n]);
  for (const auto& cpu : cpus) cpu->do_what_is_left();
  if (threads_.empty()) hire();
  running_ = awake_ = static_cast<uint32_t>(cpus.size());
  ++round_;
  begin_.notify_all();
  await_all(lock);
  for (const auto& cpu : cpus) cpu->do_what_is_left();
  stop_clock();
  for (const auto& cpu : cpus) cpu->leave_run();
  return verdict(together.ended_by);
}

void Crew::await_all(std::unique_lock<std::mutex>& lock) {
  uint64_t least = 0;
  for (const auto& cpu : cpus_) least = std::max(least, cpu->least_ticks());
  const Retired end = std::max(end_, now() + least);
  while (running_ > 0) {
    if (!stop && now() >= end) stop_all();
    if (!stop && now() >= event_) time_passes();
    if (stop) {
      changed_.wait(lock);
      continue;
    }
    const Retired next = std::min(end, event_), here = now();
    const uint64_t left = next > here ? std::min(next.value - here.value, uint64_t{1} << 40) : 0;
    changed_.wait_for(lock, std::chrono::nanoseconds(host_ns(left) + 1));
  }
}

StopReason Crew::verdict(uint32_t& ended_by) const {
  StopReason why = StopReason::kHalted;
  for (uint32_t n = 0; n < cpus_.size(); ++n) {
    const StopReason its = cpus_[n]->problem().empty() ? ended_[n] : StopReason::kError;
    if (its == StopReason::kHalted || why == StopReason::kError) continue;
    if (why == StopReason::kShutdown && its != StopReason::kError) continue;
    why = its;
    ended_by = n;
  }
  return why;
}

// --- of one vCPU ---

void Crew::work(uint32_t vcpu) {
  std::unique_lock lock(board);
  for (uint64_t round = 0;;) {
    begin_.wait(lock, [&] { return quit_ || round_ != round; });
    if (quit_) return;
    round = round_;
    ended_[vcpu] = run_one(vcpu, lock);
    --running_;
    changed_.notify_one();
  }
}

StopReason Crew::run_one(uint32_t vcpu, std::unique_lock<std::mutex>& lock) {
  GuestCpu& cpu = *cpus_[vcpu];
  for (;;) {
    const StopReason why = cpu.run(lock);
    if (why != StopReason::kHalted) {
      if (why != StopReason::kStopped) stop_all();
      return why;
    }
    --awake_;
    if (awake_ == 0) stop_all();
    wake_[vcpu].wait(lock, [&] { return stop || cpu.can_wake(controls[vcpu]); });
    if (stop) return StopReason::kHalted;
    ++awake_;
  }
}

// --- what one does to the others ---

void Crew::exit_done(Position at) {
  if (!several()) return;  // who runs alone looks for itself
  if (!supervisor_->exit_done(at)) return switch_off();
  tell_of_interrupts(at.vcpu);
  if (controls[at.vcpu].until >= event_) return;
  event_ = controls[at.vcpu].until;
  changed_.notify_one();
}

void Crew::time_passes() {
  if (!supervisor_->time_passes(stamp(0))) return switch_off();
  event_ = controls[0].until;
  tell_of_interrupts(static_cast<uint32_t>(controls.size()));
}

void Crew::switch_off() {
  static Nowhere nowhere;
  exits = &nowhere;
  stop_all();
}

// What has come for the vCPUs, but for one that looks for itself.
void Crew::tell_of_interrupts(uint32_t but_vcpu) {
  for (const RunControl& control : controls)
    if (control.stop) return stop_all();
  for (uint32_t n = 0; n < cpus_.size(); ++n) {
    if (n == but_vcpu || !controls[n].intr) continue;
    if (!threads_.empty() && !cpus_[n]->knows_of_intr()) cpus_[n]->call_back(threads_[n].native_handle());
    wake_[n].notify_one();
  }
}

void Crew::stop_all() {
  stop = true;
  for (uint32_t n = 0; n < threads_.size(); ++n) {
    cpus_[n]->call_back(threads_[n].native_handle());
    wake_[n].notify_one();
  }
  changed_.notify_one();
}

}  // namespace dejavm::kvm
