// One instruction on both processors: the host's and ours, from the same state.
#pragma once

#include <string>

#include "tests/vmm/soft/fixture.h"
#include "tests/vmm/soft/sse/forms.h"
#include "tests/vmm/soft/sse/values.h"

namespace dejavm::soft {

// The guest's copy of the window: at the end of its mapped memory.
inline constexpr uint64_t kGuestWindow = TestCpu::kRamBytes - kWindowBytes;

struct Judged {
  TestCpu t;
  Native native;
  NativeState before, host, guest;  // guest: what ours did, in the same shape
  std::optional<GuestFault> fault;  // ours
  int signal = 0;                   // the host's
  std::vector<uint8_t> bytes;

  // Memory operands end `from_end` bytes before the end of the window. may_fault: catch the host's SIGSEGV too.
  void run(const Form& f, const NativeState& state, uint8_t imm, unsigned from_end, bool may_fault = false);
  // Everything that differs, or "". SIGFPE answers #XM, SIGSEGV #GP(0).
  std::string difference() const;
  std::string describe() const;  // bytes and operands

 private:
  void put_guest(const NativeState&);
  void get_guest();
};

}  // namespace dejavm::soft
