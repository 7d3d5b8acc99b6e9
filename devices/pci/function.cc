#include "devices/pci/function.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm::pci {
namespace {

using namespace register_bits;

enum class Command : uint16_t {
  kIo = 1 << 0,
  kMemory = 1 << 1,
  kMaster = 1 << 2,
  kParity = 1 << 6,
  kSerr = 1 << 8,
  kNoIntx = 1 << 10,
  kWritable = kIo | kMemory | kMaster | kParity | kSerr | kNoIntx,
};
enum class Status : uint16_t { kIntx = 1 << 3, kCapabilities = 1 << 4, kReceivedMasterAbort = 1 << 13 };
enum class Pmcsr : uint16_t { kState = 3, kNoSoftReset = 1 << 3 };
enum class MsiControl : uint16_t { kEnable = 1 << 0, k64Bit = 1 << 7, kMaskable = 1 << 8 };
enum class MsixControl : uint16_t { kMaskAll = 1 << 14, kEnable = 1 << 15, kWritable = kMaskAll | kEnable };
enum class DeviceControl : uint16_t { kWritable = 0x7fff, kInitiateFlr = 1 << 15 };
constexpr uint32_t kEntryMasked = 1;
constexpr uint16_t kD3hot = 3;

// Places of the header and of the capabilities.
constexpr uint64_t kHeaderCommand = 0x04, kHeaderCacheLine = 0x0c, kHeaderBars = 0x10, kHeaderInterrupt = 0x3c;
constexpr uint64_t kPower = 0x40, kMsi = 0x50, kMsix = 0x70, kExpress = 0x80, kExpressBytes = 0x3c;
constexpr uint64_t kVendorFirst = kMsi, kVendorLast = 0xc0, kOldConfigBytes = 0x100;

bool has_msi(const Identity& id) { return id.interrupts && id.msi; }
bool has_msix(const Identity& id) { return id.msix_vectors != 0; }

// The capabilities in their order; 0: no more.
uint8_t next_capability(const Identity& id, uint64_t after) {
  if (!id.capabilities) return 0;
  if (after < kPower) return kPower;
  if (after < kMsi && (has_msi(id) || id.vendor_first[0] != 0)) return kMsi;
  if (after < kMsix && has_msix(id)) return kMsix;
  if (after < kExpress) return kExpress;
  return id.vendor_last[0] != 0 ? kVendorLast : 0;
}

uint32_t bar_type(const Bar& bar) { return bar.space == Space::kIo ? 1 : bar.space == Space::kMemory64 ? 4 : 0; }

// The bits of BAR register `n` that software can write.
uint32_t bar_mask(const Identity& id, unsigned n) {
  if (n > 0 && id.bars[n - 1].space == Space::kMemory64) return 0xffffffff;  // the upper half
  return id.bars[n].space == Space::kNone ? 0 : ~(id.bars[n].len_bytes - 1);
}

uint32_t read_header(const Identity& id, const Function& f, uint64_t at, bool intx) {
  if (at >= kHeaderBars && at < kHeaderBars + 4 * kBars) {
    const unsigned n = static_cast<unsigned>(at - kHeaderBars) / 4;
    return f.bar[n] | bar_type(id.bars[n]);
  }
  switch (at) {
    case 0: return id.vendor | uint32_t{id.device} << 16;
    case kHeaderCommand:
      return f.command | static_cast<uint32_t>(f.status | bits_if(intx, Status::kIntx) |
                                               bits_if(id.capabilities, Status::kCapabilities))
                             << 16;
    case 0x08: return id.revision | id.class_code << 8;
    case kHeaderCacheLine: return f.cache_line_size;
    case 0x2c: return id.subsystem_vendor | uint32_t{id.subsystem} << 16;
    case 0x34: return next_capability(id, 0);
    case kHeaderInterrupt: return f.interrupt_line | (id.interrupts ? 1u << 8 : 0);
    default: return 0;
  }
}

uint32_t read_express(const Identity& id, const Function& f, uint64_t at) {
  constexpr uint32_t kVersion2 = 2, kIntegratedEndpoint = 9 << 4, kRoleBasedErrors = 1 << 15, kFlrCapable = 1 << 28;
  switch (at) {
    case 0: return 0x10 | uint32_t{next_capability(id, kExpress)} << 8 | (kVersion2 | kIntegratedEndpoint) << 16;
    case 4: return kRoleBasedErrors | kFlrCapable;
    case 8: return f.device_control;
    default: return 0;
  }
}

uint32_t read_msi(const Identity& id, const Function& f, uint64_t at) {
  switch (at) {
    case 0:
      return 0x05 | uint32_t{next_capability(id, kMsi)} << 8 |
             uint32_t{f.msi_control | MsiControl::k64Bit | MsiControl::kMaskable} << 16;
    case 4: return f.msi_address;
    case 8: return f.msi_address_high;
    case 12: return f.msi_data;
    case 16: return f.msi_mask;
    case 20: return f.msi_control & MsiControl::kEnable ? static_cast<uint32_t>(f.pending[0] & 1) : 0;
    default: return 0;
  }
}

uint32_t read_msix(const Identity& id, const Function& f, uint64_t at) {
  switch (at) {
    case 0: return 0x11 | uint32_t{next_capability(id, kMsix)} << 8 | (f.msix_control | (id.msix_vectors - 1u)) << 16;
    case 4: return id.msix_bar;
    case 8: return kMsixPending | id.msix_bar;
    default: return 0;
  }
}

uint32_t read_power(const Identity& id, const Function& f, uint64_t at) {
  constexpr uint32_t kVersion3 = 3;
  if (at == 0) return 0x01 | uint32_t{next_capability(id, kPower)} << 8 | kVersion3 << 16;
  return at == 4 ? uint32_t{f.power | Pmcsr::kNoSoftReset} : 0;
}

// The register of four bytes at `at`.
uint32_t read_register(const Identity& id, const Function& f, uint64_t at, bool intx) {
  if (at < kPower) return read_header(id, f, at, intx);
  if (!id.capabilities) return 0;
  if (at < kPower + 8) return read_power(id, f, at - kPower);
  if (has_msi(id) && at >= kMsi && at < kMsi + 24) return read_msi(id, f, at - kMsi);
  if (!has_msi(id) && at >= kVendorFirst && at < kMsix) return id.vendor_first[(at - kVendorFirst) / 4];
  if (has_msix(id) && at >= kMsix && at < kMsix + 12) return read_msix(id, f, at - kMsix);
  if (at >= kExpress && at < kExpress + kExpressBytes) return read_express(id, f, at - kExpress);
  if (at >= kVendorLast && at < kOldConfigBytes) return id.vendor_last[(at - kVendorLast) / 4];
  return 0;
}

// The parts of a written register: `mask` has ones in the bytes that were written.
template <class T>
void merge(T& reg, uint32_t value, uint32_t mask, uint32_t writable) {
  mask &= writable;
  reg = static_cast<T>((reg & ~mask) | (value & mask));
}

void write_header(const Identity& id, Function& f, uint64_t at, uint32_t value, uint32_t mask) {
  if (at >= kHeaderBars && at < kHeaderBars + 4 * kBars) {
    const unsigned n = static_cast<unsigned>(at - kHeaderBars) / 4;
    return merge(f.bar[n], value, mask, bar_mask(id, n));
  }
  switch (at) {
    case kHeaderCommand:
      merge(f.command, value, mask, number(Command::kWritable));
      f.status &= static_cast<uint16_t>(~((value & mask) >> 16));
      break;
    case kHeaderCacheLine: merge(f.cache_line_size, value, mask, 0xff); break;
    case kHeaderInterrupt: merge(f.interrupt_line, value, mask, 0xff); break;
    default: break;
  }
}

void write_msi(Function& f, uint64_t at, uint32_t value, uint32_t mask) {
  switch (at) {
    case 0: merge(f.msi_control, value >> 16, mask >> 16, number(MsiControl::kEnable)); break;
    case 4: merge(f.msi_address, value, mask, 0xfffffffc); break;
    case 8: merge(f.msi_address_high, value, mask, 0xffffffff); break;
    case 12: merge(f.msi_data, value, mask, 0xffff); break;
    case 16: merge(f.msi_mask, value, mask, 1); break;
    default: break;
  }
}

// True: FLR.
bool write_register(const Identity& id, Function& f, uint64_t at, uint32_t value, uint32_t mask) {
  if (at < kPower) {
    write_header(id, f, at, value, mask);
  } else if (!id.capabilities) {
    return false;
  } else if (at == kPower + 4) {
    const uint32_t state = value & mask & Pmcsr::kState;
    if ((mask & 0xff) && (state == 0 || state == kD3hot)) f.power = static_cast<uint16_t>(state);
  } else if (has_msi(id) && at >= kMsi && at < kMsi + 24) {
    write_msi(f, at - kMsi, value, mask);
  } else if (has_msix(id) && at == kMsix) {
    merge(f.msix_control, value >> 16, mask >> 16, number(MsixControl::kWritable));
  } else if (at == kExpress + 8) {
    merge(f.device_control, value, mask, number(DeviceControl::kWritable));
    return value & mask & DeviceControl::kInitiateFlr;
  }
  return false;
}

bool uses_msi(const Function& f) { return f.msi_control & MsiControl::kEnable; }

bool make_message(uint64_t address, uint32_t data, BusMessage& message) {
  constexpr uint64_t kInterrupts = 0xfee00000;
  if ((address & ~uint64_t{0xfffff}) != kInterrupts) return false;
  message = {};
  message.destination = static_cast<uint8_t>(address >> 12);
  message.logical = address & 4;
  message.vector = static_cast<uint8_t>(data);
  message.delivery = static_cast<Delivery>(data >> 8 & 7);
  message.level = data >> 15 & 1;
  return true;
}

}  // namespace

