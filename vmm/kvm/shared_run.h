// What the vCPUs of a machine share while they run. Of several each has a thread; `board` is held by whoever is not in
// the guest, and guards all of it.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>

#include "vmm/engine.h"

namespace dejavm::kvm {

class SharedRun {
 public:
  SharedRun(uint32_t vcpus, uint64_t tsc_khz) : vcpus_(vcpus), tsc_khz_(tsc_khz) {}
  bool several() const { return vcpus_ > 1; }

  virtual ~SharedRun() = default;
  // Of several vCPUs, with the board held: one of them has told the board something.
  virtual void exit_done(Position) {}
  // ... they are all to leave the guest.
  virtual void stop_all() {}

  std::mutex board;
  ExitHandler* exits = nullptr;
  std::span<RunControl> controls;
  bool stop = false;  // of several: all are to leave the guest and stand still

  // The machine's count: from `from` on it follows the host's TSC, until stop_clock().
  void start_clock(Retired from);
  void stop_clock();
  Retired now() const;
  uint64_t started_at() const { return tsc_start_; }  // the host's TSC then
  uint64_t started_from() const { return from_; }
  uint64_t host_ns(uint64_t ticks) const;  // how long the host takes for so many
  // For what a vCPU does now. Of several: later than all before it, so that their order is the log's.
  Position stamp(uint32_t vcpu);

 private:
  uint32_t vcpus_;
  uint64_t tsc_khz_;  // the host's
  uint64_t from_ = 0, tsc_start_ = 0;
  uint64_t last_ = 0;  // of several: the latest stamp
  bool running_ = false;
};

}  // namespace dejavm::kvm
