// dejavm debug: a recorded run under gdb, forwards and backwards.
#pragma once

#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct DebugOptions {
  std::string file, symbols, at;
  std::string listen = "127.0.0.1:1234";
  bool stdio = false;
  uint64_t memory_budget_bytes = uint64_t{1} << 30;
};

void add_debug_tool(CLI::App& app, DebugOptions&);
int run_debug(const DebugOptions&);

}  // namespace dejavm::cli
