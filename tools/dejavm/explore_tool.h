// dejavm explore: schedules by which a guest fails.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct ExploreToolOptions {
  Options machine;  // or its snapshot
  std::vector<std::string> until_bad;
  uint64_t first_seed = 0;
  uint64_t seeds = 100;
  unsigned jobs = 0;  // 0: one for each processor of the host
  uint64_t host_seconds = 600;
  std::string folder;
  bool until_first = false;
};

void add_explore_tool(CLI::App&, ExploreToolOptions&);
int run_explore(const ExploreToolOptions&);

}  // namespace dejavm::cli
