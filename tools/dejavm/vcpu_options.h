// --vcpus and whose turn it is.
#pragma once

#include "tools/dejavm/options.h"

namespace dejavm::cli {

void add_vcpu_options(CLI::App&, Options&);
// --slice and --schedule, for a machine that exists.
void add_schedule_options(CLI::App&, Options&);
// What follows from all options together, once they are known.
void settle_vcpu_options(Options&);
// Of a PCT schedule that does not say how long the run is, which begins at this count of the machine.
void settle_length(Options&, uint64_t begin);
// The switches of the file that is named; ErrorKind::kBadInput: they do not fit.
Result<void> read_schedule_of(Options&);

}  // namespace dejavm::cli
