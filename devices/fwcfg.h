// QEMU's firmware configuration device (fw_cfg): what a firmware is told of its machine: its memory and processors,
// ACPI tables and how to place them, the order of disks to boot from. Source: QEMU's docs/specs/fw_cfg, version 7.2.
//
// Window: ports 510H on. 0: selector, 16 bits, written; 1: data, a byte a read, zeros beyond the item's end; 4-11: the
// DMA interface's address register, big-endian, in two halves of 32 bits, of which the lower one starts a transfer;
// they read "QEMU CFG". Other accesses do nothing. Transfers read, skip and select; one that wants to write ends with
// the error bit. They move kSliceBytes at once and go on kSliceNs later, so that no event does more.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <tuple>

#include "devices/core/model.h"
#include "devices/core/transfer.h"

namespace dejavm {

struct Fwcfg {
  static constexpr std::string_view kName = "fwcfg";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kItems = 16, kNameBytes = 56;  // of the directory
  static constexpr uint32_t kContentBytes = 16 << 10, kSliceBytes = 64 << 10, kControlBytes = 16;
  static constexpr uint64_t kSliceNs = 10'000, kWindowBytes = 12;
  // Keys of items without a name; files have those from kFirstFile on.
  static constexpr uint16_t kSignature = 0x00, kId = 0x01, kRamBytes = 0x03, kCpus = 0x05, kBootMenu = 0x0e,
                            kMaxCpus = 0x0f, kDirectory = 0x19, kFirstFile = 0x20;

  struct Item {
    uint32_t at = 0, len_bytes = 0;  // in the content
    uint16_t key = 0;
    std::array<uint8_t, 6> reserved{};
    static constexpr auto fields() {
      return std::tuple{field("at", &Item::at), field("len_bytes", &Item::len_bytes).unit("bytes"),
                        field("key", &Item::key), field("reserved", &Item::reserved).range(0, 0)};
    }
  };

  enum class Phase : uint8_t { kIdle, kControl, kData, kPause, kStatus };

  struct State {
    uint64_t now_ns = 0, due_ns = 0;  // due: the next slice; 0: none
    uint64_t address = 0;             // the address register
    uint64_t control_at = 0, to = 0;  // of the transfer at hand
    uint32_t offset = 0;              // of the next byte of the item
    uint32_t left = 0, slice = 0;     // bytes of the transfer, of the slice
    uint16_t selector = 0;
    Phase phase = Phase::kIdle;
    uint8_t item_count = 0;
    std::array<uint8_t, 4> status{};  // what the driver finds in the control word, big-endian
    std::array<uint8_t, 4> reserved{};
    // Configuration, which a reset keeps.
    std::array<Item, kItems> item{};
    std::array<uint8_t, kContentBytes> content{};
    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"),
                        field("due_ns", &State::due_ns).unit("ns"),
                        field("address", &State::address),
                        field("control_at", &State::control_at),
                        field("to", &State::to),
                        field("offset", &State::offset).unit("bytes"),
                        field("left", &State::left).unit("bytes"),
                        field("slice", &State::slice).range(0, kSliceBytes).unit("bytes"),
                        field("selector", &State::selector),
                        field("phase", &State::phase).range(0, 4),
                        field("item_count", &State::item_count).range(0, kItems),
                        field("status", &State::status),
                        field("reserved", &State::reserved).range(0, 0),
                        field("item", &State::item),
                        field("content", &State::content)};
    }
  };

  static const char* invalid(const State&);
  static DeviceModel model();  // fwcfg_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&) { return 0; }
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs
  static bool next_transfer(const State&, Transfer&);
  static void transferred(State&, Nanos now, bool ok, std::span<const uint8_t> bytes);

  // For whoever builds the machine. An item by its key; all files, which have names of at most kNameBytes - 1 bytes,
  // with their directory, once. False: there is no room.
  struct File {
    std::string_view name;
    std::span<const uint8_t> content;
  };
  static bool add(State&, uint16_t key, std::span<const uint8_t> content);
  static bool add_files(State&, std::span<const File>);
};

}  // namespace dejavm
