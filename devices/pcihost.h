// The host bridge of PCI bus 0: a function that is there to be found, and the address register of configuration
// mechanism #1. Its own configuration space cannot be written. Source: PCI Local Bus Specification 3.0, 3.2.2.3.2. It
// has no registers of its own and so is known to operating systems as what PCI SIG's vendor 1B36H (Red Hat) calls a
// generic host bridge. SeaBIOS asks for fw_cfg (devices/fwcfg.h) only behind a host bridge whose subsystem is QEMU's:
// that it is, where `of_qemu` says so.
//
// Window: as devices/pci/function.h has it; from kAddressRegister on, port CF8H. An access of four bytes reads or
// writes the address register; others are not for it. Data at CFCH-CFFH and the enhanced configuration window are the
// board's to lead to the function that the address names.
#pragma once

#include "devices/core/model.h"
#include "devices/pci/function.h"

namespace dejavm {

struct Pcihost {
  static constexpr std::string_view kName = "pcihost";
  static constexpr uint16_t kVersion = 2;
  static constexpr uint64_t kAddressRegister = pci::kConfigBytes;
  static constexpr pci::Identity kPci{
      .vendor = 0x1b36,
      .device = 0x0008,
      .class_code = 0x060000,
      .subsystem_vendor = 0x1b36,
      .subsystem = 0x0008,
      .capabilities = false,
  };
  static constexpr pci::Identity kPciOfQemu = [] {
    pci::Identity id = kPci;
    id.subsystem_vendor = 0x1af4;
    id.subsystem = 0x1100;
    return id;
  }();

  struct State {
    uint32_t address = 0;  // bit 31: data ports are configuration space; bus 23:16, function 15:8, register 7:2
    std::array<uint8_t, 4> reserved{};
    bool of_qemu = false;  // configuration, which a reset keeps
    std::array<uint8_t, 7> more_reserved{};
    static constexpr auto fields() {
      return std::tuple{field("address", &State::address).range(0, 0x80fffffc),
                        field("reserved", &State::reserved).range(0, 0), field("of_qemu", &State::of_qemu).since(2, 0),
                        field("more_reserved", &State::more_reserved).range(0, 0).since(2, 0)};
    }
  };

  static const char* invalid(const State&);
  static DeviceModel model();  // pcihost_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos) {}
  static Nanos next_event(const State&) { return kNever; }
  static uint64_t lines(const State&) { return 0; }
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs

  // Where the data ports lead: bus and function as in an address, and the register's offset. False: nowhere.
  static bool selected(const State&, uint16_t& bus_and_function, uint64_t& offset);
};

}  // namespace dejavm
