// The deterministic engine's vCPU: hot state for the interpreter, the rest of VcpuState, and the services that the
// plain functions (exec_*) are written with: registers, flags, memory through segmentation and paging, faults.
//
// Rules for a plain function `void exec_<op>(Cpu& c, const Decoded& d)`:
// - It sees c.rip at its own instruction and c.next_rip after it; to jump it calls c.branch(target).
// - It completes or it throws GuestFault having changed nothing that a guest can see (REP string instructions:
//   one call is one iteration, see exec_string.cc). So: read and check first, commit last.
// - Retired counting, interrupt checks and single-step traps are the run loop's.
// - GuestFault never leaves vmm/soft.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "devices/core/result.h"
#include "vmm/engine.h"
#include "vmm/soft/decode.h"
#include "vmm/state/config.h"
#include "vmm/state/cpu_model.h"
#include "vmm/state/memory.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm::soft {

enum Vector : uint8_t {
  kDE = 0,
  kDB = 1,
  kNMI = 2,
  kBP = 3,
  kOF = 4,
  kBR = 5,
  kUD = 6,
  kNM = 7,
  kDF = 8,
  kTS = 10,
  kNP = 11,
  kSS_ = 12,
  kGP = 13,
  kPF = 14,
  kMF = 16,
  kAC = 17,
  kMC = 18,
  kXM = 19
};

// A fault of the guest's: restartable, c.rip stays at the instruction.
struct GuestFault {
  uint8_t vector;
  bool has_error;
  uint32_t error;
};

// An MMIO access in the middle of a decoded block: nothing has happened; the run loop executes this instruction by
// itself and looks at RunControl after it.
struct LeaveBlock {};

// What is delivered through the IDT.
enum class EventType : uint8_t {
  kExternal,
  kNmi,
  kException,
  kSoftware /* INT n */,
  kSoftwareException /* INT3, INTO */,
  kIcebp
};
struct Event {
  EventType type;
  uint8_t vector;
  bool has_error = false;
  uint32_t error = 0;
};

// RFLAGS bits.
enum Flag : uint64_t {
  kCF = 1 << 0,
  kPF_ = 1 << 2,
  kAF = 1 << 4,
  kZF = 1 << 6,
  kSF = 1 << 7,
  kTF = 1 << 8,
  kIF = 1 << 9,
  kDF_ = 1 << 10,
  kOF_ = 1 << 11,
  kIOPL = 3 << 12,
  kNT = 1 << 14,
  kRF = 1 << 16,
  kVM = 1 << 17,
  kAC_ = 1 << 18,
  kVIF = 1 << 19,
  kVIP = 1 << 20,
  kID = 1 << 21
};
inline constexpr uint64_t kArithFlags = kCF | kPF_ | kAF | kZF | kSF | kOF_;

inline constexpr uint64_t kCr0PE = 1, kCr0MP = 2, kCr0EM = 4, kCr0TS = 8, kCr0ET = 16, kCr0NE = 32, kCr0WP = 1 << 16,
                          kCr0AM = 1 << 18, kCr0NW = 1 << 29, kCr0CD = 1 << 30, kCr0PG = uint64_t{1} << 31;
inline constexpr uint64_t kCr4VME = 1, kCr4PVI = 2, kCr4TSD = 4, kCr4DE = 8, kCr4PSE = 16, kCr4PAE = 32, kCr4MCE = 64,
                          kCr4PGE = 128, kCr4PCE = 256, kCr4OSFXSR = 512, kCr4OSXMMEXCPT = 1024, kCr4UMIP = 2048,
                          kCr4FSGSBASE = 1 << 16, kCr4PCIDE = 1 << 17, kCr4OSXSAVE = 1 << 18, kCr4SMEP = 1 << 20,
                          kCr4SMAP = 1 << 21;
inline constexpr uint64_t kEferSCE = 1, kEferLME = 1 << 8, kEferLMA = 1 << 10, kEferNXE = 1 << 11;

// DR6: which breakpoints matched, and the other causes of #DB.
inline constexpr uint64_t kDr6Matches = 0xf, kDr6BD = 1 << 13, kDr6BS = 1 << 14, kDr6BT = 1 << 15;

enum class Access : uint8_t { kRead, kWrite, kExecute };
// Whose rights a linear access has. kCurrent: CPL's. kSystem: implicit supervisor access (descriptor tables, TSS, IDT),
// whatever CPL and EFLAGS.AC say.
enum class Rights : uint8_t { kCurrent, kSystem };

