// A recorded run's turns as a list of switches: with it, whatever made the schedule, the guest does the same again.
#pragma once

#include "replay/explore/schedule_file.h"
#include "replay/trace/reader.h"
#include "vmm/machine/machine.h"

namespace dejavm {

// Makes the list as a machine runs. Only what round robin would not do by itself is listed.
class SwitchList {
 public:
  // Watches the machine's turns from where it stands; not beyond the machine's life. `slice`: the list's.
  SwitchList(Machine&, uint64_t slice, size_t at_most);
  // The first `at_most` of all.
  const ScheduleFile& list() const { return list_; }
  uint64_t count() const { return count_; }

 private:
  void add(const Turn&);
  void add(const ScheduledSwitch&);
  Retired begin_;      // of the present turn
  bool first_ = true;  // it is where the machine was found
  size_t at_most_;
  uint64_t count_ = 0;
  ScheduleFile list_;
};

// Replays all of it. A machine of one vCPU, or more than kMaxSwitches: ErrorKind::kHost.
Result<ScheduleFile> schedule_of(const TraceReader&);
// The same with this slice, and of more only the first so many, which need not fit into a file.
Result<ScheduleFile> first_switches_of(const TraceReader&, uint64_t slice, size_t at_most);

}  // namespace dejavm
