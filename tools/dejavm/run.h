// The subcommands. Each returns the exit status.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

int run(const Options&);
int replay(const Options&);
int restore(const Options&);

}  // namespace dejavm::cli
