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

// Calls f.operator()<Model>(state, offset) for the model at a port; `present`: bit n for row n. False: nothing is
// there.
template <class F>
bool at_port(BoardModels& models, uint32_t present, uint16_t port, F f) {
  const uint8_t row = kRowAtPort[port];
  if (row == kNoRow || !(present >> row & 1)) return false;
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
bool at_gpa(BoardModels& models, uint32_t vcpu, uint64_t gpa, F f) {
  bool found = false;
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
  return found;
}

}  // namespace dejavm
