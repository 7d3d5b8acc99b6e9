// Where a vCPU stands, for people: the next instruction, read and disassembled as a debugger would.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/machine/machine.h"
#include "vmm/state/page_tables.h"

namespace dejavm {

// The linear address of the next instruction.
uint64_t linear_rip(const VcpuState&);
// At RIP, through the page tables without rights or side effects: up to 15, fewer where memory cannot be read.
std::vector<uint8_t> instruction_bytes(const GuestMemory&, const VcpuState&);
// ": bytes  text" of the instruction that they begin with.
std::string disassemble(const VcpuState&, std::span<const uint8_t> bytes);
// "rip 0xffffffff81001234: 0f 31  rdtsc": the instruction that a vCPU is about to execute, by its page tables; of
// several the one that ran last.
std::string describe_instruction(Machine&, std::optional<uint32_t> vcpu = {});
// The same, and the kernel's function that it is in, if the guest's memory tells: for reports, since that takes some
// time.
std::string describe_place(Machine&, std::optional<uint32_t> vcpu = {});

}  // namespace dejavm
