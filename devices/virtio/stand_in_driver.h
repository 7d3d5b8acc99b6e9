// For the calls by which scripts play a driver of a virtio device (DeviceCall): rings with requests, split and packed,
// in a driver's memory, and what drivers do with the device.
#pragma once

#include <array>
#include <span>

#include "devices/core/stand_in_memory.h"
#include "devices/virtio/on_pci.h"

namespace dejavm::virtio {

// In the driver's memory, which begins at DeviceModel::kDriverMemory.
inline constexpr uint64_t kStandInSplit = DeviceModel::kDriverMemory, kStandInAvailable = kStandInSplit + 0x400,
                          kStandInPacked = kStandInSplit + 0xc00, kStandInPackedEvents = kStandInSplit + 0xfe0,
                          kStandInUsed = 0x18000;
using StandInBytes = std::array<uint8_t, 0x1000>;

struct StandInDescriptor {
  uint64_t address;
  uint32_t len_bytes;
  uint16_t flags, next;
};

constexpr void stand_in_put(StandInBytes& bytes, uint64_t at, uint64_t value, unsigned count) {
  for (unsigned n = 0; n < count; ++n) bytes[at - kStandInSplit + n] = static_cast<uint8_t>(value >> (8 * n));
}

// A table of split descriptors.
constexpr void stand_in_table(StandInBytes& bytes, uint64_t at, std::span<const StandInDescriptor> descriptors) {
  for (const StandInDescriptor& d : descriptors) {
    stand_in_put(bytes, at, d.address, 8);
    stand_in_put(bytes, at + 8, d.len_bytes, 4);
    stand_in_put(bytes, at + 12, d.flags, 2);
    stand_in_put(bytes, at + 14, d.next, 2);
    at += 16;
  }
}

// The split queue with its available ring, and a packed ring of the same descriptors, all available.
constexpr void stand_in_rings(StandInBytes& bytes, std::span<const StandInDescriptor> descriptors,
                              std::span<const uint16_t> heads) {
  stand_in_table(bytes, kStandInSplit, descriptors);
  uint64_t packed = kStandInPacked;
  uint16_t id = 0;
  for (const StandInDescriptor& d : descriptors) {
    stand_in_put(bytes, packed, d.address, 8);
    stand_in_put(bytes, packed + 8, d.len_bytes, 4);
    stand_in_put(bytes, packed + 12, id++, 2);
    stand_in_put(bytes, packed + 14, d.flags | 0x80u, 2);
    packed += 16;
  }
  stand_in_put(bytes, kStandInAvailable + 2, heads.size(), 2);
  for (size_t n = 0; n < heads.size(); ++n) stand_in_put(bytes, kStandInAvailable + 4 + 2 * n, heads[n], 2);
}

// What drivers do first, at once. Bits 1 and 2 of `how`: a packed ring, event indices. The answer is the status.
template <class M>
uint64_t stand_in_start(typename M::State& s, Nanos now, uint64_t how, uint64_t features, uint64_t queue,
                        uint16_t size) {
  const auto write = [&](uint64_t at, unsigned bytes, uint64_t value) { M::write(s, now, at, bytes, value); };
  const bool packed = how / 2 % 2 != 0, events = how / 4 % 2 != 0;
  write(0x04, 2, 6);
  write(kRegisters + 0x14, 1, 0);
  write(kRegisters + 0x14, 1, 3);
  write(kRegisters + 0x08, 4, 0);
  write(kRegisters + 0x0c, 4, features | (events ? kEventIndex : 0));
  write(kRegisters + 0x08, 4, 1);
  write(kRegisters + 0x0c, 4, 1 | (packed ? 4 : 0));
  write(kRegisters + 0x14, 1, 11);
  write(kRegisters + 0x16, 2, queue);
  write(kRegisters + 0x18, 2, size);
  write(kRegisters + 0x1a, 2, 1);
  write(kRegisters + 0x20, 8, packed ? kStandInPacked : kStandInSplit);
  write(kRegisters + 0x28, 4, packed ? kStandInPackedEvents : kStandInAvailable);
  write(kRegisters + 0x30, 4, kStandInUsed);
  write(kRegisters + 0x1c, 2, 1);
  write(kRegisters + 0x14, 1, 15);
  return M::read(s, now, kRegisters + 0x14, 1);
}

// Notifies of a queue and does what the device wants, `steps` steps at most. The answer is what it wanted.
template <class M>
uint64_t stand_in_work(typename M::State& s, Nanos now, uint64_t queue, uint64_t steps,
                       std::span<const uint8_t> driver) {
  M::write(s, now, kRegisters + kNotifyAt + kNotifyStride * queue, 2, 0);
  StandInMemory memory{driver};
  while (steps != 0 && pci::may_master(s.pci) && (s.core.due_ns != 0 || s.core.phase != Phase::kIdle)) {
    if (s.core.due_ns != 0) M::advance(s, {s.core.due_ns});
    while (steps != 0 && memory.serve<M>(s, now)) --steps;
  }
  return memory.hash;
}

}  // namespace dejavm::virtio
