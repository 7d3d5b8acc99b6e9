#include "replay/explore/schedule_of.h"

#include <fmt/format.h>

#include "replay/replay/replayer.h"

namespace dejavm {

SwitchList::SwitchList(Machine& machine, uint64_t slice, size_t at_most)
    : begin_(machine.position().retired), at_most_(at_most) {
  list_.slice = slice;
  machine.watch_turns([this](const Turn& turn) { add(turn); });
}

void SwitchList::add(const ScheduledSwitch& one) {
  if (++count_ <= at_most_) list_.switches.push_back(one);
}

void SwitchList::add(const Turn& turn) {
  const uint64_t length = turn.begin.value - begin_.value;
  begin_ = turn.begin;
  // A turn longer than a slice went on where round robin would have ended it.
  for (uint64_t left = length; left > list_.slice; left -= list_.slice)
    add({.vcpu = turn.after, .next = turn.after, .executed = turn.executed_after - left + list_.slice});
  const bool by_itself = !turn.cut_short || length == list_.slice || first_;
  first_ = false;
  if (by_itself && turn.vcpu == turn.in_order) return;
  add({.vcpu = turn.after, .next = turn.vcpu, .executed = turn.executed_after});
}

namespace {

Result<std::unique_ptr<SwitchList>> list_of(const TraceReader& trace, uint64_t slice, size_t at_most) {
  if (trace.header().config.vcpus == 1)
    return Error{ErrorKind::kHost, fmt::format("{}: a machine of one vCPU has no schedule", trace.name())};
  std::unique_ptr<SwitchList> list;
  ReplayOptions options;
  options.engine = "deterministic";
  options.at_begin = [&](Machine& machine) { list = std::make_unique<SwitchList>(machine, slice, at_most); };
  auto done = replay(trace, nullptr, options);
  if (!done) return done.error();
  return list;
}

}  // namespace

Result<ScheduleFile> schedule_of(const TraceReader& trace) {
  auto list = list_of(trace, trace.header().config.slice, kMaxSwitches);
  if (!list) return list.error();
  if ((*list)->count() > kMaxSwitches)
    return Error{ErrorKind::kHost,
                 fmt::format("{}: {} switches that round robin would not make; a list has {} at most. A shorter run, "
                             "from a snapshot or with --max-instructions, has fewer",
                             trace.name(), (*list)->count(), kMaxSwitches)};
  return (*list)->list();
}

Result<ScheduleFile> first_switches_of(const TraceReader& trace, uint64_t slice, size_t at_most) {
  auto list = list_of(trace, slice, at_most);
  if (!list) return list.error();
  return (*list)->list();
}

}  // namespace dejavm