bool uses_msix(const Function& f) { return f.msix_control & MsixControl::kEnable; }

const char* invalid(const Identity& id, const Function& f) {
  if (f.command & ~unsigned{number(Command::kWritable)}) return "pci.command has bits that cannot be written";
  if (f.status & ~unsigned{number(Status::kReceivedMasterAbort)}) return "pci.status has bits that are never set";
  if (f.power != 0 && f.power != kD3hot) return "pci.power is no power state of this function";
  if (f.msix_control & ~unsigned{number(MsixControl::kWritable)}) return "pci.msix_control has reserved bits set";
  if (!has_msi(id) && (f.msi_control | f.msi_data | f.msi_address | f.msi_address_high | f.msi_mask) != 0)
    return "pci.msi is set, of a function without MSI";
  if (f.msi_address & 3) return "pci.msi_address has reserved bits set";
  for (unsigned n = 0; n < kBars; ++n)
    if (f.bar[n] & ~bar_mask(id, n)) return "pci.bar has bits that cannot be written";
  for (unsigned n = 0; n < kMaxVectors; ++n)
    if ((f.pending[n / 64] >> n % 64 & 1) && n >= std::max<unsigned>(id.msix_vectors, id.interrupts))
      return "pci.pending has a vector that there is not";
  return nullptr;
}