struct Mmu;
struct Insn;
struct FastEntry;
struct BlockCache;
struct JumpEntry;
struct FastFetch;
class Translator;

// Extra slots of the register array, so that every 64-bit effective address is r[base] + (r[index] << scale) + disp.
enum Slot : uint8_t {
  kSlotZero = 16,
  kSlotRip = 17,
  kSlotFsBase = 18,
  kSlotGsBase = 19,
  kSlotTemp = 20,
  kSlotCount = 24
};

struct alignas(64) Cpu {
  // --- hot ---
  std::array<uint64_t, kSlotCount> r{};
  uint16_t arith = 0;  // the six arithmetic flags as LAHF and SETO give them: SF ZF AF PF CF in bits 15:8, OF in bit 0
  uint8_t cpl = 0;
  CodeMode code_mode = CodeMode::k16;
  uint64_t other_flags = 2;  // RFLAGS without the arithmetic six
  // Translated code (translate/): how many instructions may still begin; left_end - left is the retired count.
  int64_t left = 0;
  FastEntry* fast = nullptr;             // the fast data-TLB of the current rights class
  FastEntry* supervisor_fast = nullptr;  // that of supervisors without EFLAGS.AC; behind it lies the one with
  JumpEntry* jumps = nullptr;            // the jump cache of the current CPL
  const FastFetch* fetches = nullptr;    // the fast fetch TLB of the current CPL
  uint64_t left_end = 0;
  uint64_t rip = 0;  // of the current instruction whenever a plain function runs
  uint64_t next_rip = 0;
  uint64_t retired = 0;  // complete instructions, as of the current one, whenever a plain function runs
  ExitHandler* exits = nullptr;
  RunControl* control = nullptr;
  GuestMemory* memory = nullptr;
  Mmu* mmu = nullptr;
  const CpuModel* model = nullptr;
  DebugPoints* debug = nullptr;
  uint32_t index = 0;  // which vCPU
  bool strict = false;
  bool takes_turns = false;  // one of several
  uint32_t revision = kMachineRevision;
  // Within decoded blocks (blocks.h): false where an MMIO access must leave the block first (it throws LeaveBlock).
  bool mmio_allowed = true;
  const Insn* insn = nullptr;  // the one that its plain function executes
  uint64_t block_base = 0;     // retired count at the start of the running block
  uint64_t limit = 0;          // blocks start only when they end at or before this count
  BlockCache* blocks = nullptr;
  uint64_t fetch_page = 1;           // linear page of the current fetch (1: none; see Mmu) ...
  uint64_t fetch_gpa = 0;            // ... and its physical page
  Translator* translator = nullptr;  // nullptr: off

  // Everything else. s.gpr, s.rip, s.rflags and s.retired are stale while running: the members above are the truth.
  VcpuState s;
  VcpuAvx::State avx;

  // --- registers ---
  uint64_t reg(unsigned n, unsigned size) const { return size == 8 ? r[n] : r[n] & ((uint64_t{1} << (8 * size)) - 1); }
  void set_reg(unsigned n, unsigned size, uint64_t v) {  // 32-bit writes clear the upper half
    if (size == 8) r[n] = v;
    else if (size == 4) r[n] = static_cast<uint32_t>(v);
    else std::memcpy(&r[n], &v, size);
  }
  uint64_t reg_high(unsigned n) const { return (r[n] >> 8) & 0xff; }  // AH, CH, DH, BH for n = 0-3
  void set_reg_high(unsigned n, uint64_t v) { r[n] = (r[n] & ~uint64_t{0xff00}) | ((v & 0xff) << 8); }

  // --- flags ---
  static constexpr uint16_t arith_of(uint64_t f) { return static_cast<uint16_t>(((f & 0xd5) << 8) | ((f >> 11) & 1)); }
  uint64_t arith_flags() const { return ((arith >> 8) & 0xd5u) | (uint64_t{arith & 1u} << 11); }
  uint64_t rflags() const { return other_flags | arith_flags(); }
  // Stores all bits given; the caller has applied privilege rules. Bit 1 is forced. Changes of TF, IF, VM, AC
  // take effect at the end of the instruction (such operations end a block).
  void set_rflags(uint64_t f) {
    arith = arith_of(f);
    other_flags = (f & ~kArithFlags & 0x3f7fd5) | 2;
  }
  void set_arith(uint64_t mask, uint64_t value) { arith = arith_of((arith_flags() & ~mask) | (value & mask)); }
  bool cf() const { return (arith >> 8) & 1; }
  bool flag(uint64_t f) const { return (rflags() & f) != 0; }
  bool condition(unsigned cc) const;  // 0-15 as in Jcc

