#include "replay/explore/deciding.h"

#include <fmt/format.h>

#include "replay/guest/where.h"
#include "replay/replay/replayer.h"

namespace dejavm {
namespace {

constexpr size_t kDeepest = 12;
constexpr uint64_t kWindow = 5000;  // instructions
constexpr size_t kPlaces = 8;

// Where the last switch of the list takes place.
Result<Retired> place_of_last(const TraceReader& trace) {
  const ScheduledSwitch last = trace.header().config.schedule.switches.back();
  std::optional<Retired> found;
  ReplayOptions options;
  options.at_begin = [&](Machine& machine) {
    machine.watch_turns([&](const Turn& turn) {
      if (!found && turn.after == last.vcpu && turn.executed_after == last.executed && turn.vcpu == last.next)
        found = turn.begin;
    });
  };
  if (auto done = replay(trace, nullptr, options); !done) return done.error();
  if (!found) return Error{ErrorKind::kHost, fmt::format("{}: its last switch does not come up", trace.name())};
  return *found;
}

StandingVcpu standing(Machine& machine, uint32_t vcpu, const Symbols& symbols) {
  VcpuState state;
  machine.engine().get_state(vcpu, state);
  const Backtrace trace = backtrace(machine.memory(), state, kDeepest);
  StandingVcpu out{vcpu, describe_instruction(machine, vcpu), {}, trace.guessed};
  for (const uint64_t address : trace.addresses) {
    const std::string name = symbols.name(address);
    out.stack.push_back(name.empty() ? fmt::format("{:#x}", address) : name);
  }
  return out;
}

}  // namespace

Result<DecidingSwitch> deciding_switch(const TraceReader& trace, const Symbols& symbols) {
  CHECK(!trace.header().config.schedule.switches.empty());
  const auto at = place_of_last(trace);
  if (!at) return at.error();
  auto timeline = Timeline::open(trace, nullptr);
  if (!timeline) return timeline.error();
  if (auto done = (*timeline)->seek(*at); !done) return done.error();
  DecidingSwitch out;
  out.at = *at;
  out.which = trace.header().config.schedule.switches.back();
  out.from = standing((*timeline)->machine(), out.which.vcpu, symbols);
  out.to = standing((*timeline)->machine(), out.which.next, symbols);
  auto shared = shared_around(**timeline, *at, out.which.vcpu, out.which.next, kWindow, kPlaces);
  if (!shared) return shared.error();
  out.shared = shared.take();
  return out;
}

}  // namespace dejavm