uint64_t config_read(const Identity& id, const Function& f, uint64_t offset, unsigned size, bool intx) {
  uint64_t out = 0;
  for (unsigned n = 0; n < size; ++n) {
    const uint64_t at = offset + n;
    const uint64_t byte =
        at < kConfigBytes ? read_register(id, f, at & ~uint64_t{3}, intx) >> 8 * (at & 3) & 0xff : 0xff;
    out |= byte << 8 * n;
  }
  return out;
}

bool config_write(const Identity& id, Function& f, uint64_t offset, unsigned size, uint64_t value) {
  bool reset = false;
  for (unsigned n = 0; n < size;) {
    const uint64_t at = offset + n;
    const unsigned first = at & 3, count = std::min(4 - first, size - n);
    const auto bytes = static_cast<uint32_t>((uint64_t{1} << 8 * count) - 1);
    const auto word = static_cast<uint32_t>(value >> 8 * n) & bytes;
    if (at < kConfigBytes) reset |= write_register(id, f, at & ~uint64_t{3}, word << 8 * first, bytes << 8 * first);
    n += count;
  }
  return reset;
}

bool decode(const Identity& id, const Function& f, bool io, uint64_t address, uint64_t& offset) {
  if (f.power != 0 || !(f.command & (io ? Command::kIo : Command::kMemory))) return false;
  for (unsigned n = 0; n < kBars; ++n) {
    const Bar& bar = id.bars[n];
    if (bar.space == Space::kNone || (bar.space == Space::kIo) != io) continue;
    uint64_t first = f.bar[n];
    if (bar.space == Space::kMemory64) first |= uint64_t{f.bar[n + 1]} << 32;
    if (first == 0 || address - first >= bar.len_bytes) continue;
    offset = region(n) + (address - first);
    return true;
  }
  return false;
}

