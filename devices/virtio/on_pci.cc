#include "devices/virtio/on_pci.h"

#include <algorithm>
#include <cstring>

namespace dejavm::virtio {
namespace {

bool in_window(uint64_t offset) { return offset - kWindowCapability < kWindowCapabilityBytes; }

uint64_t read_bar(const OnPci& f, uint64_t at, unsigned size) {
  uint64_t value = 0;
  if (read(f.device.kind, f.device.core, f.device.queue, at, size, value)) return value;
  if (at == kIsrAt) return take_isr(f.device.core);
  if (at < kDeviceAt || at >= kDeviceAt + kDeviceBytes) return 0;
  const uint64_t from = at - kDeviceAt, bytes = f.configuration.size();
  if (from < bytes) std::memcpy(&value, &f.configuration[from], std::min<uint64_t>(size, bytes - from));
  return value;
}

Written write_bar(const OnPci& f, uint64_t at, unsigned size, uint64_t value) {
  if (at >= kDeviceAt && at < kDeviceAt + kDeviceBytes) return {Left::kConfigured, at - kDeviceAt};
  return {write(f.device, at, size, value) ? Left::kResetDevice : Left::kNothing};
}

bool window_open(const Core& c, unsigned size) {
  return c.window_bar == kBar && c.window_length == size && size != 8 && c.window_offset % size == 0 &&
         c.window_offset < 0x4000;
}

Written write_window(const OnPci& f, uint64_t at, unsigned size, uint64_t value) {
  Core& c = f.device.core;
  if (at == 4) c.window_bar = static_cast<uint8_t>(value);
  if (at == 8 && size == 4) c.window_offset = static_cast<uint32_t>(value);
  if (at == 12 && size == 4) c.window_length = static_cast<uint32_t>(value);
  return at == 16 && window_open(c, size) ? write_bar(f, c.window_offset, size, value) : Written{};
}

uint64_t read_window(const OnPci& f, uint64_t at, unsigned size) {
  const Core& c = f.device.core;
  switch (at) {
    case 4: return c.window_bar;
    case 8: return c.window_offset;
    case 12: return c.window_length;
    default: return at == 16 && window_open(c, size) ? read_bar(f, c.window_offset, size) : 0;
  }
}

}  // namespace

uint64_t read(const OnPci& f, uint64_t offset, unsigned size) {
  const pci::Identity& identity = f.device.kind.pci;
  if (in_window(offset) && offset % 4 == 0 && offset > kWindowCapability)
    return read_window(f, offset - kWindowCapability, size);
  if (offset < pci::kConfigBytes) return pci::config_read(identity, f.device.pci, offset, size, f.device.core.isr != 0);
  if (offset - kRegisters < identity.bars[kBar].len_bytes) return read_bar(f, offset - kRegisters, size);
  uint64_t value = open_bus(size);
  pci::msix_read(identity, f.device.pci, f.vector, offset - pci::region(kMsixBar), size, value);
  return value;
}

Written write(const OnPci& f, uint64_t offset, unsigned size, uint64_t value) {
  const pci::Identity& identity = f.device.kind.pci;
  if (in_window(offset)) return write_window(f, offset - kWindowCapability, size, value);
  if (offset < pci::kConfigBytes)
    return {pci::config_write(identity, f.device.pci, offset, size, value) ? Left::kResetFunction : Left::kNothing};
  if (offset - kRegisters < identity.bars[kBar].len_bytes) return write_bar(f, offset - kRegisters, size, value);
  pci::msix_write(identity, f.vector, offset - pci::region(kMsixBar), size, value);
  return {};
}

}  // namespace dejavm::virtio
