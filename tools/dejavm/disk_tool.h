// dejavm disk extract|diff|list|read|commit: a recorded or saved machine's disks, as they were at any moment.
#pragma once

#include <optional>
#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct DiskToolOptions {
  std::string file, other, output;
  std::string at, other_at;  // of a trace: the instruction
  std::string image;         // what the disk starts from, if the file does not hold all of it
  std::string path;          // of a file within
  unsigned disk = 0;
  std::optional<unsigned> partition;
  bool partial = false, force = false, json = false, files = false;
};

// The subcommands of `app`; run_disk_tool does what was asked.
void add_disk_tool(CLI::App& app, DiskToolOptions&);
int run_disk_tool(const CLI::App& app, const DiskToolOptions&);

}  // namespace dejavm::cli
