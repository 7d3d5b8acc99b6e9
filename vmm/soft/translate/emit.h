// The code of one block, instruction by instruction, and the routines that all code shares.
//
// Host registers: RBP holds &Cpu + kBias; RAX, RCX and RDX are scratch; eleven of the guest's registers live in the
// others (kPinned), the rest in Cpu::r. Guest arithmetic flags that anything may still look at are in Cpu::arith
// whenever an instruction of the guest that accesses memory, or calls a plain function, or ends the block, begins;
// between two others they may be in the host's flags alone.
#pragma once

#include <vector>

#include <fcntl.h>  // before Xbyak, whose macros it would meet

#include <xbyak/xbyak.h>
#include <xbyak/xbyak_util.h>

#include "vmm/soft/mmu.h"
#include "vmm/soft/translate/block_context.h"

namespace dejavm::soft {

// Addresses of C++ that generated code calls, in Cpu's neighbourhood.
struct Helpers {
  // Executes the instruction `site` (code index * 64 + number) alone. kGoOn: after it; kLeave; or the code to go on
  // with.
  uint64_t (*slow)(Cpu*, uint32_t site);
  // Where code for `rip` is; nullptr: leave. link: the jump to patch; kNoLink; or kIndirect, to be entered in the jump
  // cache.
  const void* (*go)(Cpu*, uint64_t rip, uint32_t link);
};
inline constexpr uint64_t kGoOn = 0, kLeave = 1;
inline constexpr uint32_t kNoLink = ~uint32_t{0}, kIndirect = kNoLink - 1;
inline constexpr unsigned kSiteInsns = 64;
// Attributes of a present, writable, expand-up data segment.
inline constexpr uint16_t kDataMask = 0x9e, kWritableData = 0x92;

inline bool is_gpr(const Operand& o) { return o.kind == OperandKind::kGpr; }
inline bool is_mem(const Operand& o) { return o.kind == OperandKind::kMem; }
inline bool is_imm(const Operand& o) { return o.kind == OperandKind::kImm; }

class Emitter : public Xbyak::CodeGenerator {
 public:
  Emitter(uint8_t* memory, size_t bytes, const Helpers& helpers) : CodeGenerator(bytes, memory), helpers_(helpers) {}
  void shared_routines();
  size_t enter_routine() const { return enter_; }
  uint64_t helper_calls() const { return helper_calls_; }
  // Code at the end of what there is. Returns the offset of its entry, and in `dead` of what the entry becomes when it
  // dies.
  uint32_t block(const Work&, std::vector<LinkSite>& links, uint32_t& dead);
  void patch_serial(uint32_t at, uint64_t serial) { rewrite(at, serial, 8); }
  void patch_jump(uint32_t displacement_at, uint32_t target) {
    const auto rel = static_cast<int32_t>(target - (displacement_at + 4));
    rewrite(displacement_at, static_cast<uint64_t>(static_cast<uint32_t>(rel)), 4);
  }

 private:
  void spill();
  void reload();
  void by_helper(unsigned k);
  uint64_t helper_calls_ = 0;  // instructions that have no code of their own, of all blocks so far

  // One instruction. kNo: it has no code, kEnds: the block ends there.
  enum class Done : uint8_t { kNo, kYes, kEnds };
  Done insn(unsigned k);
  Done by_operation(const Decoded& d);
  Done move(const Decoded& d);
  Done extend(const Decoded& d);
  Done load_address(const Decoded& d);
  void alu_emit(Op op, const Xbyak::Operand& to, const Xbyak::Operand& from);
  void alu_emit(Op op, const Xbyak::Operand& to, uint32_t imm);
  static HostFlags alu_flags(Op op);
  void copy_guest(const Xbyak::Reg64& to, unsigned guest);
  Done high_byte(const Decoded& d);  // of AH, CH, DH, BH
  Done alu(const Decoded& d);
  Done unary(const Decoded& d);
  Done shift(const Decoded& d);
  Done multiply(const Decoded& d);
  Done conditional(const Decoded& d);  // setcc, cmovcc
  Done exchange(const Decoded& d);
  Done stack(const Decoded& d);
  void stack_address(int below);
  unsigned stack_run(unsigned k);  // PUSH or POP of several registers with one probe; how many, 0: none
  Done control(const Decoded& d);
  Done bit_test(const Decoded& d);  // bits.cc
  Done bit_scan(const Decoded& d);
  Done exchange_memory(const Decoded& d);
  Done divide(const Decoded& d);
  void put_flag(unsigned bit);
  Done system(const Decoded& d);  // system.cc
  Done read_clock(const Decoded& d);
  Done double_shift(const Decoded& d);
  void require_cpl0();
  Done repeat(const Decoded& d);  // string.cc
  // emit.cc: the parts of a block.
  Xbyak::Address left();
  void go_behind_the_block();
  void body();
  void stub(Stub&);
  void slow_stub(Stub&);
  void link_stub(const Stub&);
  void miss_stub(const Stub&);
  Done vector(const Decoded& d);  // vector.cc
  // system.cc, control.cc and ops.cc: the parts of system(), control() and shift().
  Done set_access_flag(bool set);
  Done swap_gs();
  Done move_from_segment(const Decoded&);
  Done store_x87_control(const Decoded&);
  Done push_flags(const Decoded&);
  Done branch(const Decoded&, uint64_t target);
  Done near_return(const Decoded&);
  void indirect_target(const Decoded&, bool is_call);
  void push_return_address(uint64_t next);
  void shift_by_immediate(Op, const Xbyak::Reg& to, unsigned count);
  void shift_by_cl(Op, const Xbyak::Reg& to, unsigned size, Xbyak::Label& none);
  void rotate_flags(Op, unsigned reg, unsigned size);
  void shift_flags(Op, const Xbyak::Reg& to, unsigned size, bool may_be_by_one);
  // vector.cc: by kind of operation.
  void check_sse_is_on();
  void vector_memory(const Decoded&, unsigned size, bool aligned);
  Xbyak::Address guest_mxcsr();
  void check_float_controls();
  void check_float_raised();
  void load_second_vector(const Decoded&, unsigned size);
  Done vector_float(const Decoded&);
  Done vector_to_float(const Decoded&);
  Done vector_from_float(const Decoded&);
  Done vector_compare(const Decoded&);
  Done vector_binary(const Decoded&, bool reads_first, bool immediate);
  Done vector_shift(const Decoded&);
  Done vector_move16(const Decoded&, bool aligned);
  Done vector_move_number(const Decoded&, unsigned size);
  Done vector_move_scalar(const Decoded&, unsigned size);
  Done vector_move_half(const Decoded&, unsigned first_byte);
  Done vector_mask(const Decoded&);
  void same_opcode(const Decoded& d, uint8_t modrm, bool imm);
  Xbyak::RegExp xmm_at(unsigned n, unsigned offset = 0) const;

