// dejavm minimise: the one switch by which a recorded run fails.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct MinimiseToolOptions {
  std::string trace;
  std::string folder;
  std::string symbols;
  std::vector<std::string> until_bad;
  Options limits;
  unsigned jobs = 0;  // 0: one for each processor of the host
  bool force = false;
  uint64_t attempts = 5000;
  uint64_t host_seconds = 600;
};

void add_minimise_tool(CLI::App&, MinimiseToolOptions&);
int run_minimise(const MinimiseToolOptions&);

}  // namespace dejavm::cli
