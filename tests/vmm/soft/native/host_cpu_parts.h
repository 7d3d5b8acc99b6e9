// What host_cpu.cc shares with host_compat.cc.
#pragma once

#include "tests/vmm/soft/native/host_cpu.h"

namespace dejavm::soft {

inline constexpr uint64_t kPages = 0x36540000;  // the instruction's page, then the state's

// Puts the instruction, and behind it the bytes that go on from there, where it is executed; `enter` loads the state
// and jumps to it.
int run_prepared(std::span<const uint8_t> insn, std::span<const uint8_t> go_on, UserState& state, void (*enter)());

}  // namespace dejavm::soft
