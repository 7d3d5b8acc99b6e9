// A running machine under gdb: forwards only. What is recorded cannot be changed.
#pragma once

#include <functional>
#include <string>

#include "replay/gdb/session.h"
#include "replay/gdb/thread_names.h"
#include "vmm/machine/machine.h"

namespace dejavm::cli {

class LiveTarget final : public gdb::Target {
 public:
  // Runs the machine until `until` instructions are complete, a debug point is met, `wanted`, or its end (false).
  using Advance = std::function<bool(Retired until, const std::function<bool()>& wanted)>;
  LiveTarget(Machine& machine, Advance advance, std::function<bool()> recorded)
      : machine_(machine), advance_(std::move(advance)), recorded_(std::move(recorded)) {}

  uint32_t vcpus() const override { return machine_.config().vcpus; }
  uint32_t current() const override { return machine_.position().vcpu; }
  std::string about(uint32_t vcpu) override { return names_.of(machine_, vcpu); }
  VcpuState state(uint32_t vcpu) override;
  Result<void> set_state(uint32_t vcpu, const VcpuState&) override;
  size_t read(uint32_t vcpu, uint64_t address, std::span<uint8_t> to) override;
  Result<void> write(uint32_t vcpu, uint64_t address, std::span<const uint8_t> from) override;
  bool reversible() const override { return false; }
  Result<Stop> resume(How, Who, const DebugPoints&, const std::function<bool()>& wanted) override;
  std::string monitor(std::string_view command) override;

 private:
  // On this vCPU, or every one; nullptr: nothing. False: this engine cannot.
  bool watch(DebugPoints*, std::optional<uint32_t> vcpu = {});
  // To the next stop; false: the run has ended.
  Result<bool> go(Retired until, std::optional<uint32_t> vcpu, const std::function<bool()>& wanted);
  Result<Stop> step(Who, const std::function<bool()>& wanted);
  Machine& machine_;
  Advance advance_;
  std::function<bool()> recorded_;
  DebugPoints points_;
  gdb::ThreadNames names_;
};

}  // namespace dejavm::cli
