// A recorded run under gdb: forwards and backwards in a Timeline, looked at and never changed.
#pragma once

#include <memory>
#include <string>

#include "replay/gdb/monitor.h"
#include "replay/gdb/session.h"
#include "replay/guest/symbols.h"
#include "replay/timeline/timeline.h"

namespace dejavm::gdb {

class TimelineTarget final : public Target {
 public:
  TimelineTarget(const TraceReader& trace, Timeline& timeline, Symbols symbols)
      : timeline_(timeline), monitor_(trace, timeline, std::move(symbols)) {}

  VcpuState state() override;
  Result<void> set_state(const VcpuState&) override;
  size_t read(uint64_t address, std::span<uint8_t> to) override;
  Result<void> write(uint64_t address, std::span<const uint8_t> from) override;
  bool reversible() const override { return true; }
  Result<Stop> resume(How, const DebugPoints&, const std::function<bool()>& wanted) override;
  std::string monitor(std::string_view command) override { return monitor_.answer(command); }

 private:
  Timeline& timeline_;
  Monitor monitor_;
};

// Bytes at a linear address by the page tables, as many as can be read.
size_t read_linear(Machine&, const VcpuState&, uint64_t address, std::span<uint8_t> to);

}  // namespace dejavm::gdb
