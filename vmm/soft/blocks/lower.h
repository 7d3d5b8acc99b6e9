// What making a block has of lowering: an Insn for each decoded instruction.
#pragma once

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/blocks/hot.h"

namespace dejavm::soft {

// String operations with a repeat prefix.
bool repeats(const Decoded&);
// Operations after which the run loop must look up.
bool ends_block(const Decoded&);

// The specialised handler of an instruction in 64-bit code, with the Insn's operands for it; nullptr: it has none.
Handler specialise(const Decoded&, Insn&, Form&);
// The operands alone; false: they have no form that handlers know.
bool lower_operands(const Decoded&, Insn&, Form&);
// The same form without an index, where there is none.
Form simplest(Form, const Insn&);
// Gives instructions whose flags nobody sees a handler that does not compute them.
void silence(Insn* insns, const Decoded* decoded, const bool* is_plain, const Form* forms, unsigned count);

}  // namespace dejavm::soft
