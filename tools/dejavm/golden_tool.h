// dejavm golden check|update: the gate on golden snapshots (docs/golden.md).
#pragma once

#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct GoldenOptions {
  std::string folder = "golden-snapshots", junit;
  bool yes = false;
};

void add_golden_tool(CLI::App& app, GoldenOptions&);
int run_golden(const CLI::App& app, const GoldenOptions&);

}  // namespace dejavm::cli
