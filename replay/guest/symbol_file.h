// A kernel's symbols as an ELF file without code, which gdb loads like a vmlinux: `gdb FILE`, or (gdb) symbol-file
// FILE.
#pragma once

#include "replay/guest/kallsyms.h"
#include "replay/store/cbor.h"

namespace dejavm {

// Symbols at the addresses at which the kernel runs, sections .text, .init.text and .data around them, and, where the
// guest has tables for its own unwinder (ORC), .debug_frame made from them, so that gdb's backtraces are right.
Bytes symbol_file(const GuestKernel&, const GuestMemory&);

}  // namespace dejavm
