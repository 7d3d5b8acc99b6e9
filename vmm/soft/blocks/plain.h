// Handlers that execute an instruction by its plain function.
#pragma once

#include "vmm/soft/blocks/blocks.h"

namespace dejavm::soft {

// What Insn::imm leads to where the plain function executes.
struct Plain {
  ExecFn execute;
  Decoded d;
};

const Insn* plain(Cpu& c, const Insn* i);
const Insn* plain_end(Cpu& c, const Insn* i);
// An instruction across the end of its page, in 64-bit code: what is in the next page is seen anew each time. imm:
// Decoded.
const Insn* across_pages(Cpu& c, const Insn* i);
// REP string operations: as many iterations at once as the limit and the fast path allow, else one.
const Insn* rep_end(Cpu& c, const Insn* i);

}  // namespace dejavm::soft
