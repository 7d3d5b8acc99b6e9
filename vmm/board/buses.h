// Which device answers at an address, by the board's table.
#pragma once

#include <array>
#include <cstdint>

#include "vmm/board/models.h"

namespace dejavm {

inline constexpr uint8_t kNoRow = 0xff;
static_assert(kBoardRows <= 32, "what a machine has of them is a mask of 32 bits");

// The table's row for each port.
extern const std::array<uint8_t, 0x10000> kRowAtPort;

constexpr uint8_t row_of_msr(uint32_t index) {
  uint8_t found = kNoRow;
  for_each_row([&]<size_t kRow>() {
    for (const MsrRange& range : std::get<kRow>(kBoardDevices).msrs)
      if (index - range.first < range.count) found = kRow;
  });
  return found;
}

// Calls f.operator()<Model>(state, device) for each PCI function of bus 0 that the machine has, until one returns true.
template <class F>
bool find_pci_function(BoardModels& models, uint32_t present, F f) {
  bool found = false;
  for_each_row([&]<size_t kRow>() {
    constexpr uint8_t kSlot = std::get<kRow>(kBoardDevices).pci_slot;
    if constexpr (kSlot != kNoSlot) {
      if (!(present >> kRow & 1)) return;
      uint8_t device = kSlot;
      for (auto& state : models.states<kRow>())
        found = found || f.template operator()<ModelOfRow<kRow>>(state, device++);
    }
  });
  return found;
}

// The same for the function whose configuration space a bus and function number means.
template <class F>
bool at_pci_config(BoardModels& models, uint32_t present, uint16_t bus_and_function, uint64_t offset, F f) {
  return find_pci_function(models, present, [&]<class M>(typename M::State& state, uint8_t device) {
    if (bus_and_function != device << 3) return false;
    f.template operator()<M>(state, offset);
    return true;
  });
}

// The same for the function one of whose BARs is at an address.
template <class F>
bool at_pci_bar(BoardModels& models, uint32_t present, bool io, uint64_t address, F f) {
  return find_pci_function(models, present, [&]<class M>(typename M::State& state, uint8_t) {
    if constexpr (requires { state.pci; }) {
      uint64_t offset = 0;
      if (!pci::decode(M::kPci, state.pci, io, address, offset)) return false;
      f.template operator()<M>(state, offset);
      return true;
    }
    return false;
  });
}

// PCI's own ports: the address register, and the data that it leads to. False: no function is there.
template <class F>
bool at_pci_port(BoardModels& models, uint32_t present, uint16_t port, F f) {
  Pcihost::State& host = models.get<Pcihost>();
  if (port == address_map::kPciAddress) {
    f.template operator()<Pcihost>(host, Pcihost::kAddressRegister);
    return true;
  }
  uint16_t bus_and_function = 0;
  uint64_t offset = 0;
  if (!Pcihost::selected(host, bus_and_function, offset)) return false;
  return at_pci_config(models, present, bus_and_function, offset + (port - address_map::kPciData), f);
}

// Calls f.operator()<Model>(state, offset) for the model at a port; `present`: bit n for row n. False: nothing is
// there.
template <class F>
bool at_port(BoardModels& models, uint32_t present, uint16_t port, F f) {
  const uint8_t row = kRowAtPort[port];
  if (row == kNoRow || !(present >> row & 1)) return at_pci_bar(models, present, true, port, f);
  if (row == kRowOf<Pcihost>) return at_pci_port(models, present, port, f);
  for_each_row([&]<size_t kRow>() {
    if constexpr (std::get<kRow>(kBoardDevices).ports.size() != 0)
      if (row == kRow)
        f.template operator()<ModelOfRow<kRow>>(models.states<kRow>()[0],
                                                port - std::get<kRow>(kBoardDevices).port_origin);
  });
  return true;
}

// The same for the model at a guest-physical address, as a vCPU sees it: a local APIC answers its own vCPU only, where
// its base register says.
template <class F>
bool at_gpa(BoardModels& models, uint32_t present, uint32_t vcpu, uint64_t gpa, F f) {
  bool found = false;
  if (const uint64_t at = gpa - address_map::kPciConfig; at < address_map::kPciConfigBytes)
    return at_pci_config(models, present, static_cast<uint16_t>(at >> 12), at & 0xfff, f);
  for_each_row([&]<size_t kRow>() {
    constexpr const auto& kDevice = std::get<kRow>(kBoardDevices);
    using M = ModelOfRow<kRow>;
    if constexpr (kDevice.windows.size() != 0) {
      constexpr Window kWindow = *kDevice.windows.begin();
      auto& state = models.states<kRow>()[kDevice.kInstances == Instances::kOne ? 0 : vcpu];
      uint64_t first = kWindow.first;
      if constexpr (requires { M::window_open(state); }) {
        if (!M::window_open(state)) return;
        first = M::window(state);
      }
      if (found || gpa - first >= kWindow.len_bytes) return;
      found = true;
      f.template operator()<M>(state, gpa - first);
    }
  });
  return found || at_pci_bar(models, present, false, gpa, f);
}

}  // namespace dejavm
