// For the calls by which scripts play a driver (DeviceCall): memory and disk that carry out what a bus master wants,
// and a hash of all that it wanted. Reads beyond the driver's memory find zeros; a disk compares as the memory that was
// read last begins.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "devices/core/device_model.h"
#include "devices/core/split_mix.h"

namespace dejavm {

struct StandInMemory {
  std::span<const uint8_t> driver;  // at DeviceModel::kDriverMemory
  uint64_t hash = 0;
  std::array<uint8_t, kMaxTransferBytes> bytes{};

  // One step of the model. False: it wants none.
  template <class M>
  bool serve(typename M::State& state, Nanos now) {
    Transfer t;
    if (!M::next_transfer(state, t)) return false;
    for (const uint64_t value :
         {static_cast<uint64_t>(t.kind), t.address, uint64_t{t.len_bytes}, t.disk_offset, t.disk_bytes})
      mix(value);
    for (const uint8_t byte : t.bytes) mix(byte);
    const bool is_read = t.kind == Transfer::Kind::kRead;
    for (uint32_t at = 0; is_read && at < t.len_bytes; ++at) {
      const uint64_t offset = t.address + at - DeviceModel::kDriverMemory;
      bytes[at] = offset < driver.size() ? driver[offset] : 0;
    }
    const size_t count = is_read ? t.len_bytes : t.kind == Transfer::Kind::kCompareDisk ? 1 : 0;
    M::transferred(state, now, true, std::span(bytes).first(count));
    return true;
  }

 private:
  void mix(uint64_t value) { hash = SplitMix64::output(hash ^ value, 1); }
};

}  // namespace dejavm
