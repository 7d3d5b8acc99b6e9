#include "tools/dejavm/live_target.h"

#include <fmt/format.h>

#include "replay/gdb/timeline_target.h"
#include "replay/guest/where.h"
#include "replay/state/describe.h"
#include "replay/state/state_codec.h"
#include "replay/state/stored_state.h"

namespace dejavm::cli {
namespace {

Error refused() { return {ErrorKind::kHost, "a guest that is recorded cannot be changed: the trace would not replay"}; }

}  // namespace

bool LiveTarget::watch(DebugPoints* points, std::optional<uint32_t> vcpu) {
  bool can = true;
  for (uint32_t n = 0; n < machine_.config().vcpus; ++n)
    can &= machine_.engine().set_debug_points(n, !vcpu || n == *vcpu ? points : nullptr);
  return can;
}

VcpuState LiveTarget::state(uint32_t vcpu) {
  VcpuState s;
  machine_.sync_out();
  machine_.engine().get_state(vcpu, s);
  return s;
}

Result<void> LiveTarget::set_state(uint32_t vcpu, const VcpuState& s) {
  if (recorded_()) return refused();
  if (const char* why = Vcpu::invalid(s)) return Error{ErrorKind::kHost, why};
  machine_.sync_out();
  machine_.engine().set_state(vcpu, s);
  machine_.sync_out();
  return {};
}

size_t LiveTarget::read(uint32_t vcpu, uint64_t address, std::span<uint8_t> to) {
  return gdb::read_linear(machine_, state(vcpu), address, to);
}

Result<void> LiveTarget::write(uint32_t vcpu, uint64_t address, std::span<const uint8_t> from) {
  if (from.empty()) return {};
  if (recorded_()) return refused();
  const VcpuState s = state(vcpu);
  // All of it or nothing.
  for (const bool really : {false, true})
    for (size_t done = 0; done < from.size();) {
      const uint64_t at = address + done;
      const size_t n = std::min<size_t>(from.size() - done, kPageSize - (at & (kPageSize - 1)));
      const auto gpa = translate(machine_.memory(), s, at);
      if (!gpa || machine_.memory().find(Gpa{*gpa}) == nullptr)
        return Error{ErrorKind::kHost, fmt::format("no memory at {:#x}", at)};
      if (really) machine_.write_memory(Gpa{*gpa}, from.subspan(done, n));
      done += n;
    }
  return {};
}

Result<bool> LiveTarget::go(Retired until, std::optional<uint32_t> vcpu, const std::function<bool()>& wanted) {
  if (!watch(&points_, vcpu))
    return Error{ErrorKind::kHost, "this engine cannot stop at debug points: run with --engine deterministic"};
  const bool goes_on = advance_(until, wanted);
  watch(nullptr);
  return goes_on;
}

// One instruction of this vCPU: at once, or if another's turn comes instead, when it is its turn next.
Result<gdb::Target::Stop> LiveTarget::step(Who who, const std::function<bool()>& wanted) {
  points_.code.clear();
  for (bool at_its_turn = who.vcpu == current();;) {
    if (at_its_turn) {
      const auto goes_on = go(machine_.position().retired + 1, {}, wanted);
      if (!goes_on) return goes_on.error();
      if (!*goes_on) return Stop{Why::kExited, {}};
      if (points_.hit) return Stop{Why::kHit, points_.hit};
      if (who.vcpu == current()) return Stop{Why::kStepped, {}};
    }
    points_.every = true;
    const auto goes_on = go(kForever, who.vcpu, wanted);
    points_.every = false;
    if (!goes_on) return goes_on.error();
    if (!*goes_on) return Stop{Why::kExited, {}};
    if (!points_.hit) return Stop{Why::kInterrupted, {}};
    points_.hit.reset();
    at_its_turn = true;
  }
}

Result<gdb::Target::Stop> LiveTarget::resume(How how, Who who, const DebugPoints& points,
                                             const std::function<bool()>& wanted) {
  points_ = points;
  points_.known_at = machine_.position().retired;
  points_.known_address = linear_rip(state(current()));
  // Of a run that is recorded the turns are as its options have them; and who does not run waits for the others.
  if (who.alone && !recorded_() && state(who.vcpu).activity == Activity::kRunning) machine_.hold_others(who.vcpu);
  const auto stop = [&]() -> Result<Stop> {
    if (how == How::kStep) return step(who, wanted);
    const auto goes_on = go(kForever, {}, wanted);
    if (!goes_on) return goes_on.error();
    if (!*goes_on) return Stop{Why::kExited, {}};
    if (points_.hit) return Stop{Why::kHit, points_.hit};
    return Stop{Why::kInterrupted, {}};
  }();
  machine_.hold_others({});
  return stop;
}

std::string LiveTarget::monitor(std::string_view command) {
  machine_.sync_out();
  if (command == "when")
    return fmt::format("instruction {}\nvirtual time {} ns\n{}\n", machine_.position().retired.value,
                       machine_.now().value, describe_place(machine_));
  if (command.starts_with("device ") || command == "devices") {
    std::string out;
    for (const StoredChunk& c : store_chunks(machine_.chunks())) {
      const std::string name = chunk_name(c.name, c.instance);
      if (command == "devices") out += name + "\n";
      else if (name == command.substr(7))
        for (const FieldText& f : flatten(c.payload)) out += fmt::format("{}.{} = {}\n", name, f.path, f.value);
    }
    return out.empty() ? "there is no such device; `monitor devices` tells what there is\n" : out;
  }
  return "when, devices, device NAME; a recorded guest (dejavm debug) answers more, and goes backwards\n";
}

}  // namespace dejavm::cli
