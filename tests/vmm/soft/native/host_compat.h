// The same for 16- and 32-bit code: the segments that it needs are in the process's local descriptor table, and a far
// jump leads there and back.
#pragma once

#include "tests/vmm/soft/native/host_cpu.h"
#include "vmm/soft/decode.h"

namespace dejavm::soft {

// Linear address of the 16-bit code segment; its instruction is at offset 0x100.
inline constexpr uint64_t kCode16Base = kInsnAddress & ~uint64_t{0xfff};

struct Segments {
  CodeMode code = CodeMode::k32;  // k16 or k32
  bool small_data = false;        // DS and ES are the window only, 8 KiB from kWindow; else all 4 GiB
  bool read_only = false;         // DS may not be written
  bool narrow_stack = false;      // SS is the window, with SP; else all 4 GiB, with ESP
};

// False: this host's kernel has no LDT for its processes (modify_ldt).
bool host_has_compat();
// run_on_host(); `state.rip` and the faulting RIP are offsets in the code segment. Of the general registers the lower
// halves of the first eight count.
int run_on_host(std::span<const uint8_t> insn, UserState& state, const Segments&);

}  // namespace dejavm::soft
