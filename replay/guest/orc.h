// Linux's own unwind tables (ORC) as DWARF call frame information, which debuggers read.
// Sources: arch/x86/include/asm/orc_types.h (6.0 to 6.3, and its change in 6.4), Documentation/x86/orc-unwinder.rst;
// DWARF 4, 6.4.
#pragma once

#include "replay/guest/kallsyms.h"
#include "replay/store/cbor.h"

namespace dejavm {

// The content of .debug_frame; empty where the guest has no such tables, or none that make sense.
Bytes debug_frame(const GuestKernel&, const GuestMemory&);

}  // namespace dejavm
