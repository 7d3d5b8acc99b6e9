// A recorded run under gdb: forwards and backwards in a Timeline, looked at and never changed.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "replay/gdb/session.h"
#include "replay/guest/symbols.h"
#include "replay/timeline/timeline.h"

namespace dejavm::gdb {

class TimelineTarget final : public Target {
 public:
  TimelineTarget(const TraceReader& trace, Timeline& timeline, Symbols symbols) : trace_(trace), timeline_(timeline), symbols_(std::move(symbols)) {}

  VcpuState state() override;
  Result<void> set_state(const VcpuState&) override;
  size_t read(uint64_t address, std::span<uint8_t> to) override;
  Result<void> write(uint64_t address, std::span<const uint8_t> from) override;
  bool reversible() const override { return true; }
  Result<Stop> resume(How, const DebugPoints&, const std::function<bool()>& wanted) override;
  std::string monitor(std::string_view command) override;

 private:
  // monitor.cc
  Result<std::string> answer(const std::vector<std::string>& words);
  Result<Timeline::Moment> position(const std::string& text) const;
  std::string here();
  std::string at(Timeline::Moment) const;
  Result<std::string> exits(uint64_t count);
  Result<std::string> device(const std::string& name);
  Result<std::string> devices();
  std::string keyframes() const;
  Result<std::string> physical(uint64_t address, uint64_t count);
  Result<std::string> last_write(uint64_t address, uint64_t bytes);
  Result<std::string> diff(Timeline::Moment a, Timeline::Moment b);

  const TraceReader& trace_;
  Timeline& timeline_;
  Symbols symbols_;
  std::map<std::string, Timeline::Moment> marks_;
};

// Bytes at a linear address by the page tables, as many as can be read.
size_t read_linear(Machine&, const VcpuState&, uint64_t address, std::span<uint8_t> to);

}  // namespace dejavm::gdb
