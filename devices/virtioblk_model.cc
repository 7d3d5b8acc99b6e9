// What generic code must know of this model, and what drivers do with it.
#include <array>

#include "devices/core/device_model.h"
#include "devices/core/stand_in_memory.h"
#include "devices/virtioblk.h"

namespace dejavm {
namespace {

constexpr uint32_t kBar = pci::region(virtio::kBar), kTable = pci::region(virtio::kMsixBar);
constexpr uint32_t kConfig = kBar + virtio::kDeviceAt, kNotify = kBar + virtio::kNotifyAt;

constexpr uint32_t kRegisters[] = {
    0x00,         0x04,
    0x10,         0x20,
    0x34,         0x40,
    0x44,         0x50,
    0x60,         0x70,
    0x72,         0x88,
    0xc0,         0xe8,
    0xec,         0xf0,
    0xf4,         kBar,
    kBar + 0x04,  kBar + 0x08,
    kBar + 0x0c,  kBar + 0x10,
    kBar + 0x12,  kBar + 0x14,
    kBar + 0x16,  kBar + 0x18,
    kBar + 0x1a,  kBar + 0x1c,
    kBar + 0x20,  kBar + 0x28,
    kBar + 0x30,  kBar + virtio::kIsrAt,
    kConfig,      kConfig + 8,
    kConfig + 20, kConfig + 32,
    kConfig + 36, kNotify,
    kNotify + 4,  kNotify + 8,
    kNotify + 12, kTable,
    kTable + 4,   kTable + 8,
    kTable + 12,  kTable + 16,
    kTable + 20,  kTable + 24,
    kTable + 28,  kTable + 32,
    kTable + 36,  kTable + 40,
    kTable + 44,  kTable + 48,
    kTable + 52,  kTable + 56,
    kTable + 60,  kTable + 64,
    kTable + 68,  kTable + 72,
    kTable + 76,  kTable + pci::kMsixPending,
};

// A driver's memory: the split queue's descriptors, its available ring, headers and ranges, an indirect table, and a
// packed ring of the same requests.
constexpr uint64_t kSplit = DeviceModel::kDriverMemory, kAvailable = kSplit + 0x400, kHeaders = kSplit + 0x800,
                   kRanges = kSplit + 0x900, kIndirect = kSplit + 0xa00, kPacked = kSplit + 0xc00,
                   kPackedEvents = kSplit + 0xfe0, kUsed = 0x18000, kData = 0x30000;
constexpr uint16_t kQueueSize = 16;

struct Descriptor {
  uint64_t address;
  uint32_t len_bytes;
  uint16_t flags, next;
};
constexpr uint64_t header(unsigned n) { return kHeaders + 16 * n; }
constexpr Descriptor kDescriptors[] = {
    {header(0), 16, 1, 1},  {kData, 8192, 3, 2},        {kData + 0x8000, 1, 2, 0},  // in
    {header(1), 16, 1, 4},  {kData + 0x200, 512, 1, 5}, {kData + 0x8000, 1, 2, 0},  // out
    {header(2), 16, 1, 7},  {kData + 0x8000, 1, 2, 0},                              // flush
    {header(3), 16, 1, 9},  {kData, 21, 2, 0},                                      // get id
    {header(4), 16, 1, 11}, {kRanges, 32, 1, 12},       {kData + 0x8000, 1, 2, 0},  // discard
    {kIndirect, 48, 4, 0},                                                          // write zeroes
    {header(6), 16, 1, 12},                                                         // none such
    {header(0), 16, 1, 15},                                                         // round for ever
};
constexpr uint16_t kHeads[] = {0, 3, 6, 8, 10, 13, 14, 15};
constexpr uint32_t kTypes[] = {0, 1, 4, 8, 11, 13, 99};

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
  for (size_t n = 0; n < std::size(kTypes); ++n) {
    put(header(static_cast<unsigned>(n)), kTypes[n], 4);
    put(header(static_cast<unsigned>(n)) + 8, 8 * n, 8);
  }
  for (size_t n = 0; n < 2; ++n) {
    put(kRanges + 16 * n, 16 * n, 8);
    put(kRanges + 16 * n + 8, 8 * n, 4);
  }
  const Descriptor table[] = {{header(5), 16, 1, 1}, {kRanges, 32, 1, 2}, {kData + 0x8000, 1, 2, 0}};
  for (size_t n = 0; n < std::size(table); ++n) {
    put(kIndirect + 16 * n, table[n].address, 8);
    put(kIndirect + 16 * n + 8, table[n].len_bytes, 4);
    put(kIndirect + 16 * n + 12, table[n].flags, 2);
    put(kIndirect + 16 * n + 14, table[n].next, 2);
  }
  return bytes;
}();

// What drivers do first, at once: the disk has 2^b pages; `a` chooses the kind of queue, serial number and blocks.
uint64_t start(void* state, Nanos now, uint64_t a, uint64_t b) {
  Virtioblk::State& s = state_at<Virtioblk>(state);
  const char serial[] = {'S', static_cast<char>('A' + a % 26)};
  Virtioblk::set_disk(s, uint64_t{4096} << b % 24, a % 2 == 0 ? 512 : 4096, {serial, sizeof serial}, a % 16 == 15);
  const auto write = [&](uint64_t at, unsigned size, uint64_t value) { Virtioblk::write(s, now, at, size, value); };
  const bool packed = a / 2 % 2 != 0, events = a / 4 % 2 != 0;
  write(0x04, 2, 6);
  write(kBar + 0x14, 1, 0);
  write(kBar + 0x14, 1, 3);
  write(kBar + 0x08, 4, 0);
  write(kBar + 0x0c, 4, 0x10006646 | (events ? 1u << 29 : 0));
  write(kBar + 0x08, 4, 1);
  write(kBar + 0x0c, 4, 1 | (packed ? 4 : 0));
  write(kBar + 0x14, 1, 11);
  write(kBar + 0x16, 2, a / 16 % Virtioblk::kQueues);
  write(kBar + 0x18, 2, kQueueSize);
  write(kBar + 0x1a, 2, 1);
  write(kBar + 0x20, 8, packed ? kPacked : kSplit);
  write(kBar + 0x28, 4, packed ? kPackedEvents : kAvailable);
  write(kBar + 0x30, 4, kUsed);
  write(kBar + 0x1c, 2, 1);
  write(kBar + 0x14, 1, 15);
  return Virtioblk::read(s, now, kBar + 0x14, 1);
}

// Notifies of queue a and does what the device wants of memory and disk, b + 1 steps at most. The answer is what it
// wanted.
uint64_t work(void* state, Nanos now, uint64_t a, uint64_t b) {
  Virtioblk::State& s = state_at<Virtioblk>(state);
  Virtioblk::write(s, now, kNotify + 4 * (a % Virtioblk::kQueues), 2, 0);
  StandInMemory memory{kMemory};
  uint64_t steps = b % 128 + 1;
  while (steps != 0 && pci::may_master(s.pci) && (s.core.due_ns != 0 || s.core.phase != virtio::Phase::kIdle)) {
    if (s.core.due_ns != 0) Virtioblk::advance(s, {s.core.due_ns});
    while (steps != 0 && memory.serve<Virtioblk>(s, now)) --steps;
  }
  return memory.hash;
}
constexpr DeviceCall kCalls[] = {{"start", 2, {64, 24}, start}, {"work", 2, {4, 128}, work}};

constexpr std::string_view kLineNames[] = {"INTA"};

constexpr DeviceOp kIdioms[] = {
    call_op(0, 0, 16),
    call_op(0, 2, 16),
    call_op(0, 4, 16),
    call_op(0, 6, 16),
    call_op(0, 15, 8),
    call_op(1, 0, 127),
    call_op(1, 0, 12),
    call_op(1, 0, 5),
    call_op(1, 1, 127),
    write_op(0x04, 2, 6),
    write_op(kBar + 0x14, 1, 0),
    write_op(kBar + 0x14, 1, 15),
    write_op(kBar + 0x16, 2, 1),
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
    write_op(kConfig + 32, 1, 0),
    wait_op(10'000),
    transfer_op(true),
    transfer_op(true),
    transfer_op(true),
    transfer_op(false),
};

}  // namespace

DeviceModel Virtioblk::model() {
  return device_model<Virtioblk>({.summary = "virtio block device on PCI",
                                  .sources = "Virtual I/O Device (VIRTIO) 1.1, 5.2",
                                  .registers = kRegisters,
                                  .line_names = kLineNames,
                                  .calls = kCalls,
                                  .idioms = kIdioms,
                                  .driver_memory = kMemory,
                                  .idle_events = 2});
}

}  // namespace dejavm
