// The registers of a vCPU as gdb numbers them: general, segment, x87 and SSE registers as its own features for x86-64
// have them (GDB manual, appendix G.5.13), then the system registers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/state/vcpu_state.h"

namespace dejavm::gdb {

// The target description, XML.
const std::string& target_description();
size_t register_count();
// Little-endian, of the register's own size; empty: there is no such number.
std::vector<uint8_t> read_register(const VcpuState&, size_t number);
std::vector<uint8_t> read_all_registers(const VcpuState&);
// False: no such number, another size, or one that cannot be written.
bool write_register(VcpuState&, size_t number, std::span<const uint8_t> value);
bool write_all_registers(VcpuState&, std::span<const uint8_t> values);

}  // namespace dejavm::gdb
