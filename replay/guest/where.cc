#include "replay/guest/where.h"

#include <capstone/capstone.h>

#include <optional>

#include <fmt/format.h>

#include "replay/guest/kallsyms.h"

namespace dejavm {
namespace {

constexpr uint64_t kCr0Pe = 1, kCr0Pg = uint64_t{1} << 31, kCr4Pae = 1 << 5, kCr4La57 = 1 << 12,
                   kEferLma = 1 << 10, kRflagsVm = 1 << 17;
constexpr uint64_t kPresent = 1, kLarge = 1 << 7, kAddressMask = 0x000ffffffffff000;

std::optional<uint64_t> entry(const GuestMemory& m, uint64_t gpa, unsigned size) {
  uint64_t v = 0;
  if (!m.read({gpa}, &v, size) || !(v & kPresent)) return std::nullopt;
  return v;
}

}  // namespace

// SDM vol. 3, chapter 4.
std::optional<uint64_t> translate(const GuestMemory& m, const VcpuState& s, uint64_t gva) {
  if (!(s.cr0 & kCr0Pg)) return gva;
  if (!(s.cr4 & kCr4Pae)) {
    auto e = entry(m, (s.cr3 & 0xfffff000) + (gva >> 22 & 0x3ff) * 4, 4);
    if (!e) return e;
    if (*e & kLarge) return (*e & 0xffc00000) | (*e >> 13 & 0xff) << 32 | (gva & 0x3fffff);
    e = entry(m, (*e & 0xfffff000) + (gva >> 12 & 0x3ff) * 4, 4);
    return e ? std::optional((*e & 0xfffff000) | (gva & 0xfff)) : std::nullopt;
  }
  const bool lma = s.efer & kEferLma;
  uint64_t table = lma ? s.cr3 & kAddressMask : s.cr3 & 0xffffffe0;
  for (unsigned level = lma ? (s.cr4 & kCr4La57 ? 5 : 4) : 3; level > 0; --level) {
    const unsigned shift = 12 + 9 * (level - 1);
    const auto e = entry(m, table + (gva >> shift & 0x1ff) * 8, 8);
    if (!e) return e;
    const uint64_t offset = (uint64_t{1} << shift) - 1;
    if (level == 1 || (level <= 3 && (*e & kLarge) && (lma || level == 2)))
      return (*e & kAddressMask & ~offset) | (gva & offset);
    table = *e & kAddressMask;
  }
  return std::nullopt;
}

namespace {

cs_mode mode_of(const VcpuState& s) {
  const uint16_t cs = s.segment[kCs].attributes;
  if ((s.efer & kEferLma) && (cs & kSegL)) return CS_MODE_64;
  if (!(s.cr0 & kCr0Pe) || (s.rflags & kRflagsVm)) return CS_MODE_16;
  return cs & kSegDb ? CS_MODE_32 : CS_MODE_16;
}

}  // namespace

uint64_t linear_rip(const VcpuState& s) { return mode_of(s) == CS_MODE_64 ? s.rip : (s.segment[kCs].base + s.rip) & 0xffffffff; }

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

std::string describe_instruction(Machine& machine, uint32_t vcpu) {
  VcpuState s;
  machine.sync_out();
  machine.engine().get_state(vcpu, s);
  std::string out = fmt::format("vCPU {} at instruction {}: rip {:#x}", vcpu, s.retired, s.rip);
  if (mode_of(s) != CS_MODE_64) out += fmt::format(" (linear {:#x})", (s.segment[kCs].base + s.rip) & 0xffffffff);
  return out + disassemble(s, instruction_bytes(machine.memory(), s));
}

std::string describe_place(Machine& machine, uint32_t vcpu) {
  std::string out = describe_instruction(machine, vcpu);
  VcpuState s;
  machine.engine().get_state(vcpu, s);
  if (const std::string name = kernel_place(machine.memory(), linear_rip(s)); !name.empty()) out += "\nin " + name;
  return out;
}

}  // namespace dejavm
