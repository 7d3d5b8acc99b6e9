// What the process may still do once a machine is set up and its guest is about to run: go on with the files it has,
// write snapshots and traces, answer its control socket, use KVM. It can start no program, open no connection, trace no
// process, gain no privilege, and make no memory that is writable and executable.
#pragma once

#include "devices/core/result.h"

namespace dejavm::cli {

// For this process and all its threads, for good. Forbidden calls fail with EPERM. Error: the kernel has no seccomp
// filters, or one of the steps failed; nothing that was given up comes back. Does nothing in builds with sanitizers,
// which need more.
Result<void> enter_sandbox();

}  // namespace dejavm::cli
