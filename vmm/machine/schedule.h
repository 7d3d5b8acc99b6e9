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
  static constexpr uint16_t kVersion = 3;
  struct State {
    uint64_t retired = 0;    // the machine's count
    uint64_t slice_end = 0;  // the count at which another's turn comes
    uint64_t slices = 0;     // that have begun so far
    uint32_t current = 0;    // whose slice it is
    uint32_t reserved = 0;
    uint64_t changes = 0;  // of priority that have taken place; of a list, the switches that are behind
    uint64_t paused = 0;   // 1: the last turn ended by PAUSE
    uint64_t missed = 0;   // of a list: switches that did not come up
    static constexpr auto fields() {
      return std::tuple{field("retired", &State::retired),
                        field("slice_end", &State::slice_end),
                        field("slices", &State::slices),
                        field("current", &State::current),
                        field("reserved", &State::reserved).range(0, 0),
                        field("changes", &State::changes).since(2, 0),
                        field("paused", &State::paused).since(2, 0).range(0, 1),
                        field("missed", &State::missed).since(3, 0)};
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

// How vCPUs take turns:
// - round robin: in their order, each for a slice.
// - random: by chance, from the seed. A turn is up to two slices long, and of every fourth some tens of instructions.
// In
//   windows of virtual time some vCPUs, drawn anew for each, run only when no other can (the chaos mode of rr), or
//   another pauses.
// - PCT: by priorities in an order from the seed: always the first that can run. At depth - 1 counts, from the seed
// too, who
//   runs then falls behind all others; a failure that needs d such changes is met with a likelihood of 1 / (n k^(d-1))
//   at least (Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of
//   Finding Bugs, ASPLOS 2010). So that loops that wait get what they wait for, another runs for a slice after a PAUSE,
//   and after one slice of 32, by chance.
// - a list: round robin, and besides that the switches listed. One whose vCPU is past its count already, or whose next
//   vCPU cannot run, does not come up: it is counted and left out.
struct NextTurn {
  uint32_t vcpu = 0;
  uint64_t instructions = 0;  // at most
};
// `can_run`: bit n is vCPU n; not 0. Changes `turns` and the count of changes as PCT's priorities change.
NextTurn next_turn(const MachineConfig&, Schedule::State&, std::vector<VcpuTurn::State>& turns, uint64_t can_run,
                   Retired at);
// Whose turn it is after the present one in the vCPUs' order.
uint32_t next_in_order(const MachineConfig&, const Schedule::State&, uint64_t can_run);
// Whether the next turn depends on the last one's having ended by PAUSE.
bool knows_of_pause(const MachineConfig&);
// Those of a machine at its begin.
void first_priorities(const MachineConfig&, std::vector<VcpuTurn::State>& turns);

}  // namespace dejavm
