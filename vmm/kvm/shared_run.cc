#include "vmm/kvm/shared_run.h"

#include <x86intrin.h>

#include <algorithm>

namespace dejavm::kvm {

void SharedRun::start_clock(Retired from) {
  from_ = from.value;
  last_ = from_;
  tsc_start_ = __rdtsc();
  running_ = true;
}

void SharedRun::stop_clock() {
  from_ = now().value;
  running_ = false;
}

Retired SharedRun::now() const {
  if (!running_) return {from_};
  const uint64_t count = from_ + (__rdtsc() - tsc_start_);
  return {several() ? std::max(count, last_ + 1) : count};
}

uint64_t SharedRun::host_ns(uint64_t ticks) const {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(ticks) * 1'000'000 / tsc_khz_);
}

Position SharedRun::stamp(uint32_t vcpu) {
  last_ = now().value;
  return {vcpu, {last_}};
}

}  // namespace dejavm::kvm
