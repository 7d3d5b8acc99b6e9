// What this machine's KVM can do, tried with a tiny guest in 64-bit mode: a capability that is announced is not always
// there.
#pragma once

#include <string>
#include <vector>

#include "devices/core/result.h"

namespace dejavm::kvm {

struct KvmProbe {
  bool port_io = false, mmio = false;  // exits with the right data
  bool msr_exits = false;              // an MSR of the board's comes to us
  bool tsc_offset = false;             // the guest's TSC starts where it is told to
  bool xsetbv = false;                 // KVM learns of XCR0: without it a guest that uses XSAVE loses state
  bool interrupt_window = false;       // an interrupt waits for STI and comes right after its shadow
  bool single_step = false;            // one exit for each instruction, in order
  bool rep_single_step = false;        // ... and one for each iteration of a REP
  bool immediate_exit = false;
  double kernel_minstr_per_s =
      0;  // millions of ring 0 instructions per second in a loop: near a hundred or less when they are emulated
  std::vector<std::string>
      missing;  // features of dejavm-v2, which has all of dejavm-v1, that a guest will not be shown
  // Fit for kernels at the speed of hardware.
  bool whole() const { return right() && kernel_minstr_per_s > 150; }
  // ... at whatever speed.
  bool right() const { return port_io && mmio && msr_exits && tsc_offset && interrupt_window && immediate_exit; }
};

// Error: no KVM, or it refuses what every guest needs.
Result<KvmProbe> probe_kvm();

}  // namespace dejavm::kvm
