// What the specialised handlers of the common 64-bit-mode instructions are made of. A handler contains only the fast
// path: an access that misses the fast TLB, crosses a page, is MMIO or would fault goes to slow(), which decodes the
// instruction anew and executes its plain function. So each operation has one full definition (exec_*), and handlers
// are judged against it (tests/vmm/soft/engine/hot_test.cc). Flags that an instruction leaves undefined follow
// docs/cpu.md.
#pragma once

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/mmu.h"

#define DEJAVM_LIKELY(x) __builtin_expect(!!(x), 1)
#define DEJAVM_UNLIKELY(x) __builtin_expect(!!(x), 0)

// Passing control on: a tail call where the compiler makes it a jump, else back to the trampoline in run.cc.
#if defined(__clang__) && !defined(DEJAVM_TRAMPOLINE)
#define DEJAVM_JUMP(call) [[clang::musttail]] return call
#define DEJAVM_GO(insn) [[clang::musttail]] return (insn)->fn(c, insn)
#elif defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(DEJAVM_TRAMPOLINE)
#define DEJAVM_JUMP(call) return call
#define DEJAVM_GO(insn) return (insn)->fn(c, insn)
#else
#define DEJAVM_JUMP(call) return call
#define DEJAVM_GO(insn) return (insn)
#endif
#define DEJAVM_NEXT() DEJAVM_GO(i + 1)

namespace dejavm::soft {

template <class T>
inline T& reg_at(Cpu& c, unsigned byte_offset) {
  return *reinterpret_cast<T*>(reinterpret_cast<std::byte*>(c.r.data()) + byte_offset);
}

// kIndexed: false where there is no index register, which is most often.
template <bool kIndexed = true>
inline uint64_t address_of(Cpu& c, const Insn* i) {
  uint64_t a = reg_at<uint64_t>(c, i->base) + static_cast<uint64_t>(int64_t{i->disp});
  if constexpr (kIndexed) a += reg_at<uint64_t>(c, i->index) << i->scale;
  return a;
}

// Guest memory as a T at any alignment.
template <class T>
struct [[gnu::packed]] Cell {
  T v;
  operator T() const { return v; }
  void operator=(T value) { v = value; }
};

// Host address for an access of sizeof(T) at linear, or nullptr. The last byte's page is compared, so accesses that
// cross a page miss.
template <class T>
inline const Cell<T>* readable(Cpu& c, uint64_t linear) {
  const FastEntry* e = fast_slot(c.fast, linear);
  if (DEJAVM_LIKELY(((linear + sizeof(T) - 1) & ~uint64_t{0xfff}) == e->read_tag))
    return reinterpret_cast<const Cell<T>*>(linear + e->addend);
  return nullptr;
}
template <class T>
inline Cell<T>* writable(Cpu& c, uint64_t linear) {
  const FastEntry* e = fast_slot(c.fast, linear);
  if (DEJAVM_LIKELY(((linear + sizeof(T) - 1) & ~uint64_t{0xfff}) == e->write_tag))
    return reinterpret_cast<Cell<T>*>(linear + e->addend);
  return nullptr;
}

// A 32-bit result clears the upper half.
template <class T>
inline void put(Cpu& c, unsigned byte_offset, T v) {
  if constexpr (sizeof(T) == 4) reg_at<uint64_t>(c, byte_offset) = v;
  else reg_at<T>(c, byte_offset) = v;
}

// Executes *i by its plain function. Block ends leave to the run loop.
const Insn* slow(Cpu& c, const Insn* i);
// The direct branch or block end *i is complete (block_base counts it): enters the block at disp from the running
// block's rip or leaves to the run loop. Remembers the block in i->imm when it lies in the same page.
const Insn* go_on_and_link(Cpu& c, const Insn* i);

// Enters a linked block, if there is one and the limit allows.
inline const Block* linked(const Cpu& c, const Insn* i) {
  const Block* b = reinterpret_cast<const Block*>(i->imm);
  return DEJAVM_LIKELY(b != nullptr && c.block_base + b->count <= c.limit) ? b : nullptr;
}

// Handlers by operation and form; nullptr when there is none.
// R: register, I: immediate, M: memory, B: memory without an index register.
enum class Form : uint8_t { kRR, kRI, kRM, kMR, kMI, kR, kM, kRRI, kRMI, kRB, kBR, kBI };
Handler alu_handler(Op op, Form form, unsigned size);
// The same operation on registers where no one sees its flags; nullptr when there is none.
Handler quiet_handler(Op op, Form form, unsigned size);
Handler quiet_shift_handler(Op op, Form form, unsigned size);
Handler shift_handler(Op op, Form form,
                      unsigned size);  // kRR: by CL; an immediate count is masked and not 0; mul, imul too
Handler move_handler(Op op, Form form, unsigned size, unsigned source_size);
Handler stack_handler(Op op, Form form);                 // push, pop, leave: 8 bytes
Handler other_handler(Op op, Form form, unsigned size);  // what fits no family
Handler vector_move_handler(bool load, bool aligned);    // 16 bytes between XMM and memory
Handler jcc_handler(unsigned cc);
Handler setcc_handler(unsigned cc, Form form);
Handler cmov_handler(unsigned cc, Form form, unsigned size);
Handler jump_handler(Op op, Form form);                               // jmp and call: kRI is the direct form; ret: kR
Handler fused_handler(Op op, Form form, unsigned size, unsigned cc);  // cmp, test, ... followed by jcc
const Insn* block_end(Cpu& c, const Insn* i);                         // pseudo-instruction after the last

inline constexpr bool kTrampoline =
#if defined(__clang__) && !defined(DEJAVM_TRAMPOLINE)
    false;
#elif defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(DEJAVM_TRAMPOLINE)
    false;
#else
    true;
#endif

}  // namespace dejavm::soft
