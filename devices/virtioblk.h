// A virtio block device on PCI. Source: Virtual I/O Device (VIRTIO) 1.1, 5.2; the shared parts: devices/virtio/core.h.
//
// Window: as devices/pci/function.h has it. kQueues request queues. Requests: in, out, flush, get id, discard and write
// zeroes of up to kRanges ranges each. One event moves at most kMaxDataBytes and gives back or zeroes at most
// kMaxRangeSectors a range; a request for more fails (status 1), as does one that is not of whole sectors, lies outside
// the disk, or writes to a read-only one; an unknown one has status 2. The write cache can be switched off
// (CONFIG_WCE); `unflushed` says whether anything was written since the last flush.
#pragma once

#include <string_view>

#include "devices/virtio/core.h"

namespace dejavm {

struct Virtioblk {
  static constexpr std::string_view kName = "virtioblk";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kQueues = 4, kRanges = 16, kRangeBytes = 16, kHeaderBytes = 16, kIdBytes = 20;
  static constexpr uint16_t kVectors = kQueues + 1;
  static constexpr uint32_t kSectorBytes = 512, kMaxSegmentBytes = 64 << 10,
                            kMaxDataSegments = virtio::kMaxSegments - 2;
  static constexpr uint32_t kMaxDataBytes = 8 << 20, kMaxRangeSectors = 1 << 21, kZeroBytes = 1 << 20;
  static constexpr pci::Identity kPci = virtio::identity(2, 0x010000, kVectors);

  // What of a request is being done.
  enum class Step : uint8_t { kHeader, kRanges, kData, kStatus };

  struct State {
    // The disk: configuration, which a reset keeps.
    uint64_t sectors = 0;  // of 512 bytes
    std::array<uint8_t, kIdBytes> serial{};
    uint32_t block_bytes = kSectorBytes;

    pci::Function pci;
    virtio::Core core;
    std::array<virtio::Queue, kQueues> queue{};
    std::array<pci::MsixEntry, kVectors> vector;

    // The request at hand.
    uint64_t sector = 0;
    uint64_t position = 0, length = 0;  // of its data, or of the range in turn
    uint32_t type = 0;
    Step step = Step::kHeader;
    uint8_t status = 0;
    uint8_t range = 0;  // in turn
    bool read_only = false, write_cache = true, unflushed = false;
    std::array<uint8_t, 6> reserved{};
    std::array<uint8_t, kRanges * kRangeBytes> data{};  // header, ranges, id or status
    static constexpr auto fields() {
      return std::tuple{field("sectors", &State::sectors).range(0, uint64_t{1} << 48),
                        field("serial", &State::serial),
                        field("block_bytes", &State::block_bytes).range(512, 4096),
                        field("pci", &State::pci),
                        field("core", &State::core),
                        field("queue", &State::queue),
                        field("vector", &State::vector),
                        field("sector", &State::sector),
                        field("position", &State::position).unit("bytes"),
                        field("length", &State::length).unit("bytes"),
                        field("type", &State::type),
                        field("step", &State::step).range(0, 3),
                        field("status", &State::status).range(0, 2),
                        field("range", &State::range).range(0, kRanges),
                        field("read_only", &State::read_only),
                        field("write_cache", &State::write_cache),
                        field("unflushed", &State::unflushed),
                        field("reserved", &State::reserved).range(0, 0),
                        field("data", &State::data)};
    }
  };

  enum Line : uint64_t { kInta = 1 };

  static const char* invalid(const State&);
  static DeviceModel model();  // virtioblk_model.cc
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

  // For whoever builds the machine, before the first reset. bytes: a multiple of 512; block_bytes: 512 or 4096;
  // serial: up to 20 characters.
  static void set_disk(State&, uint64_t bytes, unsigned block_bytes, std::string_view serial, bool read_only);
};

}  // namespace dejavm
