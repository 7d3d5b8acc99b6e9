// A timer whose signal makes KVM_RUN return, now or, by immediate_exit, as soon as it is entered.
#pragma once

#include <linux/kvm.h>
#include <sys/types.h>
#include <time.h>

#include <cstdint>

namespace dejavm::kvm {

class Kick {
 public:
  static constexpr int kSignal = 34;  // SIGRTMIN, by which threads in KVM_RUN are called back, too
  explicit Kick(kvm_run& run);
  Kick(const Kick&) = delete;
  ~Kick();
  // Between two entries. True: the timer has run out since the last one.
  bool clear();
  // For the calling thread, until disarm().
  void arm(uint64_t ns);
  void disarm();

 private:
  void set(uint64_t ns);
  static void arrived(int signal);
  static thread_local kvm_run* volatile target_;
  static thread_local volatile bool fired_;
  kvm_run* run_;
  timer_t timer_{};
  pid_t armed_for_ = 0;
};

}  // namespace dejavm::kvm
