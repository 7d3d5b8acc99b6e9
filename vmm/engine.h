// The engine contract: what executes guest instructions, and how it meets the board. The deterministic engine
// (vmm/soft) and the KVM engine (vmm/kvm) both implement Engine; neither knows a device, and the board knows neither.
//
// An engine runs one vCPU on the calling thread. Everything by which a guest instruction touches the world outside
// guest memory is an exit, delivered synchronously through ExitHandler in program order; the recorder, the verifier
// and the statistics are decorators of that interface. What is not an exit: RAM, RDTSC (from RunControl.time_base),
// RDRAND (from the vCPU's state), and MSRs that VcpuState holds.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "devices/core/types.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

// A moment of the machine, and the vCPU that acted in it. `retired` orders all that happens in a machine: it counts the
// instructions that all vCPUs together have completed, so an exit made by an instruction carries the count before that
// instruction (within a REP: before that iteration), and exits at one count come from one vCPU, in program order.
struct Position {
  uint32_t vcpu = 0;
  Retired retired;
  bool operator==(const Position&) const = default;
};

struct CpuidResult {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  bool operator==(const CpuidResult&) const = default;
};

struct Registers {
  std::array<uint64_t, 16> gpr{};  // in the order of their numbers: RAX, RCX, ...
  uint64_t rip = 0;
  uint64_t retired = 0;
};

// What decides whether a vCPU can go on.
struct Standing {
  Retired retired;
  Activity activity = Activity::kRunning;
  bool interrupts_on = false;  // RFLAGS.IF
  bool event_waits = false;    // an NMI or #DB that wakes it, in its own state
};

// Who knows of the other vCPUs, where vCPUs take turns.
class Turns {
 public:
  virtual ~Turns() = default;
  virtual bool another_can_run(uint32_t vcpu) const = 0;
};

// The machine around an engine whose vCPUs run at once.
class Supervisor {
 public:
  virtual ~Supervisor() = default;
  // After each exit, of one vCPU at a time. False: the machine is off, or about to be reset, and nothing reaches it.
  virtual bool exit_done(Position at) = 0;
  // The devices' next event is due, or was: `until` of each RunControl is the one after it then. False: as exit_done.
  virtual bool time_passes(Position at) = 0;
};

class ExitHandler {
 public:
  virtual ~ExitHandler() = default;
  // size: 1, 2 or 4 for ports; 1-8 for memory, not crossing a page (an engine splits wider accesses upwards).
  virtual uint64_t io_read(Position at, Port port, unsigned size) = 0;
  virtual void io_write(Position at, Port port, unsigned size, uint64_t value) = 0;
  virtual uint64_t mmio_read(Position at, Gpa gpa, unsigned size) = 0;
  virtual void mmio_write(Position at, Gpa gpa, unsigned size, uint64_t value) = 0;
  // MSRs of the board: IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0), x2APIC (0x800-0x8ff), and every index
  // that the engine does not know. False: the instruction takes #GP(0). The engine holds IA32_TSC_ADJUST (0x3b), and
  // tells the board by a write whenever it has changed.
  virtual bool msr_read(Position at, uint32_t index, uint64_t& value) = 0;
  virtual bool msr_write(Position at, uint32_t index, uint64_t value) = 0;
  // CR8 in 64-bit mode: the local APIC's task priority, 0-15.
  virtual uint64_t cr8_read(Position at) = 0;
  virtual void cr8_write(Position at, uint64_t value) = 0;
  // Answer for CPUID; leaf bits that mirror state (OSXSAVE, APIC id, XCR0 sizes) are computed from `cr4` and `xcr0`.
  virtual CpuidResult cpuid(Position at, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) = 0;
  // The INTA cycle: called when RunControl.intr is set and the vCPU takes the interrupt now. Returns the vector,
  // or -1 when the request has vanished (the engine then goes on).
  virtual int acknowledge_interrupt(Position at) = 0;
  // From engines whose positions do not tell where the guest is: the registers at which the interrupt that is
  // acknowledged next goes in, or, with `nmi`, an NMI now.
  virtual void place(Position, const Registers&, bool nmi) { (void)nmi; }
  // From the machine, within an exit or between two instructions: a device has read guest memory, or (not ok) tried to.
  // What it reads a replay of devices alone cannot know otherwise.
  virtual void dma_read(Position, uint16_t requester, Gpa, uint32_t len_bytes, bool ok,
                        std::span<const uint8_t> bytes) {
    (void)requester, (void)len_bytes, (void)ok, (void)bytes;
  }
};

