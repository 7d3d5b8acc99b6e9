// What generic code must know of this model, and what drivers do with it.
#include <array>

#include "devices/core/device_model.h"
#include "devices/virtio/stand_in_driver.h"
#include "devices/virtiorng.h"

namespace dejavm {
namespace {

using virtio::StandInDescriptor;

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

// A driver's requests.
constexpr uint64_t kData = 0x30000;
constexpr uint16_t kQueueSize = 8;

constexpr StandInDescriptor kDescriptors[] = {
    {kData, 64, 2, 0},                                   // as Linux asks
    {kData, 100, 3, 2},     {kData + 0x1000, 33, 2, 0},  // into two buffers
    {kData, 0x20000, 2, 0},                              // more than it gives
    {kData, 64, 0, 0},                                   // no room at all
};
constexpr uint16_t kHeads[] = {0, 1, 3, 4};

constexpr auto kMemory = [] {
  virtio::StandInBytes bytes{};
  virtio::stand_in_rings(bytes, kDescriptors, kHeads);
  return bytes;
}();

// `a` chooses the kind of queue and the seed.
uint64_t start(void* state, Nanos now, uint64_t a, uint64_t) {
  Virtiorng::State& s = state_at<Virtiorng>(state);
  Virtiorng::set_seed(s, a);
  return virtio::stand_in_start<Virtiorng>(s, now, a, virtio::kIndirect, 0, kQueueSize);
}

uint64_t work(void* state, Nanos now, uint64_t, uint64_t b) {
  return virtio::stand_in_work<Virtiorng>(state_at<Virtiorng>(state), now, 0, b % 128 + 1, kMemory);
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
