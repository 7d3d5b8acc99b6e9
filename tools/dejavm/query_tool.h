// dejavm query: answers about a recorded run, without a debugger.
#pragma once

#include <optional>
#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct QueryOptions {
  std::string file, what, before, after;
  uint64_t bytes = 8, limit = 20;
  std::optional<unsigned> disk;
  bool json = false;
};

void add_query_tool(CLI::App& app, QueryOptions&);
int run_query(const CLI::App& app, const QueryOptions&);

}  // namespace dejavm::cli