  // Whether the machine does what machines do since this revision (MachineConfig::revision).
  bool since(uint32_t first) const { return revision >= first; }

  // --- modes ---
  bool protected_mode() const { return s.cr0 & kCr0PE; }
  bool v86() const { return other_flags & kVM; }
  bool real_or_v86() const { return !protected_mode() || v86(); }
  bool long_mode() const { return s.efer & kEferLMA; }
  uint64_t physical_mask() const { return (uint64_t{1} << model->physical_address_bits) - 1; }
  bool long64() const { return code_mode == CodeMode::k64; }
  unsigned iopl() const { return (other_flags >> 12) & 3; }
  // Call after changing CR0, CR4, EFER, CS, cpl or EFLAGS.VM: recomputes code_mode and the rights of the fast memory
  // path. (EFLAGS.AC is looked at before each block.)
  void update_mode();
  unsigned stack_size() const {  // bytes of SP used: 8, 4 or 2
    return long64() ? 8 : (s.segment[kSs].attributes & kSegDb) ? 4 : 2;
  }
  static bool canonical(uint64_t a) { return static_cast<uint64_t>(static_cast<int64_t>(a << 16) >> 16) == a; }

  // Loads a descriptor cache as is, and the FS/GS base slots with it. No checks.
  void set_segment(unsigned seg, const SegmentState& v) {
    s.segment[seg] = v;
    if (seg == kFs) r[kSlotFsBase] = v.base;
    if (seg == kGs) r[kSlotGsBase] = v.base;
  }
  void set_segment_base(unsigned seg, uint64_t base) {
    s.segment[seg].base = base;
    if (seg == kFs) r[kSlotFsBase] = base;
    if (seg == kGs) r[kSlotGsBase] = base;
  }

  // --- addresses and memory ---
  uint64_t effective_address(const Decoded& d) const;  // offset within the segment, wrapped to addr_size
  // Segmentation: checks type, limit or canonicality for `len` bytes at seg:offset; throws #GP(0) or #SS(0) (or #SS/#GP
  // for null segments); returns the linear address (32 bits outside 64-bit mode).
  uint64_t linear(unsigned seg, uint64_t offset, unsigned len, Access access) const;
  // The same for 16 or 32 bytes that must be aligned, else #GP(0): before limits and canonicality, as on AMD.
  uint64_t aligned_linear(unsigned seg, uint64_t offset, unsigned len, Access access) const;

  // Any length up to 4096 at a linear address; may cross pages; all pages are checked before the first byte moves.
  // Handles MMIO (one exit per access of up to 8 bytes within a page, larger ones upwards in 8-byte pieces).
  void read_linear(uint64_t linear, void* to, unsigned len, Rights rights = Rights::kCurrent);
  void write_linear(uint64_t linear, const void* from, unsigned len, Rights rights = Rights::kCurrent);
  // Faults now if a write of `len` bytes there would fault; sets A and D as the write would. For read-modify-write
  // (x86 reports them as writes) and for instructions that store several pieces.
  void probe_write(uint64_t linear, unsigned len, Rights rights = Rights::kCurrent);

  template <class T>
  T load(unsigned seg, uint64_t offset) {
    T v;
    read_linear(linear(seg, offset, sizeof(T), Access::kRead), &v, sizeof v);
    return v;
  }
  template <class T>
  void store(unsigned seg, uint64_t offset, T v) {
    write_linear(linear(seg, offset, sizeof(T), Access::kWrite), &v, sizeof v);
  }
  template <class T>
  T load_system(uint64_t linear_address) {
    T v;
    read_linear(linear_address, &v, sizeof v, Rights::kSystem);
    return v;
  }
  template <class T>
  void store_system(uint64_t linear_address, T v) {
    write_linear(linear_address, &v, sizeof v, Rights::kSystem);
  }
  uint64_t load_sized(unsigned seg, uint64_t offset, unsigned size);  // 1, 2, 4 or 8, zero-extended
  void store_sized(unsigned seg, uint64_t offset, unsigned size, uint64_t value);

