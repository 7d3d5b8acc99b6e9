#include "vmm/kvm/kick.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "devices/core/result.h"

namespace dejavm::kvm {

thread_local kvm_run* volatile Kick::target_ = nullptr;
thread_local volatile bool Kick::fired_ = false;

void Kick::arrived(int) {
  if (target_ == nullptr) return;
  target_->immediate_exit = 1;
  fired_ = true;
}

Kick::Kick(kvm_run& run) : run_(&run) {
  struct sigaction action {};
  action.sa_handler = arrived;
  CHECK(sigaction(kSignal, &action, nullptr) == 0);
}

Kick::~Kick() {
  if (armed_for_ != 0) timer_delete(timer_);
}

bool Kick::clear() {
  run_->immediate_exit = 0;
  const bool fired = fired_;
  fired_ = false;
  return fired;
}

void Kick::arm(uint64_t ns) {
  const auto thread = static_cast<pid_t>(syscall(SYS_gettid));
  if (armed_for_ != thread) {
    if (armed_for_ != 0) timer_delete(timer_);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kSignal;
    event._sigev_un._tid = thread;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0);
    armed_for_ = thread;
  }
  target_ = run_;
  set(std::max<uint64_t>(ns, 1));
}

void Kick::disarm() {
  if (target_ == nullptr) return;
  set(0);
  target_ = nullptr;
}

void Kick::set(uint64_t ns) {
  itimerspec at{};
  at.it_value = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  CHECK(timer_settime(timer_, 0, &at, nullptr) == 0);
}

}  // namespace dejavm::kvm
