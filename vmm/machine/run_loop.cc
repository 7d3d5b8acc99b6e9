// The run loop: time, inputs and signals at each boundary, and whose turn it is between them.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "vmm/machine/machine_impl.h"

namespace dejavm {
namespace {

// A CPU that has been halted for so long, with devices ticking and nothing of it an interrupt, will not wake.
constexpr uint64_t kHaltedForeverNs = 3'600'000'000'000;

// INIT leaves the FPU, the TSC and most MSRs alone (SDM vol. 3, table 10-1).
VcpuState after_init(const VcpuState& old, uint32_t vcpu, Retired at) {
  VcpuState s = reset_vcpu_state();
  s.fpu = old.fpu;
  s.retired = at.value;
  s.tsc_adjust = old.tsc_adjust;
  s.tsc_aux = old.tsc_aux;
  s.pat = old.pat;
  s.mtrr_def_type = old.mtrr_def_type;
  s.mtrr_fixed = old.mtrr_fixed;
  s.mtrr_variable = old.mtrr_variable;
  s.random_counter = old.random_counter;
  s.random_seed = old.random_seed;
  if (vcpu != 0) s.activity = Activity::kWaitForSipi;
  return s;
}

}  // namespace

// Everything that has arrived at this boundary, up to what ends the run or makes it stand still: kNone if nothing does.
Input::Kind Machine::Impl::apply_inputs(Inputs& inputs) {
  for (;;) {
    const Input input = inputs.take(position(), now());
    switch (input.kind) {
      case Input::Kind::kNone:
      case Input::Kind::kStop:
      case Input::Kind::kControl: return input.kind;
      case Input::Kind::kConsole: board->console_input(now(), input.data); break;
    }
  }
}

// --- whose turn it is ---

bool Machine::Impl::can_run(uint32_t n) const {
  const RunControl& control = controls[n];
  if (held_for && n != *held_for) return false;
  switch (standing[n].activity) {
    case Activity::kRunning:
    case Activity::kShutdown: return true;  // the engine tells of a shutdown
    case Activity::kWaitForSipi: return false;
    case Activity::kHalted: break;
  }
  return standing[n].event_waits || control.nmi || (control.intr && standing[n].interrupts_on);
}

bool Machine::Impl::another_can_run(uint32_t vcpu) const {
  for (uint32_t n = 0; n < config.vcpus; ++n)
    if (n != vcpu && can_run(n)) return true;
  return false;
}

bool Machine::Impl::nobody_can_run() const { return !can_run(schedule.current) && !another_can_run(schedule.current); }

// False: nobody can run.
bool Machine::Impl::choose() {
  if (!several() || (at.value < schedule.slice_end && can_run(schedule.current))) return true;
  uint64_t who = 0;
  for (uint32_t n = 0; n < config.vcpus; ++n) who |= uint64_t{can_run(n)} << n;
  if (who == 0) return false;
  Turn turn{.begin = at,
            .after = schedule.current,
            .in_order = next_in_order(config, schedule, who),
            .executed_after = turns[schedule.current].executed,
            .cut_short = can_run(schedule.current) && !ended_by_pause};
  const NextTurn next = next_turn(config, schedule, turns, who, at);
  schedule.current = next.vcpu;
  schedule.slice_end = at.value + next.instructions;
  schedule.paused = 0;
  ended_by_pause = false;
  ++schedule.slices;
  turn.vcpu = next.vcpu;
  if (turn_watcher) turn_watcher(turn);
  return true;
}

// --- INIT, STARTUP and NMI (SDM vol. 3, 9.4.4) ---

void Machine::Impl::take_init(uint32_t n) {
  engine->get_state(n, vcpus[n]);
  vcpus[n] = after_init(vcpus[n], n, at);
  engine->set_state(n, vcpus[n]);
  standing[n] = engine->standing(n);
}

void Machine::Impl::start_up(uint32_t n, uint8_t vector) {
  engine->get_state(n, vcpus[n]);
  VcpuState& s = vcpus[n];
  s.activity = Activity::kRunning;
  s.rip = 0;
  s.segment[kCs].selector = static_cast<uint16_t>(vector << 8);
  s.segment[kCs].base = uint64_t{vector} << 12;
  engine->set_state(n, s);
}

// What the local APIC holds for its vCPU goes from there, as if at once.
void Machine::Impl::collect_signals(uint32_t n, Nanos when) {
  if (!controls[n].signalled) return;
  if (board->take_init(n)) {
    board->init(n, when);
    signals[n].init = true;
    signals[n].startup.reset();
  }
  uint8_t vector = 0;
  if (board->take_startup(n, vector)) signals[n].startup = vector;
  if (board->take_nmi(n)) signals[n].nmi = true;
}

void Machine::Impl::take_signals() {
  for (uint32_t n = 0; n < config.vcpus; ++n) {
    collect_signals(n, now());
    const Signals got = std::exchange(signals[n], {});
    if (got.init) take_init(n);
    if (got.startup && standing[n].activity == Activity::kWaitForSipi) start_up(n, *got.startup);
    if (got.nmi) engine->post_nmi(n);
    if (got.init || got.startup || got.nmi) standing[n] = engine->standing(n);
  }
}

// Where all run at once: as after an instruction of one of several that take turns, but its effect on a vCPU waits
// until they all stand still.
bool Machine::Impl::exit_done(Position at_exit) {
  if (board->request() != Board::Request::kNone) return false;
  for (uint32_t n = 0; n < config.vcpus; ++n) collect_signals(n, board->now({n, at_exit.retired + 1}));
  return true;
}

// --- the loop ---

std::string Machine::Impl::why_asleep() {
  pull();
  if (several())
    return fmt::format("every vCPU is halted or waits to be started, and nothing will wake one; vCPU {} ",
                       schedule.current) +
           describe_registers(vcpus[schedule.current]);
  return standing[0].interrupts_on ? "halted, and nothing will wake it, " + describe_registers(vcpus[0])
                                   : "halted with interrupts disabled, " + describe_registers(vcpus[0]);
}

// Every vCPU is halted: skips to the next event. False: nothing will ever wake one.
bool Machine::Impl::sleep(Inputs& inputs) {
  const bool can_wake = std::any_of(standing.begin(), standing.end(), [](const Standing& s) {
    return s.activity == Activity::kHalted && s.interrupts_on;
  });
  const Nanos before = now();
  if (can_wake && halted_at != at) {
    halted_at = at;
    halted_since = before;
  }
  const Nanos to = can_wake ? inputs.idle(position(), before, board->next_event()) : before;
  CHECK(to >= before);
  if (to == before || (to - halted_since).value > kHaltedForeverNs) {
    detail = why_asleep();
    return false;
  }
  set_time_base(clock.time_base_ns + (to - before).value);
  return true;
}

// Where a run of the engine ends whatever the devices do.
Retired Machine::Impl::limit(Retired until, Inputs& inputs) const {
  const Retired by_inputs = std::min(until, std::max(inputs.next_poll(position()), at + 1));
  if (time_limit == kNever) return by_inputs;
  return std::min(by_inputs, Retired{std::max(time_limit.value - clock.time_base_ns, at.value)});
}

// The count at which the devices' next event is due.
Retired Machine::Impl::next_event(Retired not_before) const {
  const Nanos event = board->next_event();
  return event == kNever ? kForever : Retired{std::max(event.value - clock.time_base_ns, not_before.value)};
}

bool Machine::Impl::time_passes(Position here) {
  board->advance(board->now(here));
  if (!exit_done(here)) return false;
  for (RunControl& control : controls) control.until = next_event(here.retired);
  return true;
}

StopReason Machine::Impl::run_together(Retired until, Inputs& inputs, ExitHandler& exits) {
  for (RunControl& control : controls) {
    control.until = next_event(at);
    control.from = at;
  }
  Engine::Together together{controls, limit(until, inputs), exits, *this, schedule.current};
  const StopReason why = engine->run_together(together);
  schedule.current = together.ended_by;
  for (uint32_t n = 0; n < config.vcpus; ++n) standing[n] = engine->standing(n);
  at = standing[0].retired;
  return why;
}

StopReason Machine::Impl::run_current(Retired until, Inputs& inputs, ExitHandler& exits) {
  const uint32_t n = schedule.current;
  RunControl& control = controls[n];
  control.until = std::min(limit(until, inputs), next_event(at));
  if (several()) control.until = std::min(control.until, Retired{schedule.slice_end});
  control.from = at;
  const StopReason why = engine->run(n, control, exits);
  standing[n] = engine->standing(n);
  if (several()) turns[n].executed += standing[n].retired.value - at.value;
  at = standing[n].retired;
  if (control.paused) {
    schedule.slice_end = at.value;
    ended_by_pause = true;
    schedule.paused = knows_of_pause(config) ? 1 : 0;
    control.paused = false;
  }
  return why;
}

std::optional<RunEnd> Machine::Impl::after_stop(StopReason why) {
  const uint32_t n = schedule.current;
  switch (why) {
    case StopReason::kLimit:
    case StopReason::kStopped:
    case StopReason::kHalted: return std::nullopt;
    case StopReason::kBreak: return RunEnd::kUntil;
    case StopReason::kInit:
      controls[n].init = false;
      take_init(n);
      board->init(n, now());
      return std::nullopt;
    case StopReason::kShutdown:
      pull();
      detail = "triple fault " + describe_registers(vcpus[n]);
      return RunEnd::kTripleFault;
    case StopReason::kUnimplemented: detail = engine->detail(); return RunEnd::kUnimplemented;
    case StopReason::kError:
      pull();
      detail = engine->detail() + "; " + describe_registers(vcpus[n]);
      return RunEnd::kEngineError;
  }
  return std::nullopt;
}

RunEnd Machine::Impl::run(Retired until, Inputs& inputs, ExitHandler& exits) {
  pull();
  detail.clear();
  bool asleep = false;  // every vCPU is halted and an idle skip has just failed
  for (;;) {
    for (RunControl& control : controls) control.stop = false;
    // A reset takes place when the instruction that asked is complete, whatever time has passed since.
    const bool reset_asked = board->request() == Board::Request::kReset;
    const Nanos here = reset_asked ? std::min(now(), board->requested_at() + Nanos{1}) : now();
    board->advance(here);
    switch (board->request()) {
      case Board::Request::kNone: break;
      case Board::Request::kPowerOff: return RunEnd::kPowerOff;
      case Board::Request::kDebugExit: return RunEnd::kDebugExit;
      case Board::Request::kReset:
        if (config.rom_bytes == 0) return RunEnd::kReset;
        reset(here);
        continue;
    }
    if (at >= until || now() >= time_limit) return RunEnd::kUntil;
    const Input::Kind taken = apply_inputs(inputs);
    if (taken == Input::Kind::kStop) return RunEnd::kUserStop;
    if (taken == Input::Kind::kControl) return RunEnd::kUntil;
    if (several()) take_signals();
    if (asleep && nobody_can_run()) return RunEnd::kHaltedForever;
    asleep = false;

    bool halted = true;
    const bool together = engine->runs_together();
    if (together ? !nobody_can_run() : choose()) {
      const StopReason why = together ? run_together(until, inputs, exits) : run_current(until, inputs, exits);
      if (const std::optional<RunEnd> end = after_stop(why)) return *end;
      halted = why == StopReason::kHalted;
    }
    if (!halted || (several() && !nobody_can_run())) continue;
    board->advance(now());
    if (!engine->counts() && !nobody_can_run()) continue;
    if (at < until && now() < time_limit && board->request() == Board::Request::kNone) asleep = !sleep(inputs);
  }
}

}  // namespace dejavm
