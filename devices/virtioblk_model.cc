// What generic code must know of this model, and what drivers do with it.
#include <array>

#include "devices/core/device_model.h"
#include "devices/virtio/stand_in_driver.h"
#include "devices/virtioblk.h"

namespace dejavm {
namespace {

using virtio::StandInDescriptor;

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

// A driver's memory: the rings' requests, headers and ranges, and an indirect table.
constexpr uint64_t kHeaders = DeviceModel::kDriverMemory + 0x800, kRanges = kHeaders + 0x100,
                   kIndirect = kHeaders + 0x200, kData = 0x30000;
constexpr uint16_t kQueueSize = 16;

constexpr uint64_t header(unsigned n) { return kHeaders + 16 * n; }
constexpr StandInDescriptor kDescriptors[] = {
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
  virtio::StandInBytes bytes{};
  const auto put = [&](uint64_t at, uint64_t value, unsigned count) { virtio::stand_in_put(bytes, at, value, count); };
  virtio::stand_in_rings(bytes, kDescriptors, kHeads);
  for (size_t n = 0; n < std::size(kTypes); ++n) {
    put(header(static_cast<unsigned>(n)), kTypes[n], 4);
    put(header(static_cast<unsigned>(n)) + 8, 8 * n, 8);
  }
  for (size_t n = 0; n < 2; ++n) {
    put(kRanges + 16 * n, 16 * n, 8);
    put(kRanges + 16 * n + 8, 8 * n, 4);
  }
  const StandInDescriptor table[] = {{header(5), 16, 1, 1}, {kRanges, 32, 1, 2}, {kData + 0x8000, 1, 2, 0}};
  virtio::stand_in_table(bytes, kIndirect, table);
  return bytes;
}();

// The disk has 2^b pages; `a` chooses the kind of queue, serial number and blocks.
uint64_t start(void* state, Nanos now, uint64_t a, uint64_t b) {
  Virtioblk::State& s = state_at<Virtioblk>(state);
  const char serial[] = {'S', static_cast<char>('A' + a % 26)};
  Virtioblk::set_disk(s, uint64_t{4096} << b % 24, a % 2 == 0 ? 512 : 4096, {serial, sizeof serial}, a % 16 == 15);
  return virtio::stand_in_start<Virtioblk>(s, now, a, 0x10006646, a / 16 % Virtioblk::kQueues, kQueueSize);
}

uint64_t work(void* state, Nanos now, uint64_t a, uint64_t b) {
  return virtio::stand_in_work<Virtioblk>(state_at<Virtioblk>(state), now, a % Virtioblk::kQueues, b % 128 + 1,
                                          kMemory);
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
