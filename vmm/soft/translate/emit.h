// The code of one block, instruction by instruction, and the routines that all code shares.
//
// Host registers: RBP holds &Cpu + kBias; RAX, RCX and RDX are scratch; eleven of the guest's registers live in the others (kPinned),
// the rest in Cpu::r. Guest arithmetic flags that anything may still look at are in Cpu::arith whenever an instruction of the guest
// that accesses memory, or calls a plain function, or ends the block, begins; between two others they may be in the host's flags alone.
#pragma once

#include <vector>

#include <fcntl.h>  // before Xbyak, whose macros it would meet

#include <xbyak/xbyak.h>

#include "vmm/soft/blocks.h"
#include "vmm/soft/decode.h"
#include "vmm/soft/mmu.h"

namespace dejavm::soft {

// Addresses of C++ that generated code calls, in Cpu's neighbourhood.
struct Helpers {
  // Executes the instruction `site` (code index * 64 + number) alone. Not 0: leave.
  uint32_t (*slow)(Cpu*, uint32_t site);
  // Where code for `rip` is; nullptr: leave. link: the jump to patch; kNoLink; or kIndirect, to be entered in the jump cache.
  const void* (*go)(Cpu*, uint64_t rip, uint32_t link);
};
inline constexpr uint32_t kNoLink = ~uint32_t{0}, kIndirect = kNoLink - 1;
inline constexpr unsigned kSiteInsns = 64;

// A jump to another block's code, and what it does while that has none.
struct LinkSite {
  uint32_t jump = 0;  // offset of the 32-bit displacement
  uint32_t stub = 0;  // offset
};

struct Work {  // what is translated
  uint32_t code = 0;  // index
  uint64_t rip = 0;
  const Insn* insns = nullptr;   // of the guest's first on
  std::vector<Decoded> decoded;
};

class Emitter : public Xbyak::CodeGenerator {
 public:
  Emitter(uint8_t* memory, size_t bytes, const Helpers& helpers) : CodeGenerator(bytes, memory), helpers_(helpers) {}
  void shared_routines();
  size_t enter_routine() const { return enter_; }
  // Code at the end of what there is. Returns the offset of its entry, and in `dead` of what the entry becomes when it dies.
  uint32_t block(const Work&, std::vector<LinkSite>& links, uint32_t& dead);
  void patch_jump(uint32_t displacement_at, uint32_t target) {
    const auto rel = static_cast<int32_t>(target - (displacement_at + 4));
    rewrite(displacement_at, static_cast<uint64_t>(static_cast<uint32_t>(rel)), 4);
  }

 private:
  struct Stub {  // out of line
    Xbyak::Label from, back;
    enum Kind { kSlow, kLink, kFull } kind = kSlow;
    uint32_t value = 0;  // site; link
    uint64_t rip = 0;
  };
  void spill();
  void reload();
  bool insn(unsigned k);  // false: the block ends there
  void by_helper(unsigned k);
  void leave_to(uint64_t rip);
  void go_direct(uint64_t rip);
  Xbyak::Address cpu(size_t offset_in_cpu) const;

  const Helpers& helpers_;
  size_t enter_ = 0;
  Xbyak::Label slow_, go_, leave_, exit_;
  const Work* work_ = nullptr;
  std::vector<LinkSite>* links_ = nullptr;
  std::vector<Stub> stubs_;
};

}  // namespace dejavm::soft