bool may_master(const Function& f) { return f.power == 0 && (f.command & Command::kMaster); }

void received_master_abort(Function& f) { f.status |= Status::kReceivedMasterAbort; }

bool drives_intx(const Function& f) {
  return f.power == 0 && !(f.command & Command::kNoIntx) && !uses_msi(f) && !uses_msix(f);
}

void signal(const Identity& id, Function& f, unsigned n) {
  if (uses_msix(f) ? n >= id.msix_vectors : !uses_msi(f)) return;
  if (!uses_msix(f)) n = 0;
  f.pending[n / 64] |= uint64_t{1} << n % 64;
}

bool pop_message(const Identity& id, Function& f, std::span<const MsixEntry> table, BusMessage& message) {
  if (!may_master(f)) return false;
  const bool msix = uses_msix(f);
  if (!msix && (!uses_msi(f) || (f.msi_mask & 1))) return false;
  if (msix && (f.msix_control & MsixControl::kMaskAll)) return false;
  for (unsigned n = 0; n < (msix ? id.msix_vectors : 1u); ++n) {
    uint64_t& word = f.pending[n / 64];
    if (!(word >> n % 64 & 1) || (msix && (table[n].control & kEntryMasked))) continue;
    word &= ~(uint64_t{1} << n % 64);
    const uint64_t low = msix ? table[n].address : f.msi_address;
    const uint64_t high = msix ? table[n].address_high : f.msi_address_high;
    if (make_message(low | high << 32, msix ? table[n].data : f.msi_data, message)) return true;
  }
  return false;
}

bool msix_read(const Identity& id, const Function& f, std::span<const MsixEntry> table, uint64_t offset, unsigned size,
               uint64_t& value) {
  const auto word = [&](uint64_t at) -> uint32_t {
    if (at >= kMsixPending) return static_cast<uint32_t>(f.pending[at >> 3 & 1] >> (at & 4) * 8);
    const MsixEntry& entry = table[at / 16];
    const uint32_t words[] = {entry.address, entry.address_high, entry.data, entry.control};
    return words[at >> 2 & 3];
  };
  const bool is_table = offset < 16u * id.msix_vectors;
  if (!is_table && (offset < kMsixPending || offset >= kMsixPending + kMaxVectors / 8)) return false;
  value = open_bus(size);
  if ((size != 4 && size != 8) || offset % size != 0) return true;
  value = word(offset);
  if (size == 8) value |= uint64_t{word(offset + 4)} << 32;
  return true;
}

bool msix_write(const Identity& id, std::span<MsixEntry> table, uint64_t offset, unsigned size, uint64_t value) {
  if (offset >= 16u * id.msix_vectors) return false;
  if ((size != 4 && size != 8) || offset % size != 0) return true;
  for (unsigned n = 0; n < size; n += 4) {
    MsixEntry& entry = table[offset / 16];
    uint32_t* const words[] = {&entry.address, &entry.address_high, &entry.data, &entry.control};
    const unsigned which = (offset + n) >> 2 & 3;
    *words[which] = static_cast<uint32_t>(value >> 8 * n) & (which == 3 ? kEntryMasked : which == 0 ? ~3u : ~0u);
  }
  return true;
}

}  // namespace dejavm::pci
