// The board's inside: every model's state, and the routing between models. board.cc answers the engine; this decides
// which wire leads where, by the table in devices.h.
#pragma once

#include "vmm/board/board.h"
#include "vmm/board/models.h"
#include "vmm/state/cpu_model.h"

namespace dejavm {

struct Board::Impl {
  Impl(const MachineConfig&, std::span<RunControl>, Console*, GuestDma*);

  Nanos time_at(Position at) const { return {at.retired.value + controls[at.vcpu].time_base_ns}; }
  // At the begin of an exit: everything up to its time, which is the answer.
  Nanos enter(Position at) {
    const Nanos now = time_at(at);
    advance(now);
    return now;
  }
  void reset_models(bool power_on);
  void advance(Nanos now);             // in event order, up to now
  void advance_all(Nanos now);         // every model, to exactly now
  void settle(Nanos now);              // routes until nothing changes; then the vCPUs' inputs and the next event
  void remember_wires();               // after a restore: what settle() compares with
  void resume(Nanos now);              // after a restore: everything that follows from the chunks
  void drive_vcpus();                  // RunControls as the local APICs' outputs are now
  bool has_msr(uint32_t index) const;  // of those that lead to a local APIC
  Nanos earliest_event() const;
  Nanos earliest_seen_event() const;  // the PIT left out
  bool pit_is_seen() const;           // whether the PIT's output can make anything happen

  const MachineConfig& config;
  std::span<RunControl> controls;
  Console* console;
  GuestDma* dma;
  const CpuModel* cpu;
  BoardModels m;
  uint32_t present = 0;   // bit n: the table's row n is part of this machine
  Nanos requested_at{0};  // of the guest's request, if there is one
  Nanos next_event{0};    // no model changes by time alone before this ...
  Nanos next_seen{0};     // ... and nothing that a vCPU could notice without asking a model, before this

 private:
  struct Levels {
    uint32_t irqs = 0;  // bit n: IRn of the 8259 pair is asserted
    uint32_t pins = 0;  // bit n: pin n of the I/O APIC is
  };
  Levels levels() const;  // as the devices' outputs are now
  void add_pci_levels(Levels&) const;
  bool route_pins(Nanos now);
  bool route_messages(Nanos now);
  bool transfer(Nanos now);  // what bus masters want of memory, until they want nothing more
  void deliver(Nanos now, const BusMessage&, size_t sender);
  void drain_outputs(Nanos now);
  void take_requests(Nanos now);
  void signal_vcpus();
  void skip_unseen(Nanos now);
  void limit_runs();  // engines return in time for the next event

  Levels levels_;  // as the interrupt controllers know them
  bool lint0_ = false;
};

}  // namespace dejavm
