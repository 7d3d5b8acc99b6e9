// --vcpus and whose turn it is.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

void add_vcpu_options(CLI::App&, Options&);
// What follows from all options together, once they are known.
void settle_vcpu_options(Options&);

}  // namespace dejavm::cli