// Shared between the run loop, the board (which may change it inside an exit) and the engine (which looks at it on
// entry and after every exit, before the next instruction).
struct RunControl {
  // The machine's count, from which the vCPU goes on. kForever: from its own, which of one vCPU is the machine's.
  // An engine that has taken it makes it kForever.
  Retired from = kForever;
  Retired until;              // return kLimit with exactly this count; never past it (KVM: as soon after it as can be)
  uint64_t time_base_ns = 0;  // virtual now = retired + time_base_ns (one instruction is one ns)
  bool intr = false;          // the INTR line: level
  bool nmi = false;           // an NMI edge arrived; the engine clears it as it latches it
  bool init = false;          // INIT; the engine returns kInit at the next boundary
  uint8_t cr8 = 0;            // the local APIC's task priority, 0-15, for engines that hold it themselves
  bool stop = false;          // return kStopped at the next instruction boundary
  bool signalled = false;     // of several vCPUs: its local APIC holds an NMI, INIT or STARTUP for it
  // Of several vCPUs: PAUSE is the end of a turn, where another can run: it sets `paused` and `stop`.
  const Turns* turns = nullptr;
  bool paused = false;
  uint64_t break_rip = kNoBreak;  // return kBreak before an instruction at this RIP (deterministic engine)
  static constexpr uint64_t kNoBreak = uint64_t{1} << 62;  // not canonical
};

// What a debugger waits for. The guest and its memory see nothing of it.
struct DebugPoints {
  struct Data {
    uint64_t start = 0, len_bytes = 0;  // linear addresses
    bool read = false, write = false;
  };
  enum class Kind : uint8_t { kCode, kRead, kWrite };
  struct Hit {
    Kind kind = Kind::kCode;
    uint64_t address = 0;  // of the instruction, or the first byte accessed that is watched
    Retired at;            // of the instruction that accesses it, or stands there
  };
  // One that was watched for.
  struct Access {
    bool write = false;
    unsigned len_bytes = 0;
    uint64_t linear = 0;
    uint64_t gpa = 0;  // of the first byte
    Retired at;
  };
  std::vector<uint64_t> code;  // linear addresses; the stop is before the instruction there is executed
  std::vector<Data> data;      // the stop is after the instruction, or the delivery of the event, that accesses it
  // Of an instruction at this address and count the debugger knows already.
  uint64_t known_address = 0;
  Retired known_at = kForever;
  // Before each instruction, too. Passing: at some of them, the begin of each run among those; they do not count.
  bool every = false;
  // Hits are not stops: the latest is kept in `last`. The run stops, without one, where it stands at what is known.
  bool passing = false;
  std::optional<Hit> hit;  // set with kBreak; to be cleared before the next run
  std::optional<Hit> last;
  uint64_t passed = 0;  // hits, of code
  // Passing: all accesses that are hits go here, too, in their order.
  std::vector<Access>* accesses = nullptr;
};

enum class StopReason : uint8_t {
  kLimit,          // `until` reached
  kStopped,        // RunControl.stop
  kHalted,         // HLT (complete, counted) with nothing deliverable; VcpuState.activity is kHalted
  kShutdown,       // triple fault; VcpuState.activity is kShutdown
  kInit,           // INIT received
  kBreak,          // RunControl.break_rip reached, or DebugPoints.hit; passing: the known place
  kUnimplemented,  // --strict: an instruction outside the engine; not executed. detail() tells
  kError,          // the engine cannot go on (a KVM error). detail() tells
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string_view name() const = 0;
  // False: `retired` is time, which also passes while the guest is left and entered.
  virtual bool counts() const { return true; }

