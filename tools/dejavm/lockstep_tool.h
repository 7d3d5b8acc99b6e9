// dejavm lockstep: one engine judges the other, instruction by instruction.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct LockstepOptions {
  Options machine;
  uint64_t instructions = 1'000'000;
  std::string against = "kvm-step";
};

void add_lockstep_tool(CLI::App& app, LockstepOptions&);
int run_lockstep(const LockstepOptions&);

}  // namespace dejavm::cli
