// The machine's inside, of which machine.cc makes and keeps it, run_loop.cc runs it, guest_dma.cc answers its devices.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "vmm/machine/machine.h"
#include "vmm/machine/schedule.h"

namespace dejavm {

std::string describe_registers(const VcpuState&);

struct Machine::Impl final : GuestDma, Turns, Supervisor {
  MachineConfig config;
  TranslateOptions translation;
  std::unique_ptr<GuestMemory> memory;
  std::vector<std::unique_ptr<Disk>> disks;
  std::vector<RunControl> controls;
  std::unique_ptr<Board> board;
  ExitHandler* dma_log = nullptr;  // of the run in progress
  std::unique_ptr<Engine> engine;
  std::vector<VcpuState> vcpus;    // as of the last pull()
  std::vector<Standing> standing;  // as they are now
  // What the local APICs held for their vCPUs, which have not got it yet.
  struct Signals {
    bool init = false;
    bool nmi = false;
    std::optional<uint8_t> startup;  // its vector
  };
  std::vector<Signals> signals;
  MachineClock::State clock;
  Schedule::State schedule;  // `retired`: as of the last pull()
  std::vector<VcpuTurn::State> turns;
  std::function<void(const Turn&)> turn_watcher;
  bool ended_by_pause = false;       // the last turn; for who watches
  std::optional<uint32_t> held_for;  // all but this one are
  std::string detail;
  Retired at;  // the machine's count, between runs of the engine
  Nanos time_limit = kNever;
  // The present halt: where it began, to tell one that lasts for ever.
  Retired halted_at = kForever;
  Nanos halted_since;

  Position position() const { return {schedule.current, at}; }
  Nanos now() const { return {at.value + clock.time_base_ns}; }
  bool several() const { return config.vcpus > 1; }

  // machine.cc
  void pull();
  void push();  // to the engine, and what follows from it here
  void set_time_base(uint64_t ns);
  VcpuState power_on_vcpu(uint32_t n) const;
  void like_the_first();
  void reset(Nanos when);
  Result<void> fit_to_host(std::string_view engine_name);
  Result<std::unique_ptr<Engine>> make_engine(std::string_view name) const;

  // guest_dma.cc
  uint8_t* dma_target(Gpa gpa, uint64_t len_bytes) const;
  Position not_before_now(Position) const;
  bool read(Position, uint16_t requester, Gpa, std::span<uint8_t> to) override;
  bool write(Position, uint16_t requester, Gpa, std::span<const uint8_t> from) override;
  bool disk_step(Position, uint16_t requester, unsigned number, const Transfer&, bool& equal) override;
  bool carry_out(Position, uint16_t requester, Disk&, const Transfer&, bool& equal);

  // run_loop.cc
  RunEnd run(Retired until, Inputs& inputs, ExitHandler& exits);
  Input::Kind apply_inputs(Inputs& inputs);
  bool sleep(Inputs& inputs);
  bool can_run(uint32_t n) const;
  bool another_can_run(uint32_t vcpu) const override;
  bool nobody_can_run() const;
  bool choose();
  void collect_signals(uint32_t n, Nanos when);
  void take_signals();
  bool exit_done(Position) override;
  bool time_passes(Position) override;
  void take_init(uint32_t n);
  void start_up(uint32_t n, uint8_t vector);
  Retired limit(Retired until, Inputs& inputs) const;
  Retired next_event(Retired not_before) const;
  StopReason run_current(Retired until, Inputs& inputs, ExitHandler& exits);
  StopReason run_together(Retired until, Inputs& inputs, ExitHandler& exits);
  // What ends the run; nothing: it goes on.
  std::optional<RunEnd> after_stop(StopReason why);
  std::string why_asleep();
};

}  // namespace dejavm
