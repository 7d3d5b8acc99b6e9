// What generic code must know of this model, and what drivers do with it.
#include <array>

#include "devices/core/device_model.h"
#include "devices/core/stand_in_memory.h"
#include "devices/virtiorng.h"

namespace dejavm {
namespace {

constexpr uint32_t kBar = pci::region(virtio::kBar), kTable = pci::region(virtio::kMsixBar);
constexpr uint32_t kNotify = kBar + virtio::kNotifyAt;

constexpr uint32_t kRegisters[] = {
    0x00,
    0x04,
    0x10,
    0x20,
    0x34,
    0x40,
    0x44,
    0x50,
    0x60,
    0x70,
    0x72,
    0x88,
    0xc0,
    0xe8,
    0xec,
    0xf0,
    0xf4,
    kBar,
    kBar + 0x04,
    kBar + 0x08,
    kBar + 0x0c,
    kBar + 0x10,
    kBar + 0x12,
    kBar + 0x14,
    kBar + 0x16,
    kBar + 0x18,
    kBar + 0x1a,
    kBar + 0x1c,
    kBar + 0x20,
    kBar + 0x28,
    kBar + 0x30,
    kNotify,
    kTable,
    kTable + 4,
    kTable + 8,
    kTable + 12,
    kTable + 16,
    kTable + 20,
    kTable + 24,
    kTable + 28,
    kBar + virtio::kIsrAt,
    kTable + pci::kMsixPending,
};

// A driver's memory: a split queue's descriptors, its available ring, and a packed ring of the same requests.
constexpr uint64_t kSplit = DeviceModel::kDriverMemory, kAvailable = kSplit + 0x400, kPacked = kSplit + 0xc00,
                   kPackedEvents = kSplit + 0xfe0, kUsed = 0x18000, kData = 0x30000;
constexpr uint16_t kQueueSize = 8;

struct Descriptor {
  uint64_t address;
  uint32_t len_bytes;
  uint16_t flags, next;
};
constexpr Descriptor kDescriptors[] = {
    {kData, 64, 2, 0},                                   // as Linux asks
    {kData, 100, 3, 2},     {kData + 0x1000, 33, 2, 0},  // into two buffers
    {kData, 0x20000, 2, 0},                              // more than it gives
    {kData, 64, 0, 0},                                   // no room at all
};
constexpr uint16_t kHeads[] = {0, 1, 3, 4};

constexpr auto kMemory = [] {
  std::array<uint8_t, 0x1000> bytes{};
  const auto put = [&](uint64_t at, uint64_t value, unsigned count) {
    for (unsigned n = 0; n < count; ++n) bytes[at - kSplit + n] = static_cast<uint8_t>(value >> (8 * n));
  };
  uint64_t at = kSplit, packed = kPacked;
  uint16_t id = 0;
  for (const Descriptor& d : kDescriptors) {
    put(at, d.address, 8);
    put(at + 8, d.len_bytes, 4);
    put(at + 12, d.flags, 2);
    put(at + 14, d.next, 2);
    at += 16;
    put(packed, d.address, 8);
    put(packed + 8, d.len_bytes, 4);
    put(packed + 12, id++, 2);
    put(packed + 14, d.flags | 0x80, 2);
    packed += 16;
  }
  put(kAvailable + 2, std::size(kHeads), 2);
  for (size_t n = 0; n < std::size(kHeads); ++n) put(kAvailable + 4 + 2 * n, kHeads[n], 2);
  return bytes;
}();

// What drivers do first, at once; `a` chooses the kind of queue and the seed.
uint64_t start(void* state, Nanos now, uint64_t a, uint64_t) {
  Virtiorng::State& s = state_at<Virtiorng>(state);
  Virtiorng::set_seed(s, a);
  const auto write = [&](uint64_t at, unsigned size, uint64_t value) { Virtiorng::write(s, now, at, size, value); };
  const bool packed = a / 2 % 2 != 0, events = a / 4 % 2 != 0;
  write(0x04, 2, 6);
  write(kBar + 0x14, 1, 0);
  write(kBar + 0x14, 1, 3);
  write(kBar + 0x08, 4, 0);
  write(kBar + 0x0c, 4, 0x10000000 | (events ? 1u << 29 : 0));
  write(kBar + 0x08, 4, 1);
  write(kBar + 0x0c, 4, 1 | (packed ? 4 : 0));
  write(kBar + 0x14, 1, 11);
  write(kBar + 0x16, 2, 0);
  write(kBar + 0x18, 2, kQueueSize);
  write(kBar + 0x1a, 2, 1);
  write(kBar + 0x20, 8, packed ? kPacked : kSplit);
  write(kBar + 0x28, 4, packed ? kPackedEvents : kAvailable);
  write(kBar + 0x30, 4, kUsed);
  write(kBar + 0x1c, 2, 1);
  write(kBar + 0x14, 1, 15);
  return Virtiorng::read(s, now, kBar + 0x14, 1);
}

// Notifies and does what the device wants of memory, b + 1 steps at most. The answer is what it wanted.
uint64_t work(void* state, Nanos now, uint64_t, uint64_t b) {
  Virtiorng::State& s = state_at<Virtiorng>(state);
  Virtiorng::write(s, now, kNotify, 2, 0);
  StandInMemory memory{kMemory};
  uint64_t steps = b % 128 + 1;
  while (steps != 0 && pci::may_master(s.pci) && (s.core.due_ns != 0 || s.core.phase != virtio::Phase::kIdle)) {
    if (s.core.due_ns != 0) Virtiorng::advance(s, {s.core.due_ns});
    while (steps != 0 && memory.serve<Virtiorng>(s, now)) --steps;
  }
  return memory.hash;
}
constexpr DeviceCall kCalls[] = {{"start", 2, {64, 1}, start}, {"work", 2, {1, 128}, work}};

constexpr std::string_view kLineNames[] = {"INTA"};

constexpr DeviceOp kIdioms[] = {
    call_op(0, 0, 0),
    call_op(0, 2, 0),
    call_op(0, 4, 0),
    call_op(0, 6, 0),
    call_op(1, 0, 127),
    call_op(1, 0, 12),
    call_op(1, 0, 5),
    write_op(0x04, 2, 6),
    write_op(kBar + 0x14, 1, 0),
    write_op(kBar + 0x14, 1, 15),
    write_op(kBar + 0x1c, 2, 1),
    write_op(kBar + 0x10, 2, 0),
    write_op(kNotify, 2, 0),
    read_op(kBar + virtio::kIsrAt, 1),
    write_op(0xec, 4, 0x14),
    write_op(0xf0, 4, 1),
    read_op(0xf4, 1),
    write_op(0x72, 2, 0x8000),
    write_op(kTable, 4, 0xfee01000),
    write_op(kTable + 16, 4, 0xfee01000),
    write_op(kTable + 0x18, 4, 0x51),
    write_op(kTable + 0x1c, 4, 0),
    wait_op(10'000),
    transfer_op(true),
    transfer_op(true),
    transfer_op(true),
    transfer_op(false),
};

}  // namespace

DeviceModel Virtiorng::model() {
  return device_model<Virtiorng>({.summary = "virtio entropy device on PCI",
                                  .sources = "Virtual I/O Device (VIRTIO) 1.1, 5.4",
                                  .registers = kRegisters,
                                  .line_names = kLineNames,
                                  .calls = kCalls,
                                  .idioms = kIdioms,
                                  .driver_memory = kMemory,
                                  .idle_events = 2});
}

}  // namespace dejavm
