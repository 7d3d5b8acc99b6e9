// Every instruction form of group kSse with its encoding, as SDM vol. 2 writes it, for execution on the host.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

// What operands are drawn from. kText: small alphabets with zeros, lengths in RAX and RDX.
enum class Data : uint8_t { kBits, kSingle, kDouble, kInteger, kCount, kText, kApproximate };

// encoding: bytes in hexadecimal, "w" for REX.W, "/n" for an opcode extension. operands: "xmm/m64, xmm, imm8";
// the one with a memory alternative, else the second, is ModRM.rm. "m128u" is 16 bytes without alignment rule;
// every other m128 must be aligned.
struct FormText {
  std::string_view name;
  std::string_view encoding;
  std::string_view operands;
  Data data = Data::kBits;
};
std::span<const FormText> form_texts();

enum class Where : uint8_t { kXmm, kMmx, kGpr, kMemory };
struct Form {
  const FormText* text = nullptr;
  bool memory = false;  // this form's rm is memory
  unsigned memory_bytes = 0;
  bool aligned = false;
  bool imm8 = false;
  bool mmx = false;  // an MMX register is an operand
  bool implicit_rdi = false;
  Op op = Op::kInvalid;
  ExecFn exec = nullptr;
  std::vector<uint8_t> bytes;  // without imm8
  bool floating() const { return text->data == Data::kSingle || text->data == Data::kDouble; }
};
// One per text and kind of rm: register, memory.
const std::vector<Form>& forms();

// Ops of group kSse that are not in this table: x87's author has them.
inline constexpr std::array kElsewhere = {Op::k_emms, Op::k_ldmxcsr, Op::k_stmxcsr};

}  // namespace dejavm::soft
