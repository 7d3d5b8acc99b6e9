// A row of the board's table (devices.h): one device, and all that the board and ACPI must know of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "vmm/state/config.h"

namespace dejavm {

// At most N items, as a constant.
template <class T, size_t N>
class Few {
 public:
  constexpr Few() = default;
  constexpr Few(std::initializer_list<T> items) {
    for (const T& item : items) items_.at(count_++) = item;
  }
  constexpr void add(const T& item) { items_.at(count_++) = item; }
  constexpr const T* begin() const { return items_.data(); }
  constexpr const T* end() const { return items_.data() + count_; }
  constexpr size_t size() const { return count_; }

 private:
  std::array<T, N> items_{};
  size_t count_ = 0;
};

struct PortRange {
  uint16_t first = 0, count = 0;
};
struct Window {
  uint64_t first = 0, len_bytes = 0;
};
struct MsrRange {
  uint32_t first = 0, count = 0;
};

inline constexpr uint8_t kNoIrq = 0xff, kNoPin = 0xff, kNoSlot = 0xff;
// Where an output of a device leads. An interrupt of the ISA bus reaches the 8259 pair and, at the pin that
// address_map.h says, the I/O APIC.
struct Wire {
  uint64_t line = 0;      // a bit of the model's lines()
  uint8_t irq = kNoIrq;   // of the ISA bus
  uint8_t pin = kNoPin;   // of the I/O APIC
  bool replaced = false;  // cut while the HPET's legacy replacement is on
};

// A device as the DSDT names it.
struct AcpiDevice {
  std::string_view name;  // four characters
  const char* id = "";    // three letters and four digits: PNP0501
  Few<PortRange, 3> ports{};
  Window memory{};  // no bytes: none
  uint8_t irq = kNoIrq;
  unsigned order = 0;  // among the devices; equal ones in the table's order
};

enum class Instances : uint8_t { kOne, kOnePerVcpu, kOnePerDisk };

// M: a type of the shape in devices/core/model.h; or one that has state and none of the functions.
template <class M, Instances kHowMany = Instances::kOne>
struct DeviceRow {
  using Model = M;
  static constexpr Instances kInstances = kHowMany;
  Few<PortRange, 6> ports{};
  uint16_t port_origin = 0;  // the model is told port - port_origin
  Few<Window, 1> windows{};  // of a local APIC: where it is after reset
  Few<MsrRange, 4> msrs{};
  Few<Wire, 40> wires{};
  DiskController controller = DiskController::kNvme;  // of kOnePerDisk: whose disks
  uint8_t pci_slot = kNoSlot;  // of a PCI function (M::kPci, State::pci): the device on bus 0 of its first instance
  Few<AcpiDevice, 2> acpi{};
  Few<PortRange, 2> reserved{};  // ports that the DSDT tells the operating system to leave alone
  // What a machine's configuration says, before the first reset. nullptr: nothing.
  void (*configure)(typename M::State&, const MachineConfig&, uint32_t instance) = nullptr;
  // Whether a machine has it. nullptr: each.
  bool (*present)(const MachineConfig&) = nullptr;
};

}  // namespace dejavm
