// gdb's `monitor` commands, of a recorded run.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "devices/core/result.h"
#include "replay/gdb/thread_names.h"
#include "replay/guest/symbols.h"
#include "replay/timeline/timeline.h"
#include "replay/trace/reader.h"

namespace dejavm::gdb {

class Monitor {
 public:
  Monitor(const TraceReader& trace, Timeline& timeline, Symbols symbols)
      : trace_(trace), timeline_(timeline), symbols_(std::move(symbols)) {}
  // Lines, for people; of a command that cannot be, why.
  std::string answer(std::string_view command);

 private:
  VcpuState state();
  Result<std::string> obey(const std::vector<std::string>& words);
  Result<Timeline::Moment> position(const std::string& text) const;
  std::string here();
  std::string at(Timeline::Moment) const;
  Result<std::string> exits(uint64_t count);
  Result<std::string> schedule(uint64_t count);
  Result<std::string> device(const std::string& name);
  Result<std::string> devices();
  std::string keyframes() const;
  Result<std::string> physical(uint64_t address, uint64_t count);
  Result<std::string> last_write(uint64_t address, uint64_t bytes);
  Result<std::string> diff(Timeline::Moment a, Timeline::Moment b);

  const TraceReader& trace_;
  Timeline& timeline_;
  Symbols symbols_;
  ThreadNames names_;
  std::map<std::string, Timeline::Moment> marks_;
};

}  // namespace dejavm::gdb
