// dejavm ctl: one request to a machine's control socket.
#pragma once

#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct CtlOptions {
  std::string socket, command, file, engine;
  bool force = false, delta = false, external_base = false, json = false;
};

void add_ctl(CLI::App& app, CtlOptions&);
int run_ctl(const CtlOptions&);

}  // namespace dejavm::cli
