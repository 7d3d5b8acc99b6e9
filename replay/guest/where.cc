#include "replay/guest/where.h"

#include <capstone/capstone.h>

#include <optional>

#include <fmt/format.h>

#include "replay/guest/kallsyms.h"

namespace dejavm {
namespace {

constexpr uint64_t kCr0Pe = 1, kEferLma = 1 << 10, kRflagsVm = 1 << 17;

cs_mode mode_of(const VcpuState& s) {
  const uint16_t cs = s.segment[kCs].attributes;
  if ((s.efer & kEferLma) && (cs & kSegL)) return CS_MODE_64;
  if (!(s.cr0 & kCr0Pe) || (s.rflags & kRflagsVm)) return CS_MODE_16;
  return cs & kSegDb ? CS_MODE_32 : CS_MODE_16;
}

}  // namespace

uint64_t linear_rip(const VcpuState& s) {
  return mode_of(s) == CS_MODE_64 ? s.rip : (s.segment[kCs].base + s.rip) & 0xffffffff;
}

std::vector<uint8_t> instruction_bytes(const GuestMemory& memory, const VcpuState& s) {
  const bool long64 = mode_of(s) == CS_MODE_64;
  std::vector<uint8_t> bytes;
  for (uint64_t i = 0; i < 15; ++i) {
    const uint64_t linear = long64 ? s.rip + i : (s.segment[kCs].base + s.rip + i) & 0xffffffff;
    const auto gpa = translate(memory, s, linear);
    uint8_t byte;
    if (!gpa || !memory.read({*gpa}, &byte, 1)) break;
    bytes.push_back(byte);
  }
  return bytes;
}

std::string disassemble(const VcpuState& s, std::span<const uint8_t> bytes) {
  if (bytes.empty()) return ": not readable";
  std::string text = "(not an instruction)";
  size_t len = bytes.size();
  if (csh handle; cs_open(CS_ARCH_X86, mode_of(s), &handle) == CS_ERR_OK) {
    cs_insn* insn = nullptr;
    if (cs_disasm(handle, bytes.data(), bytes.size(), s.rip, 1, &insn) == 1) {
      len = insn->size;
      text = fmt::format("{} {}", insn->mnemonic, insn->op_str);
      cs_free(insn, 1);
    }
    cs_close(&handle);
  }
  std::string out = ":";
  for (size_t i = 0; i < len; ++i) out += fmt::format(" {:02x}", bytes[i]);
  return out + "  " + text;
}

std::string describe_instruction(Machine& machine, std::optional<uint32_t> which) {
  const uint32_t vcpu = which.value_or(machine.position().vcpu);
  VcpuState s;
  machine.sync_out();
  machine.engine().get_state(vcpu, s);
  std::string out = fmt::format("vCPU {} at instruction {}: rip {:#x}", vcpu, s.retired, s.rip);
  if (mode_of(s) != CS_MODE_64) out += fmt::format(" (linear {:#x})", (s.segment[kCs].base + s.rip) & 0xffffffff);
  return out + disassemble(s, instruction_bytes(machine.memory(), s));
}

std::string describe_place(Machine& machine, std::optional<uint32_t> which) {
  const uint32_t vcpu = which.value_or(machine.position().vcpu);
  std::string out = describe_instruction(machine, vcpu);
  VcpuState s;
  machine.engine().get_state(vcpu, s);
  if (const std::string name = kernel_place(machine.memory(), linear_rip(s)); !name.empty()) out += "\nin " + name;
  return out;
}

}  // namespace dejavm
