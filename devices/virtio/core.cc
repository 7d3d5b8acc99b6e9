// The registers of the common configuration (4.1.4.3), notifications, and resets.
#include "devices/virtio/core.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/virtio/parts.h"

namespace dejavm::virtio {
namespace {

enum Register : uint64_t {
  kDeviceFeatureSelect = 0x00,
  kDeviceFeature = 0x04,
  kDriverFeatureSelect = 0x08,
  kDriverFeature = 0x0c,
  kConfigVector = 0x10,
  kNumQueues = 0x12,
  kStatus = 0x14,
  kQueueSelect = 0x16,
  kQueueSize = 0x18,
  kQueueVector = 0x1a,
  kQueueEnable = 0x1c,
  kQueueNotifyOff = 0x1e,
  kQueueDescriptors = 0x20,
  kQueueDriver = 0x28,
  kQueueDevice = 0x30,
  kCommonBytes = 0x38,
};

uint64_t offered(const Kind& kind) { return kind.features | kRingFeatures; }

uint32_t half(uint64_t value, uint32_t select) { return select > 1 ? 0 : static_cast<uint32_t>(value >> 32 * select); }

template <class T>
void put(std::array<uint8_t, kCommonBytes>& to, uint64_t at, T value) {
  std::memcpy(&to[at], &value, sizeof value);
}

std::array<uint8_t, kCommonBytes> common(const Kind& kind, const Core& c, std::span<const Queue> queues) {
  std::array<uint8_t, kCommonBytes> out{};
  put(out, kDeviceFeatureSelect, c.device_feature_select);
  put(out, kDeviceFeature, half(offered(kind), c.device_feature_select));
  put(out, kDriverFeatureSelect, c.driver_feature_select);
  put(out, kDriverFeature, half(c.driver_features, c.driver_feature_select));
  put(out, kConfigVector, c.config_vector);
  put(out, kNumQueues, static_cast<uint16_t>(queues.size()));
  put(out, kStatus, c.status);
  put(out, kQueueSelect, c.queue_select);
  if (c.queue_select >= queues.size()) return out;  // of a queue that there is not: size 0
  const Queue& q = queues[c.queue_select];
  put(out, kQueueSize, q.size);
  put(out, kQueueVector, q.vector);
  put(out, kQueueEnable, static_cast<uint16_t>(q.enabled));
  put(out, kQueueNotifyOff, c.queue_select);
  put(out, kQueueDescriptors, q.descriptors);
  put(out, kQueueDriver, q.driver);
  put(out, kQueueDevice, q.device);
  return out;
}

uint16_t vector_or_none(const Device& d, uint64_t value) {
  return value < d.kind.pci.msix_vectors ? static_cast<uint16_t>(value) : kNoVector;
}

// True: a reset. FEATURES_OK stays clear if the driver wants what was not offered, or is of before VIRTIO 1.
bool write_status(const Device& d, uint8_t value) {
  if (value == 0) return true;
  Core& c = d.core;
  const bool agreed = !(c.driver_features & ~offered(d.kind)) && (c.driver_features & kVersion1);
  if (!(c.status & kFeaturesOk) && !agreed) value &= static_cast<uint8_t>(~kFeaturesOk);
  c.status = static_cast<uint8_t>((value & ~kNeedsReset) | (c.status & kNeedsReset));
  return false;
}

void enable(const Device& d, Queue& q) {
  const bool packed = d.core.driver_features & kPacked;
  const bool power_of_two = (q.size & (q.size - 1)) == 0;
  const bool aligned = q.descriptors % 16 == 0 && q.driver % (packed ? 4 : 2) == 0 && q.device % 4 == 0;
  if (!aligned || (!packed && !power_of_two)) return broken(d);
  q.enabled = true;
}

void write_queue(const Device& d, Queue& q, uint64_t at, unsigned size, uint64_t value) {
  if (at == kQueueVector && size == 2) q.vector = vector_or_none(d, value);
  if (q.enabled) return;
  if (at == kQueueSize && size == 2 && value >= 1 && value <= kMaxQueueSize) q.size = static_cast<uint16_t>(value);
  if (at == kQueueEnable && size == 2 && value == 1) enable(d, q);
  if (at < kQueueDescriptors || at % size != 0 || size < 4) return;
  uint64_t* const areas[] = {&q.descriptors, &q.driver, &q.device};
  uint64_t& area = *areas[(at - kQueueDescriptors) / 8];
  area = size == 8 ? value : with_half(area, at % 8 != 0, static_cast<uint32_t>(value));
}

void notify(const Device& d, uint64_t at) {
  const uint64_t n = at / kNotifyStride;
  if (n >= d.queue.size() || !d.queue[n].enabled || !(d.core.status & kDriverOk)) return;
  d.queue[n].notified = true;
  look_for_work(d);
}

}  // namespace

bool read(const Kind& kind, const Core& c, std::span<const Queue> queues, uint64_t at, unsigned size, uint64_t& value) {
  if (at >= kCommonBytes || size > kCommonBytes - at) return false;
  const auto bytes = common(kind, c, queues);
  value = 0;
  std::memcpy(&value, &bytes[at], size);
  return true;
}

bool write(const Device& d, uint64_t at, unsigned size, uint64_t value) {
  Core& c = d.core;
  if (at >= kNotifyAt && at < kNotifyAt + 0x1000) {
    notify(d, at - kNotifyAt);
    return false;
  }
  if (at == kStatus && size == 1) return write_status(d, static_cast<uint8_t>(value));
  if (at >= kCommonBytes || size > 8) return false;
  const auto word = static_cast<uint32_t>(value);
  if (size == 4 && at == kDeviceFeatureSelect) c.device_feature_select = word;
  if (size == 4 && at == kDriverFeatureSelect) c.driver_feature_select = word;
  if (size == 4 && at == kDriverFeature && c.driver_feature_select < 2 && !(c.status & kFeaturesOk))
    c.driver_features = with_half(c.driver_features, c.driver_feature_select, word);
  if (size == 2 && at == kConfigVector) c.config_vector = vector_or_none(d, value);
  if (size == 2 && at == kQueueSelect) c.queue_select = static_cast<uint16_t>(value);
  if (at >= kQueueSize && c.queue_select < d.queue.size()) write_queue(d, d.queue[c.queue_select], at, size, value);
  return false;
}

uint64_t take_isr(Core& c) { return std::exchange(c.isr, uint8_t{0}); }

void broken(const Device& d) {
  Core& c = d.core;
  forget_chain(c);
  c.status |= kNeedsReset;
  c.due_ns = 0;
  interrupt(d, c.config_vector, kIsrConfig);
}

void reset(Core& c, std::span<Queue> queues) {
  const uint64_t now = c.now_ns;
  c = Core{};
  c.now_ns = now;
  std::ranges::fill(queues, Queue{});
}

const char* invalid(const Kind& kind, const Core& c, std::span<const Queue> queues) {
  const bool packed = c.driver_features & kPacked;
  for (const Queue& q : queues) {
    if (q.vector != kNoVector && q.vector >= kind.pci.msix_vectors) return "a queue's vector is none of the function's";
    if (packed && (q.next_available >= q.size || q.next_used >= q.size)) return "a queue's place is outside its ring";
    if (!packed && q.enabled && (q.size & (q.size - 1)) != 0) return "a split queue's size is no power of two";
    if (q.notified && !q.enabled) return "a queue that is not enabled was notified";
  }
  if (c.config_vector != kNoVector && c.config_vector >= kind.pci.msix_vectors)
    return "config_vector is none of the function's";
  if ((c.status & kFeaturesOk) && (c.driver_features & ~offered(kind))) return "features that are not offered";
  if (c.due_ns != 0 && (c.due_ns <= c.now_ns || c.due_ns - c.now_ns > kServiceNs))
    return "due_ns is not within its time";
  if (c.due_ns != 0 && c.phase != Phase::kIdle) return "due while a chain is at hand";
  if (c.due_ns != 0 && (c.status & kNeedsReset)) return "due after the driver broke the rules";
  if (c.turn >= queues.size() || c.queue >= queues.size()) return "a queue that there is not";
  if (c.phase == Phase::kIdle) return nullptr;
  if (!queues[c.queue].enabled) return "a chain of a queue that is not enabled";
  if (c.status & kNeedsReset) return "a chain at hand after the driver broke the rules";
  return invalid_chain(c, queues[c.queue]);
}

}  // namespace dejavm::virtio
