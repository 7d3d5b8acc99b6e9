// A recorded run under gdb: forwards and backwards in a Timeline, looked at and never changed.
#pragma once

#include <memory>
#include <string>

#include "replay/gdb/monitor.h"
#include "replay/gdb/session.h"
#include "replay/gdb/thread_names.h"
#include "replay/guest/symbols.h"
#include "replay/timeline/timeline.h"

namespace dejavm::gdb {

class TimelineTarget final : public Target {
 public:
  TimelineTarget(const TraceReader& trace, Timeline& timeline, Symbols symbols)
      : timeline_(timeline), monitor_(trace, timeline, std::move(symbols)) {}

  uint32_t vcpus() const override { return timeline_.machine().config().vcpus; }
  uint32_t current() const override { return timeline_.machine().position().vcpu; }
  std::string about(uint32_t vcpu) override { return names_.of(timeline_.machine(), vcpu); }
  VcpuState state(uint32_t vcpu) override;
  Result<void> set_state(uint32_t vcpu, const VcpuState&) override;
  size_t read(uint32_t vcpu, uint64_t address, std::span<uint8_t> to) override;
  Result<void> write(uint32_t vcpu, uint64_t address, std::span<const uint8_t> from) override;
  bool reversible() const override { return true; }
  Result<Stop> resume(How, Who, const DebugPoints&, const std::function<bool()>& wanted) override;
  std::string monitor(std::string_view command) override { return monitor_.answer(command); }

 private:
  Timeline& timeline_;
  Monitor monitor_;
  ThreadNames names_;
};

// Bytes at a linear address by the page tables, as many as can be read.
size_t read_linear(Machine&, const VcpuState&, uint64_t address, std::span<uint8_t> to);

}  // namespace dejavm::gdb
