// Two engines under two equal machines, one instruction at a time from one state: the first difference in registers,
// flags or memory. One engine judges the other.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vmm/machine/machine.h"

namespace dejavm {

struct LockstepDifference {
  uint64_t at = 0;   // instructions complete before the one that differs
  uint64_t rip = 0;  // of it
  std::string code;  // its bytes and text
  std::string what;  // one line for each register or byte: name, first engine's value, second's
};

struct LockstepResult {
  uint64_t instructions = 0;
  std::optional<LockstepDifference> difference;  // none: the same all the way
  std::map<std::string, uint64_t> explained;  // differences that the manuals allow, by reason; the second engine then
                                              // went on from the first's state
  RunEnd end = RunEnd::kUntil;                // kUntil: the limit was reached
};

// Both machines are freshly booted, or restored from the same snapshot. Memory is compared every `memory_every`
// instructions and at the end.
class Lockstep {
 public:
  Lockstep(Machine& first, Machine& second, uint64_t memory_every)
      : first_(first), second_(second), memory_every_(memory_every) {}
  LockstepResult run(uint64_t instructions);

 private:
  bool compare_registers(const VcpuState& before, LockstepResult&);
  bool compare_memory(LockstepResult&);
  Machine& first_;
  Machine& second_;
  uint64_t memory_every_;
};

}  // namespace dejavm
