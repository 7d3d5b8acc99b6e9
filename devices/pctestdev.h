// A device that only tests use. Source: QEMU's pc-testdev (hw/misc/pc-testdev.c), which kvm-unit-tests drive; its
// memory window at 0xff000000 is a region of guest memory (vmm/state/memory.h).
//
// Window: `offset` is the I/O port itself.
//   0xe0-0xe3, 0xe8-0xeb   echo: 32 bits that are kept, each port one byte of them. An access of 1, 2 or 4 bytes reads
//   or writes as
//                          many, from its port upwards, as far as there are some; the rest reads as zero
//   0xe4                   flush: a 4-byte write asks QEMU to make it map a page anew, and does nothing here; reads as
//   ones 0x2000+n, n = 0-23     interrupt line n of an ISA bus with as many lines as an I/O APIC has pins: a write of 1
//   byte sets its
//                          level, zero or not; reads as ones
#pragma once

#include "devices/core/model.h"

namespace dejavm {

struct Pctestdev {
  static constexpr std::string_view kName = "pctestdev";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kLines = 24;
  static constexpr uint64_t kEcho = 0xe0, kFlush = 0xe4, kEchoBytes = 0xe8, kIrq = 0x2000;

  struct State {
    uint32_t echo;
    uint32_t irq;  // bit n: line n is asserted
    static constexpr auto fields() {
      return std::tuple{field("echo", &State::echo), field("irq", &State::irq).range(0, (1 << kLines) - 1)};
    }
  };

  static DeviceModel model();  // pctestdev_model.cc
  static void reset(State& s) { s = State{}; }
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos) {}
  static Nanos next_event(const State&) { return kNever; }
  static uint64_t lines(const State& s) { return s.irq; }
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs
};

}  // namespace dejavm
