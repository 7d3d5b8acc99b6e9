// The PCI side of virtio devices: identity and vendor-specific capabilities, which say where the structures are
// (4.1.4). Included by core.h.
#pragma once

namespace dejavm::virtio {

// Where the window into BARs has its registers in configuration space.
inline constexpr uint64_t kWindowCapability = 0xe4, kWindowCapabilityBytes = 20;

constexpr pci::Identity identity(uint16_t type, uint32_t class_code, uint16_t vectors) {
  enum Structure : uint8_t { kCommon = 1, kNotify = 2, kIsr = 3, kDeviceConfig = 4, kWindow = 5 };
  constexpr auto head = [](uint8_t next, uint8_t len_bytes, Structure what) {
    return 0x09 | uint32_t{next} << 8 | uint32_t{len_bytes} << 16 | uint32_t{what} << 24;
  };
  pci::Identity id{
      .vendor = 0x1af4,
      .device = static_cast<uint16_t>(0x1040 + type),
      .class_code = class_code,
      .revision = 1,
      .subsystem_vendor = 0x1af4,
      .subsystem = type,
      .bars = {{{pci::Space::kMemory64, 0x4000}, {}, {}, {}, {pci::Space::kMemory32, 0x1000}, {}}},
      .interrupts = true,
      .msi = false,
      .msix_vectors = vectors,
      .msix_bar = kMsixBar,
  };
  // At 0x50 and 0x60; MSI-X is at 0x70. At 0xc0, 0xd4 and 0xe4. Words: head, BAR, offset, length, more.
  id.vendor_first = {head(0x60, 16, kCommon), kBar, kCommonAt, 0x38, head(0x70, 16, kIsr), kBar, kIsrAt, 1};
  id.vendor_last = {head(0xd4, 20, kNotify),
                    kBar,
                    kNotifyAt,
                    0x1000,
                    kNotifyStride,
                    head(0xe4, 16, kDeviceConfig),
                    kBar,
                    kDeviceAt,
                    kDeviceBytes,
                    head(0, 20, kWindow),
                    0,
                    0,
                    0,
                    0,
                    0,
                    0};
  return id;
}

}  // namespace dejavm::virtio
