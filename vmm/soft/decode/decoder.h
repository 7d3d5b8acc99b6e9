// The state of decoding one instruction. decode.cc has its prefixes, its opcode and what the whole may be; operands.cc
// its ModRM byte, addresses and operands.
#pragma once

#include <cstring>

#include "vmm/soft/decode.h"
#include "vmm/soft/decode/operand_forms.h"
#include "vmm/soft/decode/table.h"

namespace dejavm::soft {

// The widths that depend on the operand size, by its logarithm.
inline constexpr uint8_t kWidths[table::kWidthEnd - table::kWidthV][4] = {{1, 2, 4, 8},       // kWidthV
                                                                          {1, 2, 4, 4},       // kWidthZ
                                                                          {2, 4, 8, 16},      // kWidthTwice
                                                                          {0, 4, 6, 10},      // kWidthFar
                                                                          {0, 6, 6, 10},      // kWidthTable
                                                                          {0, 14, 28, 28},    // kWidthEnv
                                                                          {0, 94, 108, 108},  // kWidthState
                                                                          {0, 0, 0, 0}};      // kWidthX: by VEX.L

inline constexpr unsigned kSs = 2, kDs = 3;

class Decoder {
 public:
  Decoder(std::span<const uint8_t> bytes, CodeMode mode, Decoded& d)
      : begin_(bytes.data()),
        at_(begin_),
        end_(begin_ + (bytes.size() < 15 ? bytes.size() : 15)),
        mode_(mode),
        is64_(mode == CodeMode::k64),
        d_(d) {}

  DecodeStatus run();

 private:
  // Bytes of the instruction, little-endian; zero with overrun_ set when there are not enough.
  template <class T>
  T take() {
    T value = 0;
    if (static_cast<size_t>(end_ - at_) < sizeof(T)) {
      at_ = end_;
      overrun_ = true;
      return value;
    }
    std::memcpy(&value, at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  uint64_t take_zero(unsigned width);
  int64_t take_signed(unsigned width);

  bool prefixes_and_opcode();
  template <class Index>
  const table::Form& find_form(const Index& index);
  bool begins_vex(uint8_t byte) const;
  bool vex_prefix(uint8_t byte);
  table::Form vex_form_of_opcode();
  void widen_vex(Op op);
  void memory(bool vsib);
  void memory_16();
  void memory_32(bool vsib);
  void operand(table::OperandCode code);
  void register_file_operand(const table::OperandForm& form, Operand& operand);
  bool legal(const table::Form& form) const;
  void register_operand(Operand& o, unsigned number, unsigned width);
  void memory_operand(Operand& o, unsigned width) { o = {OperandKind::kMem, 0, static_cast<uint8_t>(width)}; }
  unsigned width(unsigned w) const {
    return w == table::kWidthX ? 16u << d_.vex_256 : w < table::kWidthV ? w : kWidths[w - table::kWidthV][log_size_];
  }
  unsigned rm() const { return (d_.modrm & 7u) | (d_.rex & 1u) << 3; }
  unsigned reg() const { return (d_.modrm >> 3 & 7u) | (d_.rex & 4u) << 1; }
  DecodeStatus finish(Op op);

  const uint8_t* begin_;
  const uint8_t* at_;
  const uint8_t* end_;
  CodeMode mode_;
  bool is64_;
  bool overrun_ = false;
  uint8_t vvvv_ = 0;  // as encoded, inverted back
  bool vvvv_used_ = false;
  bool p66_ = false, p67_ = false, lock_ = false, valid_ = true;
  uint8_t repeat_ = 0;  // F2, F3 or 0
  uint8_t segment_ = kNoReg;
  uint8_t default_segment_ = kDs;
  uint8_t log_size_ = 0;
  Decoded& d_;
};

}  // namespace dejavm::soft
