// --vcpus and whose turn it is.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

void add_vcpu_options(CLI::App&, Options&);
// --slice and --schedule, for a machine that exists.
void add_schedule_options(CLI::App&, Options&);
// What follows from all options together, once they are known.
void settle_vcpu_options(Options&);
// The switches of the file that is named; ErrorKind::kBadInput: they do not fit.
Result<void> read_schedule_of(Options&);

}  // namespace dejavm::cli
