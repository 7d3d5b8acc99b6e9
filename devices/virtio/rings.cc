// From a notification to the chain's return: split (2.6) and packed (2.7) virtqueues.
#include <algorithm>
#include <cstring>

#include "devices/virtio/parts.h"

namespace dejavm::virtio {
namespace {

constexpr uint16_t kNext = 1, kWrite = 2, kIndirectTable = 4;         // of descriptors
constexpr uint16_t kPackedAvailable = 1 << 7, kPackedUsed = 1 << 15;  // of packed ones
constexpr uint16_t kNoInterrupt = 1;                                  // of the split available ring
constexpr uint16_t kEventsOff = 1, kEventsAtPlace = 2;                // of packed event suppression
constexpr uint64_t kDescriptorBytes = 16;

bool is_packed(const Core& c) { return c.driver_features & kPacked; }
bool has_events(const Core& c) { return c.driver_features & kEventIndex; }

template <class T>
T get(std::span<const uint8_t> bytes, size_t at = 0) {
  T value;
  std::memcpy(&value, &bytes[at], sizeof value);
  return value;
}
template <class T>
void put(Core& c, size_t at, T value) {
  std::memcpy(&c.scratch[at], &value, sizeof value);
}

// The place in a packed ring `count` further on; the wrap counter turns at its end.
void go_on(uint16_t& place, bool& wrap, uint16_t count, uint16_t size) {
  const uint32_t next = uint32_t{place} + count;
  place = static_cast<uint16_t>(next % size);
  if (next >= size) wrap = !wrap;
}

void end_chain(const Device& d) {
  d.core.turn = static_cast<uint16_t>((d.core.queue + 1u) % d.queue.size());
  forget_chain(d.core);
  look_for_work(d);
}

// No chain is there: the driver is told where to notify at, if it wants that; then once more is looked.
void none_available(const Device& d) {
  Core& c = d.core;
  Queue& q = d.queue[c.queue];
  if (c.phase == Phase::kRecheck || !has_events(c)) {
    q.notified = false;
    return end_chain(d);
  }
  if (is_packed(c)) {
    put(c, 0, static_cast<uint16_t>(q.next_available | (q.available_wrap ? 1 << 15 : 0)));
    put(c, 2, kEventsAtPlace);
  } else {
    put(c, 0, q.next_available);
  }
  c.phase = Phase::kEvent;
}

bool packed_available(const Queue& q, uint16_t flags) {
  return ((flags & kPackedAvailable) != 0) == q.available_wrap && ((flags & kPackedUsed) != 0) != q.available_wrap;
}

void begin_serving(const Device& d) { d.core.phase = Phase::kServing; }

// A buffer of the chain. False: the driver breaks the rules.
bool add_segment(Core& c, uint64_t address, uint32_t len_bytes, uint16_t flags) {
  const bool writable = flags & kWrite;
  if (c.segments == kMaxSegments || (!writable && c.writable != 0)) return false;
  c.segment[c.segments++] = {.address = address, .len_bytes = len_bytes, .writable = writable};
  (writable ? c.writable : c.readable) += len_bytes;
  return true;
}

bool open_table(Core& c, uint64_t address, uint32_t len_bytes) {
  if (c.entries != 0 || !(c.driver_features & kIndirect)) return false;
  if (len_bytes == 0 || len_bytes % kDescriptorBytes != 0 || len_bytes / kDescriptorBytes > 0x10000) return false;
  c.table = address;
  c.entries = static_cast<uint32_t>(len_bytes / kDescriptorBytes);
  c.next = 0;
  return true;
}

void split_descriptor(const Device& d, std::span<const uint8_t> bytes) {
  Core& c = d.core;
  const auto address = get<uint64_t>(bytes);
  const auto len_bytes = get<uint32_t>(bytes, 8);
  const auto flags = get<uint16_t>(bytes, 12), next = get<uint16_t>(bytes, 14);
  if (flags & kIndirectTable) {
    if ((flags & kNext) || !open_table(c, address, len_bytes)) return broken(d);
    return;
  }
  if (!add_segment(c, address, len_bytes, flags)) return broken(d);
  if (!(flags & kNext)) return begin_serving(d);
  if (next >= (c.entries != 0 ? c.entries : d.queue[c.queue].size)) return broken(d);
  c.next = next;
}

// In an indirect table of a packed queue all entries are of the chain, in order, and only kWrite means something.
void packed_descriptor(const Device& d, std::span<const uint8_t> bytes) {
  Core& c = d.core;
  Queue& q = d.queue[c.queue];
  const auto address = get<uint64_t>(bytes);
  const auto len_bytes = get<uint32_t>(bytes, 8);
  const auto id = get<uint16_t>(bytes, 12), flags = get<uint16_t>(bytes, 14);
  if (c.entries != 0) {
    if (!add_segment(c, address, len_bytes, flags & kWrite)) return broken(d);
    if (++c.next == c.entries) begin_serving(d);
    return;
  }
  c.id = id;
  go_on(q.next_available, q.available_wrap, 1, q.size);
  if (++c.descriptors > q.size) return broken(d);
  c.phase = Phase::kDescriptor;
  if (flags & kIndirectTable) {
    if ((flags & kNext) || c.segments != 0 || !open_table(c, address, len_bytes)) return broken(d);
    return;
  }
  if (!add_segment(c, address, len_bytes, flags)) return broken(d);
  if (!(flags & kNext)) begin_serving(d);
}

void looked(const Device& d, std::span<const uint8_t> bytes) {
  Core& c = d.core;
  const Queue& q = d.queue[c.queue];
  if (is_packed(c)) {
    if (!packed_available(q, get<uint16_t>(bytes, 14))) return none_available(d);
    return packed_descriptor(d, bytes);
  }
  const auto index = get<uint16_t>(bytes, 2);
  if (index == q.next_available) return none_available(d);
  if (static_cast<uint16_t>(index - q.next_available) > q.size) return broken(d);
  c.phase = Phase::kHead;
}

void head_arrived(const Device& d, std::span<const uint8_t> bytes) {
  Core& c = d.core;
  Queue& q = d.queue[c.queue];
  c.id = c.next = get<uint16_t>(bytes);
  if (c.id >= q.size) return broken(d);
  ++q.next_available;
  c.phase = Phase::kDescriptor;
}

void used_written(const Device& d) {
  Core& c = d.core;
  Queue& q = d.queue[c.queue];
  if (is_packed(c)) {
    go_on(q.next_used, q.used_wrap, c.descriptors, q.size);
    c.phase = Phase::kSuppression;
    return;
  }
  ++q.next_used;
  put(c, 0, q.next_used);
  c.phase = Phase::kUsedIndex;
}

// Whether the driver wants to hear of what was given back just now (2.6.7.1, 2.7.10).
bool wants_interrupt(const Core& c, const Queue& q, std::span<const uint8_t> bytes) {
  const auto first = get<uint16_t>(bytes);
  if (!is_packed(c)) return has_events(c) ? first == static_cast<uint16_t>(q.next_used - 1) : !(first & kNoInterrupt);
  const auto flags = static_cast<uint16_t>(get<uint16_t>(bytes, 2) & 3);
  if (flags != kEventsAtPlace) return flags != kEventsOff;
  // The descriptor that the driver waits for is among those of this chain.
  const uint16_t wanted = first & 0x7fff;
  uint32_t place = q.next_used;
  bool wrap = q.used_wrap;
  for (unsigned n = 0; n < c.descriptors; ++n) {
    if (place == 0) {
      place = q.size;
      wrap = !wrap;
    }
    --place;
    if (place == wanted && wrap == (first >> 15 != 0)) return true;
  }
  return false;
}

uint64_t descriptor_at(const Core& c, const Queue& q) {
  if (c.entries != 0) return c.table + kDescriptorBytes * c.next;
  return q.descriptors + kDescriptorBytes * (is_packed(c) ? q.next_available : c.next);
}

void read_step(Transfer& t, uint64_t address, uint32_t len_bytes) {
  t.address = address;
  t.len_bytes = len_bytes;
}

void write_step(const Core& c, Transfer& t, uint64_t address, uint32_t len_bytes) {
  t = {.kind = Transfer::Kind::kWrite,
       .address = address,
       .len_bytes = len_bytes,
       .bytes = std::span(c.scratch).first(len_bytes)};
}

void split_step(const Core& c, const Queue& q, Transfer& t) {
  switch (c.phase) {
    case Phase::kAvailable:
    case Phase::kRecheck: return read_step(t, q.driver, 4);
    case Phase::kHead: return read_step(t, q.driver + 4 + 2u * (q.next_available % q.size), 2);
    case Phase::kEvent: return write_step(c, t, q.device + 4 + 8u * q.size, 2);
    case Phase::kUsed: return write_step(c, t, q.device + 4 + 8u * (q.next_used % q.size), 8);
    case Phase::kUsedIndex: return write_step(c, t, q.device + 2, 2);
    case Phase::kSuppression: return read_step(t, q.driver + (has_events(c) ? 4 + 2u * q.size : 0), 2);
    default: return read_step(t, descriptor_at(c, q), kDescriptorBytes);
  }
}

void packed_step(const Core& c, const Queue& q, Transfer& t) {
  switch (c.phase) {
    case Phase::kEvent: return write_step(c, t, q.device, 4);
    case Phase::kUsed: return write_step(c, t, q.descriptors + kDescriptorBytes * q.next_used, kDescriptorBytes);
    case Phase::kSuppression: return read_step(t, q.driver, 4);
    default: return read_step(t, descriptor_at(c, q), kDescriptorBytes);
  }
}

}  // namespace

void look_for_work(const Device& d) {
  Core& c = d.core;
  if (c.due_ns != 0 || c.phase != Phase::kIdle || (c.status & kNeedsReset)) return;
  const bool time_ends = c.now_ns > ~uint64_t{0} - kServiceNs;
  if (!time_ends && std::ranges::any_of(d.queue, &Queue::notified)) c.due_ns = c.now_ns + kServiceNs;
}

void forget_chain(Core& c) {
  c.phase = Phase::kIdle;
  c.queue = 0;
  c.id = c.descriptors = c.segments = c.next = 0;
  c.entries = 0;
  c.table = c.readable = c.writable = 0;
  c.scratch = {};
  c.segment = {};
}

void interrupt(const Device& d, uint16_t vector, uint8_t isr) {
  if (!pci::uses_msix(d.pci)) d.core.isr |= isr;
  else if (vector != kNoVector) pci::signal(d.kind.pci, d.pci, vector);
}

void advance(const Device& d, Nanos now) {
  Core& c = d.core;
  if (now.value <= c.now_ns) return;
  c.now_ns = now.value;
  if (c.due_ns == 0 || c.due_ns > c.now_ns) return;
  c.due_ns = 0;
  for (size_t n = 0; n < d.queue.size(); ++n) {
    const size_t queue = (c.turn + n) % d.queue.size();
    if (!d.queue[queue].notified) continue;
    forget_chain(c);
    c.queue = static_cast<uint16_t>(queue);
    c.phase = Phase::kAvailable;
    return;
  }
}

bool next_transfer(const Core& c, std::span<const Queue> queues, Transfer& t) {
  if (c.phase == Phase::kIdle || c.phase == Phase::kServing) return false;
  t = {};
  if (is_packed(c)) packed_step(c, queues[c.queue], t);
  else split_step(c, queues[c.queue], t);
  return true;
}

void transferred(const Device& d, bool ok, std::span<const uint8_t> bytes) {
  Core& c = d.core;
  if (!ok) {
    pci::received_master_abort(d.pci);
    return broken(d);
  }
  switch (c.phase) {
    case Phase::kAvailable:
    case Phase::kRecheck: return looked(d, bytes);
    case Phase::kEvent: c.phase = Phase::kRecheck; return;
    case Phase::kHead: return head_arrived(d, bytes);
    case Phase::kDescriptor: return is_packed(c) ? packed_descriptor(d, bytes) : split_descriptor(d, bytes);
    case Phase::kUsed: return used_written(d);
    case Phase::kUsedIndex: c.phase = Phase::kSuppression; return;
    case Phase::kSuppression:
      if (wants_interrupt(c, d.queue[c.queue], bytes)) interrupt(d, d.queue[c.queue].vector, kIsrQueue);
      return end_chain(d);
    case Phase::kIdle:
    case Phase::kServing: return;
  }
}

bool place(const Core& c, bool writable, uint64_t offset, uint64_t& address, uint64_t& len_bytes) {
  for (unsigned n = 0; n < c.segments; ++n) {
    const Segment& segment = c.segment[n];
    if (segment.writable != writable) continue;
    if (offset < segment.len_bytes) {
      address = segment.address + offset;
      len_bytes = segment.len_bytes - offset;
      return true;
    }
    offset -= segment.len_bytes;
  }
  return false;
}

void served(const Device& d, uint32_t written) {
  Core& c = d.core;
  const Queue& q = d.queue[c.queue];
  c.phase = Phase::kUsed;
  c.scratch = {};
  if (is_packed(c)) {
    const unsigned flags = (q.used_wrap ? kPackedAvailable | kPackedUsed : 0) | (c.writable != 0 ? kWrite : 0);
    put(c, 8, written);
    put(c, 12, c.id);
    put(c, 14, static_cast<uint16_t>(flags));
  } else {
    put(c, 0, uint32_t{c.id});
    put(c, 4, written);
  }
}

const char* invalid_chain(const Core& c, const Queue& q) {
  uint64_t readable = 0, writable = 0;
  for (unsigned n = 0; n < c.segments; ++n) {
    const Segment& segment = c.segment[n];
    if (!segment.writable && writable != 0) return "a read-only buffer behind a writable one";
    (segment.writable ? writable : readable) += segment.len_bytes;
  }
  if (readable != c.readable || writable != c.writable)
    return "readable or writable is not the sum of the chain's buffers";
  if (c.entries != 0 && c.next > c.entries) return "next is outside the indirect table";
  if (c.entries == 0 && !is_packed(c) && c.next >= q.size) return "next is outside the queue's table";
  if (c.descriptors > q.size) return "a chain of more descriptors than the ring has";
  if (c.phase == Phase::kServing && c.segments == 0) return "a chain without buffers is served";
  return nullptr;
}

}  // namespace dejavm::virtio
