// Replaying the devices alone: the logged exits into a fresh board. No guest code runs.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "devices/core/result.h"
#include "replay/trace/events.h"
#include "replay/trace/reader.h"
#include "vmm/board/inputs.h"

namespace dejavm {

struct DevicesSummary {
  uint64_t events = 0, exits = 0;
  uint64_t answers = 0;    // reads, MSRs, CPUIDs and interrupt vectors compared
  uint64_t keyframes = 0;  // whose device states were compared
};
// Feeds the logged exits, inputs and skips of time to a fresh board, compares each answer, and at each keyframe every
// field of every device. No guest code runs. A difference names device, event and the fields that differ at the next
// keyframe.
Result<DevicesSummary> replay_devices_only(const TraceReader&, Console*);

// How long the processor was asked for an interrupt before it took it: from INTR's rise, or from when the interrupt
// before was taken.
struct InterruptTaken {
  uint8_t vector = 0;
  Position at;
  Nanos raised, taken;
};
// All of a trace's, in their order, from the devices alone.
Result<void> interrupts_taken(const TraceReader&, const std::function<void(const InterruptTaken&)>&);

// The device that an event is about, "cpu" for CPUID; "-": none.
std::string_view device_of(const Event&);

}  // namespace dejavm