  virtual void set_state(uint32_t vcpu, const VcpuState&) = 0;
  virtual void get_state(uint32_t vcpu, VcpuState&) const = 0;
  // The part of it that is cheap to ask for often.
  virtual Registers registers(uint32_t vcpu) const {
    VcpuState s;
    get_state(vcpu, s);
    return {s.gpr, s.rip, s.retired};
  }

  virtual Standing standing(uint32_t vcpu) const {
    VcpuState s;
    get_state(vcpu, s);
    return standing_of(s);
  }
  static Standing standing_of(const VcpuState& s) {
    constexpr uint64_t kFlagIf = 1 << 9;
    return {{s.retired}, s.activity, (s.rflags & kFlagIf) != 0, s.pending_debug || (s.nmi_pending && !s.nmi_blocked)};
  }

  // Runs until a StopReason holds. On entry with an interrupt deliverable it is taken before any instruction. A
  // vCPU that is halted stays so (kHalted at once) unless an interrupt or NMI wakes it. Guest faults are handled
  // inside.
  virtual StopReason run(uint32_t vcpu, RunControl& control, ExitHandler& exits) = 0;
  // Of an engine whose vCPUs run at once, each on a thread of its own; run() is not called then.
  virtual bool runs_together() const { return false; }
  struct Together {
    std::span<RunControl> controls;  // one per vCPU, `from` and `until` the same in all
    Retired until;                   // the run ends as soon as can be after it; RunControl's is the next event's
    ExitHandler& exits;              // never two at a time, at counts that ascend
    Supervisor& supervisor;
    uint32_t ended_by = 0;  // set to the vCPU for which the reason holds
  };
  // Runs all until a StopReason holds for one of them; kHalted: until it holds for all. They then stand still between
  // two instructions, at one count.
  virtual StopReason run_together(Together&) { return StopReason::kError; }
  // Human-readable cause of kUnimplemented or kError, with address, bytes and disassembly where there are any.
  virtual std::string detail() const { return {}; }

  // An NMI has come for a vCPU of several; it takes it when it runs next.
  virtual void post_nmi(uint32_t vcpu) {
    VcpuState s;
    get_state(vcpu, s);
    s.nmi_pending = true;
    set_state(vcpu, s);
  }

  // set_state of a vCPU that has just been switched on: what else it has is as after RESET too.
  virtual void power_on(uint32_t vcpu, const VcpuState& s) { set_state(vcpu, s); }

  // Until called again, the engine minds these points; to be called again after a change of `code` or `data`. nullptr:
  // none. False: it cannot.
  virtual bool set_debug_points(uint32_t vcpu, DebugPoints* points) {
    (void)vcpu;
    return points == nullptr;
  }

  // What else is worth telling of a run, by name.
  virtual std::vector<std::pair<std::string_view, uint64_t>> counters() const { return {}; }

  // Somebody other than the guest wrote RAM (loader, restore): counts as a store for self-modifying code.
  virtual void memory_written(Gpa start, uint64_t len_bytes) = 0;
  // A device did: the same, and a store for DebugPoints.
  virtual void dma_written(Gpa start, uint64_t len_bytes) { memory_written(start, len_bytes); }
  // GuestMemory's dirty flags were cleared: stores must be noticed anew. Must not change what the guest can see.
  virtual void dirty_flags_cleared() = 0;

  // Marks in GuestMemory's flags what the guest has stored since the last time, for engines that do not do so at once.
  virtual void collect_dirty() {}

  // State that a guest can see and that only this engine has (law 6), e.g. a software TLB. Saved in snapshots after
  // get_state's VcpuState; restored() is called when all chunks and set_state are in place;
  // `memory_told`: memory_written was told of every change of memory besides.
  virtual std::vector<ChunkRef> chunks() { return {}; }
  virtual void restored(bool memory_told = false) { (void)memory_told; }
};

}  // namespace dejavm
