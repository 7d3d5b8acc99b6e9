// Translation: blocks that are executed often become host code. It does what the interpreter's handlers do, to the bit:
// the same state, counts, exits and faults; docs/translator.md says how. What it has no code for, and every access that
// misses the fast TLB, goes to the interpreter's plain function for the whole instruction, so coverage is whole and
// faults are exact.
//
// A translated block's first Insn is a pseudo-instruction that counts executions and, once there is code, enters it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/translate/code_memory.h"
#include "vmm/state/engine_choice.h"

namespace dejavm::soft {

// The code of a block, for one virtual address.
struct Code {
  const uint8_t* entry = nullptr;  // nullptr: dead
  uint64_t rip = 0;
  Block* block = nullptr;
  std::vector<uint32_t> links;  // offsets of jumps that lead to the entry
  uint32_t dead = 0;            // offset of what the entry becomes
};

class Translator {
 public:
  static Result<std::unique_ptr<Translator>> create(const TranslateOptions&);
  ~Translator();

  // Makes code for a block at c.r[kSlotRip]. False: there is no room (blocks.full is set).
  bool translate(Cpu& c, Block* block);
  // The block was overwritten, or is to be translated anew.
  void kill(Block* block);
  void clear();
  void set_threshold(unsigned threshold);
  // Since the start: blocks, and instructions in them that were left to their plain functions.
  struct Counts {
    uint64_t blocks = 0, left_to_functions = 0;
  };
  Counts counts() const;

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  Translator();
  std::unique_ptr<Impl> impl_;
};

// The pseudo-instruction at the front of a block: its handlers before and after translation.
const Insn* count_block(Cpu& c, const Insn* i);
const Insn* enter_block(Cpu& c, const Insn* i);

}  // namespace dejavm::soft