  // --- operands (operands.cc) ---
  unsigned width() const { return block_->work.mode32 ? 4 : 8; }  // of addresses, the stack and near branches
  uint64_t in_code(uint64_t target) const { return block_->work.mode32 ? target & 0xffffffff : target; }
  static bool pinned(unsigned guest);
  static Xbyak::Reg host(unsigned guest, unsigned size);     // pinned only
  static Xbyak::Reg scratch(unsigned n, unsigned size);      // 0: rax, 1: rcx, 2: rdx
  Xbyak::Address slot(unsigned guest, unsigned size) const;  // in Cpu::r
  static Xbyak::Address at(const Xbyak::Reg64& base, unsigned size);
  Xbyak::Reg in_register(unsigned guest, unsigned size, unsigned scratch_number);  // itself, or loaded
  void write_guest(unsigned guest, unsigned size, const Xbyak::Reg& value);        // 32 bits clear the upper half
  bool has_address(const Decoded& d) const;
  void effective_address(const Decoded& d, bool with_segment);  // to rax; clobbers rcx and flags
  void add_segment_base(const Decoded& d);
  void effective_address_to(const Xbyak::Reg& to, const Decoded& d);  // lea
  // Host address of the access at rax to rax, or the plain function instead of the whole instruction. Clobbers rcx,
  // rdx, flags.
  void probe(bool write, unsigned size);
  // The FastEntry of the access from `first` to the byte at rdx to rcx. Clobbers rdx, flags.
  void probe_to(const Xbyak::Reg64& first, bool write);
  void add_rsp(int n);  // flags stay

  // --- flags ---
  Xbyak::Address arith() const;                 // Cpu::arith
  Xbyak::Address arith_byte(unsigned n) const;  // 0: OF; 1: the others, as LAHF gives them
  bool wanted() const { return block_->insn.flags_wanted != Wanted::kNo; }
  void save_flags(HostFlags);
  void store_flags(HostFlags);                     // from the host's; clobbers ah
  void load_carry();                               // Cpu::arith's CF to the host's; clobbers ecx
  void load_flags();                               // all; clobbers eax
  unsigned condition(unsigned cc, bool keep_rax);  // leaves the host's flags so that this condition code holds or not
  void find_wanted_flags();
  Stub& new_stub(Stub::Kind kind, uint32_t value, uint64_t target) {
    block_->stubs.emplace_back();
    Stub& s = block_->stubs.back();
    s.kind = kind;
    s.value = value;
    s.target = target;
    return s;
  }
  Stub& slow_stub() {  // the instruction's: its plain function instead
    if (block_->insn.slow_stub == nullptr)
      block_->insn.slow_stub = &new_stub(Stub::kSlow, block_->work.code * kSiteInsns + block_->insn.number, 0);
    return *block_->insn.slow_stub;
  }
  void jump_indirect(int undo_rsp);  // to rax
  void look_up_jump(Xbyak::Label& miss);
  void go_across(uint64_t target);
  void jump_if(unsigned cc, Xbyak::Label& to);
  void set_if(unsigned cc, const Xbyak::Operand& to);
  void move_if(unsigned cc, const Xbyak::Reg& to, const Xbyak::Reg& from);
  void leave_to(uint64_t target);
  void go_direct(uint64_t target);
  Xbyak::Address cpu(size_t offset_in_cpu, unsigned size = 0) const;  // 0: as the register beside it

  const Helpers& helpers_;
  const bool has_bmi2_ = Xbyak::util::Cpu().has(Xbyak::util::Cpu::tBMI2);
  size_t enter_ = 0;
  Xbyak::Label slow_, go_, leave_, exit_;
  BlockContext* block_ = nullptr;  // only while block() runs
};

}  // namespace dejavm::soft
