// What the emitter knows of the one block that it is making, and of the instruction of it that is at hand: there from
// the block's first byte of code to its last, and no longer.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include <fcntl.h>  // before Xbyak, whose macros it would meet

#include <xbyak/xbyak.h>

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/decode.h"

namespace dejavm::soft {

// A jump to another block's code, and what it does while that has none. Offsets are in the code memory.
struct LinkSite {
  uint32_t jump = 0;  // of the 32-bit displacement
  uint32_t stub = 0;
  // Of the FastFetch::serial that must be the target's page's, where the target is on another page; 0: it is not.
  uint32_t serial = 0;
  uint32_t patches = 0;
};
inline constexpr uint32_t kMaxPatches = 16;  // of a link to another page, whose mapping comes and goes

// What is translated.
struct Work {
  uint32_t code = 0;  // index
  uint64_t rip = 0;
  bool mode32 = false;
  const Insn* insns = nullptr;  // of the guest's first on
  std::vector<Decoded> decoded;
};

// Which arithmetic flags the host's own hold, of those of the guest. AF is cleared by the last two.
enum class HostFlags : uint8_t {
  kAll,
  kLogic,       // OF and CF are 0
  kNoOverflow,  // OF is 0
};

// Who looks at an instruction's flags.
enum class Wanted : uint8_t {
  kNo,
  kBranches,  // only the conditional branches right behind it and what these lead to: they are stored on the way there
  kYes,
};

// Code out of line.
struct Stub {
  Xbyak::Label from, back;
  enum Kind { kSlow, kLink, kGo, kAcross, kAcrossMiss, kFull, kMiss } kind = kSlow;
  uint32_t value = 0;                     // site; link
  uint64_t target = 0;                    // kLink, kGo, kAcross
  bool flags = false;                     // kSlow: what follows may look at the host's flags
  bool returns = false;                   // kSlow: to `back`
  unsigned repeat = 1;                    // kSlow: so many sites, one after the other
  int undo_rsp = 0;                       // kMiss: what the instruction has added to RSP
  int give_back = 0;                      // kLink, kGo: instructions that were counted and do not run
  std::optional<HostFlags> unsaved = {};  // kLink, kGo
};

struct BlockContext {
  const Work& work;
  std::vector<LinkSite>& links;
  std::deque<Stub> stubs = {};            // their addresses stay
  std::vector<Wanted> wanted_flags = {};  // by instruction
  std::optional<HostFlags> unsaved = {};  // the host's flags, of this kind, are the guest's, and Cpu::arith is not
  bool host_flags = false;                // the host's flags are the guest's
  bool sse_checked = false;               // SSE is on, or the block would have been left
  bool segment_checked[2] = {};           // FS, GS of 32-bit code: writable data of 4 GiB

  struct Instruction {
    unsigned number = 0;
    Stub* slow_stub = nullptr;  // if it has one
    Wanted flags_wanted = Wanted::kNo;
    bool next_reads = false;  // the next instruction looks at the host's flags
  } insn = {};
};

}  // namespace dejavm::soft
