// dejavm disk extract|diff|commit: a recorded or saved machine's disks, as they were at any moment.
#pragma once

#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct DiskToolOptions {
  std::string file, other, output;
  std::string at, other_at;  // of a trace: the instruction
  std::string image;         // what the disk starts from, if the file does not hold all of it
  unsigned disk = 0;
  bool partial = false, force = false, json = false;
};

// The subcommands of `app`; run_disk_tool does what was asked.
void add_disk_tool(CLI::App& app, DiskToolOptions&);
int run_disk_tool(const CLI::App& app, const DiskToolOptions&);

}  // namespace dejavm::cli