  // Operand k of d, of 1, 2, 4 or 8 bytes: general register, immediate (truncated to its size) or memory.
  uint64_t read_operand(const Decoded& d, unsigned k);
  void write_operand(const Decoded& d, unsigned k, uint64_t value);
  // Reads an operand that will be written by the same instruction: the memory access is checked as a write.
  uint64_t read_operand_for_update(const Decoded& d, unsigned k);

  // Stack, by stack_size(): the value goes at the new SP; SP changes only when the access succeeded.
  void push(unsigned size, uint64_t value);
  uint64_t pop(unsigned size);

  // What a #DB that is about to be raised tells in DR6: the breakpoints that match, and no others; other causes are
  // added to those that are there (AMD APM vol. 2, 13.1.1.3).
  void report_debug(uint64_t causes) {
    if (since(2)) s.dr6 &= ~kDr6Matches;
    s.dr6 |= causes;
  }

  // --- control ---
  // Near jump to an offset in CS, already truncated to the operand size: #GP(0) beyond CS.limit or non-canonical.
  void branch(uint64_t target);
  Position position() const { return {index, Retired{retired}}; }
  uint64_t now_ns() const { return retired + control->time_base_ns; }
  uint64_t tsc() const { return now_ns() + s.tsc_adjust; }
  uint64_t single_steps = 0;    // instructions run outside of blocks; of no consequence to the guest
  uint64_t unlogged_reads = 0;  // of the TSC and of random numbers; of no consequence to the guest

  [[noreturn]] static void fault(uint8_t vector) { throw GuestFault{vector, false, 0}; }
  [[noreturn]] static void fault(uint8_t vector, uint32_t error) { throw GuestFault{vector, true, error}; }
  [[noreturn]] void page_fault(uint64_t linear_address, uint32_t error) {
    s.cr2 = linear_address;
    fault(kPF, error);
  }

  // --- TLB (mmu.cc). Any of these, and any mode change, also forgets the current fetch page. ---
  void tlb_flush_all();  // globals too
  void tlb_flush_nonglobal();
  void tlb_invlpg(uint64_t linear_address);
};

// --- implemented beside this header ---

using ExecFn = void (*)(Cpu&, const Decoded&);
#define DEJAVM_OP(name, group) void exec_##name(Cpu&, const Decoded&);
#include "vmm/soft/ops.def"
#undef DEJAVM_OP
ExecFn exec_function(Op);  // ops.cc
// What a decoded instruction is to this vCPU: to a CPU model that lacks it #UD, or what its bytes meant before; PAUSE,
// where vCPUs take turns, may end one.
inline void fit_to_cpu(const Cpu& c, Decoded& d) {
  if (d.op == Op::k_pause && c.takes_turns) d.op = Op::k_pause_turn;
  if (!is_extended(d.op) || c.model->extended) return;
  d.op = d.op == Op::k_tzcnt ? Op::k_bsf : d.op == Op::k_lzcnt ? Op::k_bsr : Op::kInvalid;
}

// Event delivery (deliver.cc): real mode IVT, protected and long mode IDT, with privilege changes, IST, error codes,
// NMI blocking, double-fault combination. `return_rip` is what is pushed. On return the vCPU is at the handler's first
// instruction (c.rip). False: triple fault, the vCPU is in shutdown. Throws nothing.
bool deliver_event(Cpu& c, const Event& e, uint64_t return_rip);

// Segmentation and far control (segment.cc). Protected-mode rules of MOV/POP to DS, ES, FS, GS, SS.
void load_segment(Cpu& c, unsigned seg, uint16_t selector);

// MSRs held by VcpuState (msr.cc); others go to the board through c.exits.
uint64_t read_msr(Cpu& c, uint32_t index);               // throws #GP(0)
void write_msr(Cpu& c, uint32_t index, uint64_t value);  // throws #GP(0)

// Throw #UD, #NM or #MF as CR0.EM/TS/NE, CR4.OSFXSR and a pending x87 exception demand (x87/access.cc).
void check_x87(Cpu& c, bool waiting);  // waiting: also raises a pending unmasked x87 exception
void check_mmx(Cpu& c);
void check_sse(Cpu& c);

}  // namespace dejavm::soft
