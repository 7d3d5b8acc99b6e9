// What a decoder says of one instruction, in one form for ours, Zydis and Capstone, so that they can be compared.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/soft/decode.h"

namespace dejavm::soft {

struct Reading {
  unsigned len = 0;
  std::string mnemonic;
  std::vector<Operand> operands;
  unsigned address_size = 0;
  // Of the memory operand, if there is one.
  uint8_t base = kNoReg, index = kNoReg, scale = 0, seg = 0;
  bool rip_relative = false;
  uint64_t disp = 0;
  std::vector<uint64_t> immediates;               // truncated to the size of their operands
  bool lock = false, rep = false, repne = false;  // rep, repne: of string operations
};

// The first difference, as "field: ours / theirs"; empty when there is none.
std::string difference(const Reading& ours, const Reading& theirs);

// Our reading; the mnemonic in the oracles' spelling.
Reading reading_of(const Decoded& d);

// What an oracle makes of the bytes. `reading` is empty when they are invalid, or valid but outside the CPU model,
// which `outside` names.
struct OracleAnswer {
  std::optional<Reading> reading;
  bool too_long = false, truncated = false;
  std::string outside;
  std::string text;  // disassembly
};
OracleAnswer ask_zydis(std::span<const uint8_t> bytes, CodeMode mode, bool want_text = false);

std::string to_text(const Reading& r);
std::string to_hex(std::span<const uint8_t> bytes);
inline const char* mode_name(CodeMode m) { return m == CodeMode::k16 ? "16" : m == CodeMode::k32 ? "32" : "64"; }

}  // namespace dejavm::soft
