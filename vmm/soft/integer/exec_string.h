// String operations in bulk, for decoded blocks.
#pragma once

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

// Up to `max` iterations of a MOVS, CMPS, STOS, LODS or SCAS with a repeat prefix, exactly as so many calls of its
// plain function would do them, as far as the fast memory path reaches. Returns the iterations done, with registers,
// flags and c.next_rip as after the last of them; 0: nothing has happened and the plain function is to do one. Never
// throws.
uint64_t bulk_string(Cpu& c, const Decoded& d, uint64_t max);

}  // namespace dejavm::soft
