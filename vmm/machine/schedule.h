// Whose turn it is in a machine of several vCPUs: one runs at a time, for a slice of instructions, which ends early
// where it halts, or pauses while another can run. Everything that decides is part of the machine's state, so a run
// goes on from any snapshot as it would have without.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "devices/core/model.h"
#include "vmm/engine.h"
#include "vmm/state/config.h"

namespace dejavm {

// Chunk "schedule", of machines with several vCPUs.
struct Schedule {
  static constexpr std::string_view kName = "schedule";
  static constexpr uint16_t kVersion = 1;
  struct State {
    uint64_t retired = 0;    // the machine's count
    uint64_t slice_end = 0;  // the count at which another's turn comes
    uint64_t slices = 0;     // that have begun so far
    uint32_t current = 0;    // whose slice it is
    uint32_t reserved = 0;
    static constexpr auto fields() {
      return std::tuple{field("retired", &State::retired), field("slice_end", &State::slice_end),
                        field("slices", &State::slices), field("current", &State::current),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };
  static const char* invalid(const State&) { return nullptr; }
};

// Chunk "vcpu-turn", one for each vCPU.
struct VcpuTurn {
  static constexpr std::string_view kName = "vcpu-turn";
  static constexpr uint16_t kVersion = 1;
  struct State {
    uint64_t executed = 0;  // instructions of this vCPU's own
    uint64_t priority = 0;  // for schedules that have priorities
    static constexpr auto fields() {
      return std::tuple{field("executed", &State::executed), field("priority", &State::priority)};
    }
  };
};

}  // namespace dejavm
