// The decoder: instruction bytes to Decoded, by tables. Source: Intel SDM vol. 2 ch. 2 and app. A; AMD APM vol. 3 for
// AMD's readings (with 0x66, near branches in 64-bit mode have 16-bit operands and targets; see docs/cpu.md).
// Judged by Capstone and Zydis in tests. Encodings outside all CPU models (EVEX, XOP, 3DNow!, SSE4a, FMA, ...)
// decode to kInvalid with as much length as is known; they raise #UD.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace dejavm::soft {

enum class OpGroup : uint8_t { kInt, kSys, kX87, kSse };

enum class Op : uint16_t {
  kInvalid = 0,  // #UD
#define DEJAVM_OP(name, group) k_##name,
#include "vmm/soft/ops.def"
#undef DEJAVM_OP
  kCount
};
// Of CPU models with `extended` only; see fit_to_cpu.
constexpr bool is_extended(Op op) { return op >= Op::k_adcx; }
std::string_view op_name(Op);
OpGroup op_group(Op);

// The code segment's default sizes and what the bits mean there.
enum class CodeMode : uint8_t { k16, k32, k64 };

enum class OperandKind : uint8_t {
  kNone,
  kGpr,      // reg 0-15, size 1/2/4/8; size 1 without REX: see kGprHigh
  kGprHigh,  // AH, CH, DH, BH: reg 0-3 is the register whose bits 15:8 are meant
  kMem,  // the one memory operand: base/index/scale/disp/seg below; size 0 where the operation defines it (lea, fxsave)
  kImm,  // Decoded::imm, sign- or zero-extended to 64 bits as the operation uses it; size: of the operand it acts on
  kRel,  // imm: signed displacement from the next instruction
  kFar,  // imm: offset, imm2: selector
  kSeg,
  kCr,
  kDr,  // reg
  kSt,  // x87 stack register, reg 0-7 relative to TOP
  kMmx,
  kXmm,  // reg; size: bytes used from it (32: a YMM register)
};

struct Operand {
  OperandKind kind = OperandKind::kNone;
  uint8_t reg = 0;
  uint8_t size = 0;  // bytes
};

inline constexpr uint8_t kNoReg = 0xff;
enum class Rep : uint8_t { kNone, kRep, kRepne };  // F3 and F2 where they act as repeat prefixes or are meaningless

// Operand order is Intel's: destination first. Implicit operands (AL of in/out, CL of shifts, 1 of shifts, ST(0)) are
// listed where Intel's syntax writes them, and only there.
struct Decoded {
  Op op = Op::kInvalid;
  uint8_t len = 0;        // bytes, 1-15
  uint8_t op_size = 0;    // effective operand size in bytes: 2, 4, 8 (1 for byte forms)
  uint8_t addr_size = 0;  // 2, 4, 8
  uint8_t cc = 0;         // condition 0-15 of jcc, setcc, cmovcc
  uint8_t operand_count = 0;
  std::array<Operand, 4> operands{};
  // The memory operand: seg:[base + index << scale + disp], wrapped to addr_size. RIP-relative: base is kNoReg,
  // rip_relative is set and disp is from the end of the instruction.
  uint8_t base = kNoReg, index = kNoReg, scale = 0;
  uint8_t seg =
      3;  // Seg: effective segment (default DS or SS, or the override; ES for string destinations is implicit)
  bool seg_override = false;  // a prefix that has effect here
  bool rip_relative = false;
  bool has_mem = false;
  bool lock = false;  // F0 present and legal here (illegal LOCK decodes to kInvalid)
  Rep rep = Rep::kNone;
  uint8_t rex = 0;  // the REX byte, or 0
  bool has_modrm = false;
  uint8_t modrm = 0;
  uint16_t opcode =
      0;  // last opcode byte, with the map above it: 0x00xx, 0x0fxx as 0x01xx, 0f38 as 0x02xx, 0f3a as 0x03xx
  int64_t disp = 0;
  uint64_t imm = 0;
  uint64_t imm2 = 0;  // enter's level, far selector
  // VEX: an SSE operation in its AVX form is k_vex with that operation as `inner`.
  bool vex = false, vex_256 = false;
  uint8_t vvvv = 0;  // the register that VEX names, or 0
  Op inner = Op::kInvalid;
  std::array<uint8_t, 15> bytes{};
};

enum class DecodeStatus : uint8_t {
  kOk,         // d is complete; d.op may be kInvalid (len then counts the bytes looked at)
  kTruncated,  // more bytes are needed than were given (fewer than 15 were given)
  kTooLong,    // over 15 bytes: #GP(0)
};

// Decodes one instruction from `bytes` (up to 15 are looked at).
DecodeStatus decode(std::span<const uint8_t> bytes, CodeMode mode, Decoded& d);

}  // namespace dejavm::soft
