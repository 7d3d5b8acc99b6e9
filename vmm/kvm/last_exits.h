#pragma once

#include <linux/kvm.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <fmt/format.h>

namespace dejavm::kvm {

// For the message of a run that KVM ends.
class LastExits {
 public:
  void add(const kvm_run& run) {
    uint64_t where = run.exit_reason;
    if (run.exit_reason == KVM_EXIT_IO) where = run.io.port;
    else if (run.exit_reason == KVM_EXIT_MMIO) where = run.mmio.phys_addr;
    else if (run.exit_reason == KVM_EXIT_X86_RDMSR || run.exit_reason == KVM_EXIT_X86_WRMSR) where = run.msr.index;
    else if (run.exit_reason == KVM_EXIT_INTERNAL_ERROR) where = run.internal.suberror;
    exits_[seen_++ % kKept] = {run.exit_reason, where};
  }
  std::string text() const {
    std::string out;
    for (uint64_t n = std::min(seen_, kKept); n > 0; --n) {
      const Exit& e = exits_[(seen_ - n) % kKept];
      out += fmt::format("{} {} {:#x}", out.empty() ? "; last exits:" : ",", name(e.reason), e.where);
    }
    return out;
  }

 private:
  struct Exit {
    uint32_t reason;
    uint64_t where;  // port, address, MSR index, sub-error
  };
  static const char* name(uint32_t reason) {
    switch (reason) {
      case KVM_EXIT_IO: return "port";
      case KVM_EXIT_MMIO: return "memory";
      case KVM_EXIT_X86_RDMSR: return "rdmsr";
      case KVM_EXIT_X86_WRMSR: return "wrmsr";
      case KVM_EXIT_HLT: return "hlt";
      case KVM_EXIT_INTERNAL_ERROR: return "internal error";
      case KVM_EXIT_FAIL_ENTRY: return "failed entry";
      case KVM_EXIT_SHUTDOWN: return "shutdown";
      default: return "other";
    }
  }
  static constexpr uint64_t kKept = 8;
  std::array<Exit, kKept> exits_{};
  uint64_t seen_ = 0;
};

}  // namespace dejavm::kvm
