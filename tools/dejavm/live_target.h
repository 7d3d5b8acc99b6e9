// A running machine under gdb: forwards only. What is recorded cannot be changed.
#pragma once

#include <functional>
#include <string>

#include "replay/gdb/session.h"
#include "vmm/machine/machine.h"

namespace dejavm::cli {

class LiveTarget final : public gdb::Target {
 public:
  // Runs the machine until `until` instructions are complete, a debug point is met, `wanted`, or its end (false).
  using Advance = std::function<bool(Retired until, const std::function<bool()>& wanted)>;
  LiveTarget(Machine& machine, Advance advance, std::function<bool()> recorded)
      : machine_(machine), advance_(std::move(advance)), recorded_(std::move(recorded)) {}

  VcpuState state() override;
  Result<void> set_state(const VcpuState&) override;
  size_t read(uint64_t address, std::span<uint8_t> to) override;
  Result<void> write(uint64_t address, std::span<const uint8_t> from) override;
  bool reversible() const override { return false; }
  Result<Stop> resume(How, const DebugPoints&, const std::function<bool()>& wanted) override;
  std::string monitor(std::string_view command) override;

 private:
  bool watch(DebugPoints*);  // on every vCPU; nullptr: nothing. False: this engine cannot
  Machine& machine_;
  Advance advance_;
  std::function<bool()> recorded_;
  DebugPoints points_;
};

}  // namespace dejavm::cli
