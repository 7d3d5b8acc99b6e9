// One vCPU of the hardware engine: its entries and exits, injection, and its share of the state that KVM has no place
// for.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/engine.h"
#include "vmm/kvm/kick.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/kvm/last_exits.h"
#include "vmm/kvm/shared_run.h"
#include "vmm/state/memory.h"

namespace dejavm::kvm {

// What the vCPUs of one engine have in common.
struct Common {
  SharedRun& shared;
  GuestMemory& memory;
  Engine& soft;                             // the deterministic engine, for what KVM cannot do
  const std::vector<std::string>& missing;  // features that this KVM lacks
};

class GuestCpu {
 public:
  GuestCpu(KvmVcpu& kvm, uint32_t number, const Common& common);

  void set_state(const VcpuState&);
  void get_state(VcpuState&) const;
  Standing standing() const;
  // Whether it does not go on by itself, and whether what has come wakes it.
  bool sleeps(const RunControl&) const;
  bool can_wake(const RunControl&) const;
  uint64_t least_ticks() const { return slice_; }  // of the guest's, that it needs to get on
  VcpuAvx::State* avx() const { return avx_; }
  // Why it cannot go on; empty: it can.
  const std::string& problem() const { return problem_; }
  std::string last_exits() const { return last_exits_.text(); }

  // The clock has been started: the guest's TSC follows it.
  void enter_run(RunControl&);
  // The clock has been stopped.
  void leave_run();
  // Until a StopReason holds, with SharedRun::board held by `lock`, which it lets go while in the guest.
  StopReason run(std::unique_lock<std::mutex>& lock);
  // Between two runs, and of several vCPUs when all stand still: what the last one left to the deterministic engine.
  void do_what_is_left();
  // What it may not know yet has come for it, or SharedRun::stop. From any thread, with the board held.
  void call_back(pthread_t thread);
  bool knows_of_intr() const { return knows_of_intr_; }

  struct Counts {
    uint64_t entries = 0, kicks = 0, soft_steps = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  kvm_regs registers() const;
  Registers where() const;
  uint64_t rip() const { return registers().rip; }
  void fail(const Result<void>& done) const;
  void stop_with(std::string why) const;
  void set_guest_tsc();

  StopReason loop(std::unique_lock<std::mutex>& lock);
  std::optional<StopReason> due(bool first) const;
  void arm(bool first, bool in_flight);
  long enter(std::unique_lock<std::mutex>& lock);
  void inject();
  StopReason exit();
  StopReason halted();
  void port();
  void mmio();
  void msr();
  StopReason finish_exit();
  void soft_step();
  void leave_to_soft();

  KvmVcpu& kvm_;
  kvm_run& run_;
  uint32_t number_;
  Common common_;
  SharedRun& shared_;
  Kick kick_;
  VcpuAvx::State* avx_;  // where the deterministic engine has it; nullptr: the CPU model has none
  VcpuState state_;      // what KVM has no place for
  RunControl* control_ = nullptr;
  uint64_t offset_ = 1;     // of the guest's TSC
  uint64_t slice_ = 2'000;  // ticks for which the guest runs at least
  uint64_t armed_ = 0;      // the deadline that the timer is set for, 0: none
  bool open_ = false, finish_event_ = false;
  bool fresh_ = true;      // what kvm_run says of IF and injection is of an older state
  bool nmi_came_ = false;  // with a state, and wakes it
  bool left_ = false;      // an instruction, to the deterministic engine
  bool in_guest_ = false;
  bool knows_of_intr_ = false;
  Counts counts_;
  LastExits last_exits_;
  mutable std::string problem_;
};

}  // namespace dejavm::kvm
