// dejavm host: what this machine can do for us.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct HostOptions {
  bool json = false;
};

void add_host_tool(CLI::App& app, HostOptions&);
int run_host(const HostOptions&);

}  // namespace dejavm::cli
