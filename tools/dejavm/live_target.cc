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

bool LiveTarget::watch(DebugPoints* points) {
  bool can = true;
  for (uint32_t n = 0; n < machine_.config().vcpus; ++n) can &= machine_.engine().set_debug_points(n, points);
  return can;
}

VcpuState LiveTarget::state() {
  VcpuState s;
  machine_.sync_out();
  machine_.engine().get_state(machine_.position().vcpu, s);
  return s;
}

Result<void> LiveTarget::set_state(const VcpuState& s) {
  if (recorded_()) return refused();
  if (const char* why = Vcpu::invalid(s)) return Error{ErrorKind::kHost, why};
  machine_.sync_out();
  machine_.engine().set_state(machine_.position().vcpu, s);
  machine_.sync_out();
  return {};
}

size_t LiveTarget::read(uint64_t address, std::span<uint8_t> to) {
  return gdb::read_linear(machine_, state(), address, to);
}

Result<void> LiveTarget::write(uint64_t address, std::span<const uint8_t> from) {
  if (from.empty()) return {};
  if (recorded_()) return refused();
  const VcpuState s = state();
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

Result<gdb::Target::Stop> LiveTarget::resume(How how, const DebugPoints& points, const std::function<bool()>& wanted) {
  const Retired at = machine_.position().retired;
  points_ = points;
  points_.known_at = at;
  points_.known_address = linear_rip(state());
  if (how == How::kStep) points_.code.clear();
  if (!watch(&points_))
    return Error{ErrorKind::kHost, "this engine cannot stop at debug points: run with --engine deterministic"};
  const bool goes_on = advance_(how == How::kStep ? at + 1 : kForever, wanted);
  watch(nullptr);
  if (!goes_on) return Stop{Why::kExited, {}};
  if (points_.hit) return Stop{Why::kHit, points_.hit};
  return Stop{how == How::kStep ? Why::kStepped : Why::kInterrupted, {}};
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
