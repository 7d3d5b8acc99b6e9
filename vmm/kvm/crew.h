// The threads of a machine's vCPUs, of which it has several, and the run in which all of them take part.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "vmm/kvm/guest_cpu.h"
#include "vmm/kvm/shared_run.h"

namespace dejavm::kvm {

class Crew final : public SharedRun {
 public:
  Crew(uint32_t vcpus, uint64_t tsc_khz) : SharedRun(vcpus, tsc_khz), wake_(vcpus), ended_(vcpus) {}
  ~Crew() override;
  // As Engine::run_together.
  StopReason run(std::span<const std::unique_ptr<GuestCpu>> cpus, Engine::Together&);

  void exit_done(Position) override;
  void stop_all() override;

 private:
  void hire();
  void work(uint32_t vcpu);
  StopReason run_one(uint32_t vcpu, std::unique_lock<std::mutex>& lock);
  void await_all(std::unique_lock<std::mutex>& lock);
  void time_passes();
  void switch_off();
  void tell_of_interrupts(uint32_t but_vcpu);
  StopReason verdict(uint32_t& ended_by) const;

  std::span<const std::unique_ptr<GuestCpu>> cpus_;
  Supervisor* supervisor_ = nullptr;
  std::vector<std::thread> threads_;
  std::condition_variable begin_;              // of a round
  std::condition_variable changed_;            // for who waits for its end
  std::vector<std::condition_variable> wake_;  // of a vCPU that is halted
  std::vector<StopReason> ended_;
  Retired end_;    // of the run
  Retired event_;  // the devices' next
  uint64_t round_ = 0;
  uint32_t running_ = 0;  // threads that take part in the round
  uint32_t awake_ = 0;    // ... whose vCPU is not halted
  bool quit_ = false;
};

}  // namespace dejavm::kvm
