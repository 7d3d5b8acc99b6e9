// A virtio entropy device on PCI. Source: Virtual I/O Device (VIRTIO) 1.1, 5.4; the shared parts:
// devices/virtio/core.h.
//
// Window: as devices/pci/function.h has it. One queue. Bytes come from the machine's seed: SplitMix64's outputs in
// turn, so that they are the same in each life; a buffer takes whole outputs, and of its last what it has room for. One
// request gets at most kMaxBytes, and `used` says how many. A chain with data for the device, or without room for any,
// breaks the rules (5.4.6.1): DEVICE_NEEDS_RESET.
#pragma once

#include <string_view>

#include "devices/virtio/core.h"

namespace dejavm {

struct Virtiorng {
  static constexpr std::string_view kName = "virtiorng";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kQueues = 1, kPieceBytes = 64;
  static constexpr uint16_t kVectors = kQueues + 1;
  static constexpr uint64_t kMaxBytes = 64 << 10;
  static constexpr pci::Identity kPci = virtio::identity(4, 0x100000, kVectors);

  struct State {
    uint64_t seed = 0;     // configuration, which a reset keeps
    uint64_t counter = 0;  // outputs drawn; a reset keeps it too

    pci::Function pci;
    virtio::Core core;
    std::array<virtio::Queue, kQueues> queue{};
    std::array<pci::MsixEntry, kVectors> vector;

    // The request at hand.
    uint64_t position = 0, length = 0;        // bytes
    std::array<uint8_t, kPieceBytes> data{};  // what is written next
    static constexpr auto fields() {
      return std::tuple{field("seed", &State::seed),
                        field("counter", &State::counter),
                        field("pci", &State::pci),
                        field("core", &State::core),
                        field("queue", &State::queue),
                        field("vector", &State::vector),
                        field("position", &State::position).unit("bytes"),
                        field("length", &State::length).range(0, kMaxBytes).unit("bytes"),
                        field("data", &State::data)};
    }
  };

  enum Line : uint64_t { kInta = 1 };

  static const char* invalid(const State&);
  static DeviceModel model();  // virtiorng_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs
  static bool pop_message(State&, BusMessage&);
  static bool next_transfer(const State&, Transfer&);
  static void transferred(State&, Nanos now, bool ok, std::span<const uint8_t> bytes);

  static void set_seed(State&, uint64_t seed);  // for whoever builds the machine
};

}  // namespace dejavm
