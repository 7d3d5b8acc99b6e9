// The turns of a machine's vCPUs as text, to be read and changed by people and programs:
//
//   slice 50000       # instructions of a turn, where nothing else is said
//   0 1200 1          # once vCPU 0 has executed 1200 instructions of its own, it is vCPU 1's turn
//   1 77 1            # vCPU 1 goes on, for a slice from here
//
// A switch a line, in the order in which they come up; # begins a comment. Between them turns are round robin.
#pragma once

#include <string>
#include <string_view>

#include "devices/core/result.h"
#include "vmm/state/config.h"

namespace dejavm {

struct ScheduleFile {
  uint64_t slice = kDefaultSlice;
  std::vector<ScheduledSwitch> switches;
};

// `name`: for errors, which name the line too (ErrorKind::kBadInput).
Result<ScheduleFile> parse_schedule(std::string_view name, std::string_view text);
Result<ScheduleFile> read_schedule(const std::string& path);
std::string to_text(const ScheduleFile&);

}  // namespace dejavm
