// What two vCPUs do to the same memory around a switch from one to the other: who read, who wrote, when.
#pragma once

#include <cstdint>
#include <vector>

#include "replay/timeline/timeline.h"

namespace dejavm {

struct SharedAccess {
  Retired at;  // count before the instruction
  uint32_t vcpu = 0;
  bool write = false;
  uint64_t rip = 0;     // linear, of the instruction
  uint64_t linear = 0;  // of the first byte accessed
  unsigned len_bytes = 0;
};

// A piece of memory: what was done to it last before the switch by who was switched from, first after it by who was
// switched to, and then by the first one again if it came back within the window. One of them is a write.
struct SharedPlace {
  uint64_t gpa = 0;
  std::vector<SharedAccess> accesses;  // in their order
};

// Of the timeline's machine, by accesses up to `window` instructions before and after. Those closest to the switch
// first.
Result<std::vector<SharedPlace>> shared_around(Timeline&, Retired the_switch, uint32_t from_vcpu, uint32_t to_vcpu,
                                               uint64_t window, size_t at_most);

}  // namespace dejavm
