// What the tests of random instructions leave out, and how they ask the host.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "vmm/soft/decode.h"

namespace dejavm::soft {

// Not a matter of one instruction's computation, not allowed to users, different by design (identification, time), or
// of the other CPU model (extended_test).
inline bool is_left_out(Op op) {
  switch (op) {
    case Op::kInvalid:
    case Op::k_jcc:
    case Op::k_jmp:
    case Op::k_call:
    case Op::k_ret:
    case Op::k_jrcxz:
    case Op::k_loop:
    case Op::k_loope:
    case Op::k_loopne:
    case Op::k_in:
    case Op::k_out:
    case Op::k_ins:
    case Op::k_outs:
    case Op::k_pushf:
    case Op::k_popf:
    // Approximations and transcendentals are ours, with tests of their own; so is the state in memory.
    case Op::k_rcpps:
    case Op::k_rcpss:
    case Op::k_rsqrtps:
    case Op::k_rsqrtss:
    case Op::k_f2xm1:
    case Op::k_fyl2x:
    case Op::k_fyl2xp1:
    case Op::k_fptan:
    case Op::k_fpatan:
    case Op::k_fsin:
    case Op::k_fcos:
    case Op::k_fsincos:
    case Op::k_fprem:
    case Op::k_fprem1:
    case Op::k_fxsave:
    case Op::k_xsave:
    case Op::k_xsaveopt:
    case Op::k_xrstor:
    case Op::k_fnsave:
    case Op::k_fnstenv:
    case Op::k_frstor:
    case Op::k_fldenv:
    case Op::k_fxrstor: return true;
    default: return op_group(op) == OpGroup::kSys || is_extended(op);
  }
}

inline uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// A host that is itself a virtual machine has been seen to answer one case in 10 million otherwise than it does when
// asked again (SIGILL for a misaligned ANDPS). The same question has one answer: a difference counts when the host
// repeats it. `ask` returns the difference, or an empty string; so does this.
template <class Ask>
std::string repeated_difference(Ask ask) {
  std::string what = ask();
  if (what.empty()) return what;
  const std::string first = what;
  for (unsigned retry = 0; retry < 3 && !what.empty(); ++retry) what = ask();
  if (what.empty()) std::printf("the host did not repeat its answer:\n%s", first.c_str());
  return what;
}

}  // namespace dejavm::soft
