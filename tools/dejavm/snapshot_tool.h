// dejavm snapshot info|show|diff|verify|merge|upgrade|pack|unpack|extract: what snapshot files say, and new ones made
// of them.
#pragma once

#include <string>
#include <vector>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct SnapshotOptions {
  std::string file, other, output, symbols;
  std::vector<std::string> chunks;  // show: only these
  uint64_t at = 0;                  // extract
  bool all = false, json = false, force = false;
};

// The subcommands of `app`; run_snapshot does what was asked.
void add_snapshot_tool(CLI::App& app, SnapshotOptions&);
int run_snapshot(const CLI::App& app, const SnapshotOptions&);

}  // namespace dejavm::cli
