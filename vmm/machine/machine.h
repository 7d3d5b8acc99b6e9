// The machine: memory, vCPUs, board, virtual clock and the run loop over one engine.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vmm/board/board.h"
#include "vmm/board/inputs.h"
#include "vmm/engine.h"
#include "vmm/machine/disk.h"
#include "vmm/state/config.h"
#include "vmm/state/engine_choice.h"
#include "vmm/state/memory.h"

namespace dejavm {

// How a run ended. kUntil: the position asked for was reached, an Input::Kind::kControl was
// taken, or the engine met a debug point; it can go on.
// kReset: the guest asked for a reset, and without firmware there is nothing to start from again.
enum class RunEnd : uint8_t {
  kUntil,
  kPowerOff,
  kDebugExit,
  kUserStop,
  kHaltedForever,
  kTripleFault,
  kUnimplemented,
  kEngineError,
  kReset
};

struct Turn {
  Retired begin;
  uint32_t vcpu = 0;
  uint32_t after = 0;           // whose turn it was before
  uint32_t in_order = 0;        // whose turn it would be by round robin
  uint64_t executed_after = 0;  // instructions by `after` so far
  bool cut_short = false;       // the turn before ended though its vCPU could go on, and did not pause
  bool operator==(const Turn&) const = default;
};

// The machine's own clock state: chunk "clock".
struct MachineClock {
  static constexpr std::string_view kName = "clock";
  static constexpr uint16_t kVersion = 1;
  struct State {
    uint64_t time_base_ns = 0;  // now = retired + time_base_ns: the sum of all idle skips
    uint64_t resets = 0;        // guest-requested resets so far
    static constexpr auto fields() {
      return std::tuple{field("time_base_ns", &State::time_base_ns).unit("ns"), field("resets", &State::resets)};
    }
  };
};

class Machine {
 public:
  // EngineChoice::name is not empty. Memory is zero and the vCPU at reset; then boot or restore.
  // `images`: what each of MachineConfig::disks starts from; a missing one is all zeros.
  static Result<std::unique_ptr<Machine>> create(const MachineConfig&, const EngineChoice&, Console*,
                                                 std::vector<std::unique_ptr<DiskImage>> images = {});
  ~Machine();

  // Who is told what is read of the disks' images, from now on; nullptr: nobody.
  void log_disks_to(DiskLog*);
  Disk& disk(unsigned number) const;  // of MachineConfig::disks
  // The first disk whose image could not be read, and why. The guest was told of an error; run() returns to its inputs,
  // which may end the run.
  std::optional<std::pair<unsigned, std::string>> lost_disk() const;

  // Loads a BootSource (vmm/boot). Without kernel and firmware: the embedded default guest.
  Result<void> boot(const BootSource&);

  // Runs until `until` or another RunEnd. `exits` is what the engine sees: board() or a decorator that ends in it.
  RunEnd run(Retired until, Inputs& inputs, ExitHandler& exits);

  // run() returns kUntil once virtual time is there, too. A halted machine skips as far as its inputs say: they are to
  // know the limit.
  void limit_time(Nanos);
  bool time_is_up() const;

  // Between two runs: the same machine goes on under another engine. Error: it cannot be had, and nothing has changed.
  Result<void> switch_engine(std::string_view engine_name);

  // Of several vCPUs: who is told of each turn that begins, from now on; nullptr: nobody.
  // From here on other turns, which begin at once.
  void set_schedule(const ScheduleConfig&, uint64_t slice);
  // Of a list's switches: those that did not come up, and those that are still to come.
  struct SwitchesLeft {
    uint64_t missed = 0;
    uint64_t to_come = 0;
  };
  SwitchesLeft switches_left() const;
  void watch_turns(std::function<void(const Turn&)>);
  // Only this one has turns, until called again with none: the run is then another than it would be.
  void hold_others(std::optional<uint32_t> than_vcpu);

  // Puts another engine around the present one, at its state.
  void wrap_engine(const std::function<std::unique_ptr<Engine>(std::unique_ptr<Engine>)>&);

  Position position() const;
  Nanos now() const;
  Board& board();
  Engine& engine();
  GuestMemory& memory();
  const MachineConfig& config() const;
  std::string detail() const;         // of kTripleFault, kUnimplemented, kEngineError, kHaltedForever: registers, bytes
  uint8_t debug_exit_status() const;  // QEMU's n << 1 | 1
  void write_memory(Gpa, std::span<const uint8_t>);  // loader and DMA; must lie in RAM or ROM

  // The whole state but RAM, in a fixed order: clock, vCPUs, engine chunks, board. Call sync_out() before reading
  // them (pulls vCPU state from the engine; never perturbs the run) and sync_in() after overwriting them;
  // `memory_told`: memory was changed by write_memory only.
  std::vector<ChunkRef> chunks();
  void sync_out();
  void sync_in(bool memory_told = false);
  // What the chunks just overwritten hold that this machine's CPU model lacks; nullptr: nothing.
  const char* misfit() const;

 private:
  Machine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dejavm
