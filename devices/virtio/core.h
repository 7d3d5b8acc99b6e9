// What all virtio devices on PCI share: the common configuration, virtqueues, split and packed, and their walk through
// a driver's buffers, as a part of their models' states. Source: Virtual I/O Device (VIRTIO) 1.1; sections are its own.
//
// A chain of buffers is fetched kServiceNs after the device could have begun, descriptor by descriptor; then the model
// serves it, and says how many bytes it has written; then it is given back. One chain is at hand at a time, the queues
// take turns. A chain has at most kMaxSegments buffers; a driver that breaks the rules (an index beyond its table, a
// table within a table, a read-only buffer behind a writable one, memory that is none) finds DEVICE_NEEDS_RESET.
//
// BAR 0 (64-bit memory, 16 KiB) has the structures, BAR 4 (32-bit memory, 4 KiB) MSI-X.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <tuple>

#include "devices/core/transfer.h"
#include "devices/pci/function.h"

namespace dejavm::virtio {

inline constexpr uint64_t kServiceNs = 10'000;
inline constexpr uint16_t kMaxQueueSize = 256, kNoVector = 0xffff;
inline constexpr unsigned kMaxSegments = 130;
inline constexpr unsigned kBar = 0, kMsixBar = 4;
inline constexpr uint64_t kCommonAt = 0x0000, kIsrAt = 0x1000, kDeviceAt = 0x2000, kNotifyAt = 0x3000;
inline constexpr uint32_t kNotifyStride = 4, kDeviceBytes = 0x1000;

// Feature bits (6).
inline constexpr uint64_t kIndirect = uint64_t{1} << 28, kEventIndex = uint64_t{1} << 29, kVersion1 = uint64_t{1} << 32,
                          kPacked = uint64_t{1} << 34;
inline constexpr uint64_t kRingFeatures = kIndirect | kEventIndex | kVersion1 | kPacked;

// Device status (2.1).
inline constexpr uint8_t kFeaturesOk = 8, kDriverOk = 4, kNeedsReset = 0x40;

struct Queue {
  uint64_t descriptors = 0, driver = 0, device = 0;  // the areas' addresses (2.5)
  uint16_t size = kMaxQueueSize;
  uint16_t vector = kNoVector;
  // Split: running indices, modulo 2^16. Packed: places in the ring.
  uint16_t next_available = 0, next_used = 0;
  bool enabled = false;
  bool notified = false;                         // there may be chains
  bool available_wrap = true, used_wrap = true;  // packed: the wrap counters
  std::array<uint8_t, 4> reserved{};
  static constexpr auto fields() {
    return std::tuple{field("descriptors", &Queue::descriptors), field("driver", &Queue::driver),
                      field("device", &Queue::device),           field("size", &Queue::size).range(1, kMaxQueueSize),
                      field("vector", &Queue::vector),           field("next_available", &Queue::next_available),
                      field("next_used", &Queue::next_used),     field("enabled", &Queue::enabled),
                      field("notified", &Queue::notified),       field("available_wrap", &Queue::available_wrap),
                      field("used_wrap", &Queue::used_wrap),     field("reserved", &Queue::reserved).range(0, 0)};
  }
};

struct Segment {
  uint64_t address = 0;
  uint32_t len_bytes = 0;
  bool writable = false;
  std::array<uint8_t, 3> reserved{};
  static constexpr auto fields() {
    return std::tuple{field("address", &Segment::address), field("len_bytes", &Segment::len_bytes).unit("bytes"),
                      field("writable", &Segment::writable), field("reserved", &Segment::reserved).range(0, 0)};
  }
};

enum class Phase : uint8_t {
  kIdle,         // no chain is at hand
  kAvailable,    // is there one?
  kEvent,        // there is none: the driver is to be told from where on it must notify
  kRecheck,      // did one come meanwhile?
  kHead,         // split: which descriptor it begins with
  kDescriptor,   // the next one
  kServing,      // the model is at work
  kUsed,         // it is to be given back
  kUsedIndex,    // split: and shown
  kSuppression,  // does the driver want an interrupt?
};

struct Core {
  uint64_t now_ns = 0;
  uint64_t due_ns = 0;  // when the next chain is looked for; 0: not
  uint64_t driver_features = 0;
  uint32_t device_feature_select = 0, driver_feature_select = 0;
  uint16_t queue_select = 0, config_vector = kNoVector;
  uint8_t status = 0, isr = 0;
  Phase phase = Phase::kIdle;
  uint8_t window_bar = 0;  // of the window that configuration space has (4.1.4.7)
  uint32_t window_offset = 0, window_length = 0;

