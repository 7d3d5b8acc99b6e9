#include "vmm/machine/schedule.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "devices/core/split_mix.h"

namespace dejavm {
namespace {

// Numbers for one purpose each, from the seed.
enum Stream : uint64_t { kWho = 1, kLength, kBackground, kPriority, kChange, kFairness };

uint64_t draw(const MachineConfig& config, Stream stream, uint64_t n) {
  return SplitMix64::output(SplitMix64::output(config.schedule.seed, stream), n);
}

bool is_in(uint64_t set, uint32_t vcpu) { return set >> vcpu & 1; }

// The n-th of a set that is not empty, counted round.
uint32_t nth(uint64_t set, uint64_t n) {
  for (n %= static_cast<uint64_t>(std::popcount(set)); n > 0; --n) set &= set - 1;
  return static_cast<uint32_t>(std::countr_zero(set));
}

NextTurn round_robin(const MachineConfig& config, const Schedule::State& s, uint64_t can_run) {
  return {next_in_order(config, s, can_run), config.slice};
}

// The list's next switch that can still come up.
const ScheduledSwitch* coming(const MachineConfig& config, Schedule::State& s,
                              const std::vector<VcpuTurn::State>& turns) {
  const std::vector<ScheduledSwitch>& list = config.schedule.switches;
  for (; s.changes < list.size(); ++s.changes) {
    const ScheduledSwitch& next = list[s.changes];
    if (turns[next.vcpu].executed <= next.executed) return &next;
    ++s.missed;
  }
  return nullptr;
}

NextTurn by_list(const MachineConfig& config, Schedule::State& s, const std::vector<VcpuTurn::State>& turns,
                 uint64_t can_run) {
  for (;;) {
    uint32_t vcpu = next_in_order(config, s, can_run);
    const ScheduledSwitch* next = coming(config, s, turns);
    if (next != nullptr && next->vcpu == s.current && turns[next->vcpu].executed == next->executed) {
      ++s.changes;
      if (!is_in(can_run, next->next)) {
        ++s.missed;
        continue;
      }
      vcpu = next->next;
      next = coming(config, s, turns);
    }
    s.current = vcpu;
    if (next == nullptr || next->vcpu != vcpu) return {vcpu, config.slice};
    const uint64_t left = next->executed - turns[vcpu].executed;
    if (left > 0) return {vcpu, std::min(config.slice, left)};
  }
}

NextTurn by_chance(const MachineConfig& config, const Schedule::State& s, uint64_t can_run, Retired at) {
  constexpr uint64_t kWindow = 2'000'000, kShort = 60;
  uint64_t foreground = can_run;
  for (uint32_t n = 0; n < config.vcpus; ++n)
    if (draw(config, kBackground, at.value / kWindow * kMaxVcpus + n) % 8 == 0) foreground &= ~(uint64_t{1} << n);
  const uint64_t length = draw(config, kLength, s.slices);
  // Who pauses waits, perhaps for one of the background.
  const uint64_t others = can_run & ~(uint64_t{1} << s.current);
  if (s.paused && others != 0) foreground = others;
  return {nth(foreground != 0 ? foreground : can_run, draw(config, kWho, s.slices)),
          1 + (length >> 8) % (length % 4 == 0 ? kShort : 2 * config.slice)};
}

// The count at which a change of priority takes place: the n-th of all, in their order.
uint64_t change_at(const MachineConfig& config, uint64_t n) {
  std::vector<uint64_t> all(config.schedule.depth - 1);
  for (size_t k = 0; k < all.size(); ++k)
    all[k] = config.schedule.from + draw(config, kChange, k) % std::max<uint64_t>(config.schedule.length, 1);
  std::sort(all.begin(), all.end());
  return n < all.size() ? all[n] : ~uint64_t{0};
}

NextTurn by_priority(const MachineConfig& config, Schedule::State& s, std::vector<VcpuTurn::State>& turns,
                     uint64_t can_run, Retired at) {
  while (change_at(config, s.changes) <= at.value) {
    ++s.changes;
    turns[s.current].priority = config.schedule.depth - s.changes;
  }
  const uint64_t others = can_run & ~(uint64_t{1} << s.current);
  const bool fair = draw(config, kFairness, s.slices) % 32 == 0;
  const uint64_t from = (s.paused || fair) && others != 0 ? others : can_run;
  uint32_t vcpu = fair ? nth(from, draw(config, kWho, s.slices)) : nth(from, 0);
  for (uint32_t n = 0; n < config.vcpus && !fair; ++n)
    if (is_in(from, n) && turns[n].priority > turns[vcpu].priority) vcpu = n;
  const uint64_t change = change_at(config, s.changes);
  return {vcpu, std::min(config.slice, change - at.value)};
}

}  // namespace

uint32_t next_in_order(const MachineConfig& config, const Schedule::State& s, uint64_t can_run) {
  uint32_t vcpu = s.current;
  do vcpu = (vcpu + 1) % config.vcpus;
  while (!is_in(can_run, vcpu));
  return vcpu;
}

bool knows_of_pause(const MachineConfig& config) {
  const ScheduleKind kind = config.schedule.kind;
  return kind == ScheduleKind::kPct || (kind == ScheduleKind::kRandom && config.revision >= 6);
}

void first_priorities(const MachineConfig& config, std::vector<VcpuTurn::State>& turns) {
  if (config.schedule.kind != ScheduleKind::kPct) return;
  std::vector<uint32_t> order(turns.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t left = order.size(); left > 1; --left)
    std::swap(order[left - 1], order[draw(config, kPriority, left) % left]);
  // All above those of changes: depth - 1 and less.
  for (size_t n = 0; n < order.size(); ++n) turns[order[n]].priority = config.schedule.depth + n;
}

NextTurn next_turn(const MachineConfig& config, Schedule::State& s, std::vector<VcpuTurn::State>& turns,
                   uint64_t can_run, Retired at) {
  if (at.value < config.schedule.from) {
    NextTurn next = round_robin(config, s, can_run);
    next.instructions = std::min(next.instructions, config.schedule.from - at.value);
    return next;
  }
  switch (config.schedule.kind) {
    case ScheduleKind::kList: return by_list(config, s, turns, can_run);
    case ScheduleKind::kRandom: return by_chance(config, s, can_run, at);
    case ScheduleKind::kPct: return by_priority(config, s, turns, can_run, at);
    case ScheduleKind::kRoundRobin: break;
  }
  return round_robin(config, s, can_run);
}

}  // namespace dejavm
