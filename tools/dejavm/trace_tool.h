// dejavm trace info|dump|tail: what a trace says.
#pragma once

#include <string>
#include <vector>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct TraceOptions {
  std::string file, symbols, output;
  std::vector<std::string> kinds, devices;  // dump and tail: only these; empty: all
  uint64_t from = 0, to = ~uint64_t{0};     // instructions
  uint64_t limit = ~uint64_t{0};            // events
  bool code = false, json = false, force = false;
  bool requests = false;  // of disks
};

void add_trace_tool(CLI::App& app, TraceOptions&);
int run_trace(const CLI::App& app, const TraceOptions&);

}  // namespace dejavm::cli