  uint16_t turn = 0, queue = 0;  // looked at first; at work
  // The chain at hand.
  uint16_t id = 0;           // what it is given back by
  uint16_t descriptors = 0;  // of the ring that it takes
  uint16_t segments = 0;
  uint16_t next = 0;                    // the next descriptor in its table
  uint32_t entries = 0;                 // of an indirect table; 0: the chain is in the queue's own
  uint64_t table = 0;                   // the indirect table
  uint64_t readable = 0, writable = 0;  // bytes
  std::array<uint8_t, 16> scratch{};    // what is to be written to the rings
  std::array<Segment, kMaxSegments> segment{};
  static constexpr auto fields() {
    return std::tuple{field("now_ns", &Core::now_ns).unit("ns"),
                      field("due_ns", &Core::due_ns).unit("ns"),
                      field("driver_features", &Core::driver_features),
                      field("device_feature_select", &Core::device_feature_select),
                      field("driver_feature_select", &Core::driver_feature_select),
                      field("queue_select", &Core::queue_select),
                      field("config_vector", &Core::config_vector),
                      field("status", &Core::status),
                      field("isr", &Core::isr).range(0, 3),
                      field("phase", &Core::phase).range(0, 9),
                      field("window_bar", &Core::window_bar),
                      field("window_offset", &Core::window_offset),
                      field("window_length", &Core::window_length),
                      field("turn", &Core::turn),
                      field("queue", &Core::queue),
                      field("id", &Core::id),
                      field("descriptors", &Core::descriptors),
                      field("segments", &Core::segments).range(0, kMaxSegments),
                      field("next", &Core::next),
                      field("entries", &Core::entries).range(0, 0x10000),
                      field("table", &Core::table),
                      field("readable", &Core::readable).unit("bytes"),
                      field("writable", &Core::writable).unit("bytes"),
                      field("scratch", &Core::scratch),
                      field("segment", &Core::segment)};
  }
};

// What a device is, and its parts in the model's state.
struct Kind {
  const pci::Identity& pci;
  uint64_t features;  // offered, without kRingFeatures
};
struct Device {
  const Kind& kind;
  pci::Function& pci;
  Core& core;
  std::span<Queue> queue;
};

// Registers: `at` is an offset of BAR 0. read: false where the device's own configuration or nothing is.
bool read(const Kind&, const Core&, std::span<const Queue>, uint64_t at, unsigned size, uint64_t& value);
// True: the driver wants a reset.
bool write(const Device&, uint64_t at, unsigned size, uint64_t value);
uint64_t take_isr(Core&);  // reading it clears it (4.1.4.5)

// Time, and the steps in between. next_transfer: false also while the model is at work (Phase::kServing).
void advance(const Device&, Nanos now);
bool next_transfer(const Core&, std::span<const Queue>, Transfer&);
// After it the model may have to serve (Phase::kServing): then served() or broken().
void transferred(const Device&, bool ok, std::span<const uint8_t> bytes);
// The buffers with data for the device, or for the driver, as one run of bytes: where the one at `offset` is and how
// many follow it. False: there are not so many.
bool place(const Core&, bool writable, uint64_t offset, uint64_t& address, uint64_t& len_bytes);
void served(const Device&, uint32_t written);
void broken(const Device&);
void reset(Core&, std::span<Queue>);

// Why a state is impossible, or nullptr.
const char* invalid(const Kind&, const Core&, std::span<const Queue>);

}  // namespace dejavm::virtio

#include "devices/virtio/identity.h"
