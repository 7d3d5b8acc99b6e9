// A PCI function that only tests use: testdma behind BARs of each kind, with INTA, MSI and MSI-X. Ours; vendor and
// device are of those that PCI SIG's members give to nobody.
//
// Window: as devices/pci/function.h has it. BAR 0 (64-bit memory, 4 KiB) and BAR 2 (I/O, 32 bytes) have testdma's
// registers at their begin; BAR 4 (32-bit memory, 4 KiB) has MSI-X' table of kVectors and its pending bits. Vector 0,
// and MSI's only one: a command is done; vector 1: it has failed. INTA: as testdma's line.
// Without bus mastering transfers wait.
#pragma once

#include "devices/pci/function.h"
#include "devices/testdma.h"

namespace dejavm {

struct Testpci {
  static constexpr std::string_view kName = "testpci";
  static constexpr uint16_t kVersion = 1;
  static constexpr uint16_t kVectors = 2;
  static constexpr unsigned kMemoryBar = 0, kIoBar = 2, kMsixBar = 4;
  static constexpr pci::Identity kPci{
      .vendor = 0x1b36,
      .device = 0x00ff,
      .class_code = 0xff0000,
      .subsystem_vendor = 0x1b36,
      .subsystem = 0x00ff,
      .bars = {{{pci::Space::kMemory64, 0x1000},
                {},
                {pci::Space::kIo, Testdma::kWindowBytes},
                {},
                {pci::Space::kMemory32, 0x1000},
                {}}},
      .interrupts = true,
      .msix_vectors = kVectors,
      .msix_bar = kMsixBar,
  };

  struct State {
    pci::Function pci;
    Testdma::State dma;
    std::array<pci::MsixEntry, kVectors> vector;
    static constexpr auto fields() {
      return std::tuple{field("pci", &State::pci), field("dma", &State::dma), field("vector", &State::vector)};
    }
  };

  enum Line : uint64_t { kInta = 1 };

  static const char* invalid(const State&);
  static DeviceModel model();  // testpci_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs
  static bool pop_message(State&, BusMessage&);
  static bool next_transfer(const State&, Transfer&);
  static void transferred(State&, Nanos now, bool ok, std::span<const uint8_t> bytes);
};

}  // namespace dejavm
