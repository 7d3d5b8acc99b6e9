// The board's inside: every model's state, and the routing between models. board.cc decodes addresses; this decides
// which wire leads where. Interrupt wiring as on a PC/AT with an I/O APIC (ACPI 5.2.12, IA-PC HPET 2.4, 8259A):
//
//   source             8259 pair   I/O APIC pin
//   PIT OUT0           0           2      (HPET timer 0 instead, in legacy replacement)
//   keyboard           1           1
//   COM1               4           4
//   RTC                8           8      (HPET timer 1 instead, in legacy replacement)
//   SCI                9           9
//   mouse              12          12
//   pctestdev n        n           n      (0: pin 2)
//   HPET timers                    their routed pin
//   8259 INTR                      0      and LINT0 of vCPU 0
#pragma once

#include <array>
#include <vector>

#include "devices/i8042.h"
#include "devices/pctestdev.h"
#include "devices/sysctl.h"
#include "devices/uart16550.h"
#include "devices/vatpic.h"
#include "devices/vatpit.h"
#include "devices/vhpet.h"
#include "devices/vioapic.h"
#include "devices/vlapic.h"
#include "devices/vpmtmr.h"
#include "devices/vrtc.h"
#include "vmm/board/board.h"
#include "vmm/state/cpu_model.h"

namespace dejavm {

// What belongs to no device: console bytes on their way to the UART, and what the guest asked of the machine.
struct BoardWires {
  static constexpr std::string_view kName = "board";
  static constexpr uint16_t kVersion = 1;
  static constexpr uint32_t kQueueBytes = 4096;
  struct State {
    uint32_t queue_head = 0, queue_len = 0;           // console bytes: a ring
    std::array<uint8_t, kQueueBytes> queue{};         // bytes outside the ring's content are zero
    Board::Request request = Board::Request::kNone;
    uint8_t debug_exit_value = 0;
    uint16_t reserved = 0;
    static constexpr auto fields() {
      return std::tuple{field("queue_head", &State::queue_head).range(0, kQueueBytes - 1),
                        field("queue_len", &State::queue_len).range(0, kQueueBytes).unit("bytes"),
                        field("queue", &State::queue), field("request", &State::request).range(0, 3),
                        field("debug_exit_value", &State::debug_exit_value),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };
};

struct BoardModels {
  Vatpic::State vatpic;
  Vatpit::State vatpit;
  Vhpet::State vhpet;
  Vioapic::State vioapic;
  Vpmtmr::State vpmtmr;
  Vrtc::State vrtc;
  Uart16550::State uart;
  I8042::State i8042;
  Sysctl::State sysctl;
  BoardWires::State wires;
  Pctestdev::State pctestdev{};
  bool has_test_device = true;
  std::vector<Vlapic::State> vlapic;  // one per vCPU
};

struct Board::Impl {
  Impl(const MachineConfig&, std::span<RunControl>, Console*);

  void reset_models(bool power_on);
  void advance(Nanos now);        // in event order, up to now
  void advance_all(Nanos now);    // every model, to exactly now
  void settle(Nanos now);         // routes until nothing changes; then the vCPUs' inputs and the next event
  void remember_wires();          // after a restore: what settle() compares with
  void resume(Nanos now);         // after a restore: everything that follows from the chunks
  bool has_msr(uint32_t index) const;  // of those that lead to a local APIC
  Nanos earliest_event() const;
  Nanos earliest_seen_event() const;  // the PIT left out
  bool pit_is_seen() const;       // whether the PIT's output can make anything happen

  const MachineConfig& config;
  std::span<RunControl> controls;
  Console* console;
  const CpuModel* cpu;
  BoardModels m;
  Nanos next_event{0};            // no model changes by time alone before this ...
  Nanos next_seen{0};             // ... and nothing that a vCPU could notice without asking a model, before this

 private:
  uint32_t pic_inputs() const;    // bit n: IRn asserted
  uint32_t ioapic_inputs() const; // bit n: pin n asserted
  bool route_pins(Nanos now);
  bool route_messages(Nanos now);
  void deliver(Nanos now, const BusMessage&, size_t sender);
  void drain_outputs(Nanos now);
  void take_requests();
  void drive_vcpus();
  void skip_unseen(Nanos now);
  void limit_runs();              // engines return in time for the next event

  uint32_t pic_levels_ = 0, ioapic_levels_ = 0;
  bool lint0_ = false;
};

}  // namespace dejavm
