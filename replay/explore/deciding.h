// The report of a minimised failure: two runs that differ by one switch; where each vCPU stood, by name, and what
// memory both of them touch around it.
#pragma once

#include <string>
#include <vector>

#include "replay/explore/shared_memory.h"
#include "replay/guest/backtrace.h"
#include "replay/guest/symbols.h"

namespace dejavm {

struct StandingVcpu {
  uint32_t vcpu = 0;
  std::string instruction;  // describe_instruction()
  std::vector<std::string> stack;
  bool guessed = false;  // Backtrace::guessed
};

struct DecidingSwitch {
  Retired at;  // the machine's count
  ScheduledSwitch which;
  StandingVcpu from;  // goes on in the good run
  StandingVcpu to;    // goes on in the bad one
  std::vector<SharedPlace> shared;
  Symbols symbols;  // that are known there
};

// `trace`: of the bad run, by a list of switches, the last of which decides. `symbols`: names, besides those of a Linux
// guest's kernel and its modules, which are found in its memory; may be empty.
Result<DecidingSwitch> deciding_switch(const TraceReader& trace, const Symbols& symbols);

}  // namespace dejavm
