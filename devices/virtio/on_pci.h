// A virtio device's accesses as a PCI function: configuration space, the window that it has into BAR 0 (4.1.4.7), the
// structures in BAR 0, and MSI-X in BAR 4. Window of the model: as devices/pci/function.h has it.
#pragma once

#include "devices/virtio/core.h"

namespace dejavm::virtio {

inline constexpr uint64_t kRegisters = pci::region(kBar);

struct OnPci {
  Device device;
  std::span<pci::MsixEntry> vector;
  std::span<const uint8_t> configuration;  // the device's own, as it reads now
};

// What is left to the model after a write.
enum class Left : uint8_t {
  kNothing,
  kResetDevice,    // the driver wrote status 0
  kResetFunction,  // with its configuration space (FLR)
  kConfigured,     // the device's own configuration was written, at `config_offset`
};
struct Written {
  Left left = Left::kNothing;
  uint64_t config_offset = 0;
};

uint64_t read(const OnPci&, uint64_t offset, unsigned size);
Written write(const OnPci&, uint64_t offset, unsigned size, uint64_t value);

}  // namespace dejavm::virtio
