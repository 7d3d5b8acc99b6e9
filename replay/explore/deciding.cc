#include "replay/explore/deciding.h"

#include <fmt/format.h>

#include "replay/guest/modules.h"
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

// Those given, and what the guest's memory tells where it stands.
Symbols symbols_there(Machine& machine, const Symbols& given) {
  Symbols out = given;
  const auto kernel = GuestKernel::find(machine.memory());
  if (!kernel) return out;
  out.add(symbols_of(*kernel));
  for (uint32_t n = 0; n < machine.config().vcpus; ++n) {
    VcpuState state;
    machine.engine().get_state(n, state);
    std::vector<std::pair<uint64_t, std::string>> named;
    for (const ModuleSymbol& symbol : module_symbols(machine.memory(), state, *kernel))
      named.emplace_back(symbol.address, symbol.name);
    if (named.empty()) continue;
    out.add(Symbols::of(named));
    break;
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
  out.symbols = symbols_there((*timeline)->machine(), symbols);
  out.from = standing((*timeline)->machine(), out.which.vcpu, out.symbols);
  out.to = standing((*timeline)->machine(), out.which.next, out.symbols);
  auto shared = shared_around(**timeline, *at, out.which.vcpu, out.which.next, kWindow, kPlaces);
  if (!shared) return shared.error();
  out.shared = shared.take();
  return out;
}

}  // namespace dejavm
