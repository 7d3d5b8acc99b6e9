// Options of commands that run a machine, however it was made.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

void add_keyframe_option(CLI::App&, Options&);
void add_sandbox_option(CLI::App&, Options&);
// --max-time, --max-instructions
void add_limit_options(CLI::App&, Options&);
// Limits, --sandbox and --json.
void add_limited_options(CLI::App&, Options&);

}  // namespace dejavm::cli
