// The configuration space of a PCI function, type 0, with the capabilities that our functions have: a part of their
// models' states. Sources: PCI Local Bus Specification 3.0, chapter 6 (header, MSI, MSI-X); PCI Bus Power Management
// Interface Specification 1.2; PCI Express Base Specification 4.0, 7.5 (PCI Express capability) and 6.6.2 (FLR).
//
// The window of a model that is a PCI function: offsets 0 to 0xfff are its configuration space, (n + 1) * kRegionBytes
// on are BAR n. Accesses of any size and alignment have a result: configuration space is bytes.
//
// Choices: MSI messages to addresses outside FEExxxxxH are dropped; status bits of errors that cannot happen here never
// set; power states D1, D2 and D3cold, PME, the BIST and the expansion ROM are not there. D3hot keeps all state.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <tuple>

#include "devices/core/model.h"

namespace dejavm::pci {

inline constexpr uint64_t kConfigBytes = 0x1000, kRegionBytes = 1 << 20;
inline constexpr unsigned kBars = 6;

// `offset` of BAR `n`'s first byte in a model's window.
constexpr uint64_t region(unsigned n) { return (n + 1) * kRegionBytes; }

enum class Space : uint8_t { kNone, kIo, kMemory32, kMemory64 };  // kMemory64 takes the next BAR, too

struct Bar {
  Space space = Space::kNone;
  uint32_t len_bytes = 0;  // a power of two: 4 to 256 of kIo, 16 to kRegionBytes of memory
};

// What a function is: constant.
struct Identity {
  uint16_t vendor = 0, device = 0;
  uint32_t class_code = 0;  // 24 bits: class, subclass, interface
  uint8_t revision = 0;
  uint16_t subsystem_vendor = 0, subsystem = 0;
  std::array<Bar, kBars> bars{};
  bool interrupts = false;  // it has pin INTA, and MSI unless `msi` is false
  bool msi = true;
  uint16_t msix_vectors = 0;  // 0: no MSI-X
  uint8_t msix_bar = 0;       // the table is at its begin, the pending bits at kMsixPending
  // Power management, and PCI Express as a root complex integrated endpoint with function-level reset.
  bool capabilities = true;
  // Vendor-specific capabilities, as they stand at 0x50 (of functions without MSI) and from 0xc0 on; each leads to the
  // next, the last one of the former to MSI-X.
  std::array<uint32_t, 8> vendor_first{};
  std::array<uint32_t, 16> vendor_last{};
};
inline constexpr uint32_t kMsixPending = 0x800;
inline constexpr unsigned kMaxVectors = 128;

struct MsixEntry {
  uint32_t address = 0, address_high = 0, data = 0;
  uint32_t control = 1;  // bit 0: masked
  bool operator==(const MsixEntry&) const = default;
  static constexpr auto fields() {
    return std::tuple{field("address", &MsixEntry::address), field("address_high", &MsixEntry::address_high),
                      field("data", &MsixEntry::data), field("control", &MsixEntry::control).range(0, 1)};
  }
};

struct Function {
  uint16_t command = 0;
  uint16_t status = 0;  // of the bits that a write of one clears, the one that can be set: received master abort
  uint8_t cache_line_size = 0, interrupt_line = 0;
  uint16_t power = 0;                 // PMCSR: the power state
  std::array<uint32_t, kBars> bar{};  // address bits only
  uint16_t msi_control = 0, msi_data = 0;
  uint32_t msi_address = 0, msi_address_high = 0, msi_mask = 0;
  uint16_t msix_control = 0, device_control = 0;
  uint32_t reserved = 0;
  std::array<uint64_t, kMaxVectors / 64> pending{};  // vectors whose message has not gone out
  static constexpr auto fields() {
    return std::tuple{field("command", &Function::command).range(0, 0x547),
                      field("status", &Function::status).range(0, 0x2000),
                      field("cache_line_size", &Function::cache_line_size),
                      field("interrupt_line", &Function::interrupt_line),
                      field("power", &Function::power).range(0, 3),
                      field("bar", &Function::bar),
                      field("msi_control", &Function::msi_control).range(0, 1),
                      field("msi_data", &Function::msi_data),
                      field("msi_address", &Function::msi_address),
                      field("msi_address_high", &Function::msi_address_high),
                      field("msi_mask", &Function::msi_mask).range(0, 1),
                      field("msix_control", &Function::msix_control).range(0, 0xc000),
                      field("device_control", &Function::device_control).range(0, 0x7fff),
                      field("reserved", &Function::reserved).range(0, 0),
                      field("pending", &Function::pending)};
  }
};

// Why a state is impossible, or nullptr.
const char* invalid(const Identity&, const Function&);

// Configuration space: `offset` below kConfigBytes; bytes past its end read as ones.
uint64_t config_read(const Identity&, const Function&, uint64_t offset, unsigned size, bool intx);
// True: the function is to reset itself (FLR).
bool config_write(const Identity&, Function&, uint64_t offset, unsigned size, uint64_t value);

// Where an address on the bus leads in the model's window; false: not to this function, as it is set up now.
bool decode(const Identity&, const Function&, bool io, uint64_t address, uint64_t& offset);

// Whether it may read and write memory and send messages.
bool may_master(const Function&);
bool uses_msix(const Function&);
// Whether an interrupt condition shows as a level on INTA.
bool drives_intx(const Function&);
// A transfer that it wanted led to no memory.
void received_master_abort(Function&);
// Requests vector `n`'s message, if messages are on. With MSI there is one vector.
void signal(const Identity&, Function&, unsigned n);
// The next message that may go out. `table`: of MSI-X; empty: none.
bool pop_message(const Identity&, Function&, std::span<const MsixEntry> table, BusMessage&);

// MSI-X' table and pending bits, in their BAR. False: `offset` is of neither.
bool msix_read(const Identity&, const Function&, std::span<const MsixEntry>, uint64_t offset, unsigned size,
               uint64_t& value);
bool msix_write(const Identity&, std::span<MsixEntry>, uint64_t offset, unsigned size, uint64_t value);

}  // namespace dejavm::pci
