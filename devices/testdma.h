// A bus master that only tests use: it copies, sums up and fills guest memory. Ours; there is no such device elsewhere.
//
// Window: `offset` 0-0x1f, registers of 4 bytes; an access of another size, or that is not aligned, reads all ones and
// writes nothing.
//   0x00 command   write: 1 copies, 2 sums up, 3 fills; another one, or while it is busy, is an error. Reads as the
//   last command 0x04 status    bit 0 busy, bit 1 done, bit 2 error; a write clears those of bits 1 and 2 that it has
//   set 0x08 source    low half; 0x0c high half 0x10 target    low half; 0x14 high half 0x18 length    bytes, 1 to
//   65536; another one is an error of the command 0x1c result    of a sum: that of all bytes. Of a fill: bits 7:0 are
//   the byte to write
// Addresses and length move on as it goes, and stay where an error stopped it. Writes to them while it is busy are
// lost.
//
// The work is done in pieces of at most 256 bytes, the first kPieceNs after the command and then one every kPieceNs.
// Line: done or error.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <tuple>

#include "devices/core/model.h"
#include "devices/core/transfer.h"

namespace dejavm {

struct Testdma {
  static constexpr std::string_view kName = "testdma";
  static constexpr uint16_t kVersion = 1;
  static constexpr uint64_t kWindowBytes = 0x20, kPieceNs = 1000;
  static constexpr uint32_t kPieceBytes = 256, kMaxLength = 65536;

  enum Register : uint64_t { kCommand = 0, kStatus = 4, kSource = 8, kTarget = 0x10, kLength = 0x18, kResult = 0x1c };
  enum Command : uint32_t { kCopy = 1, kSum = 2, kFill = 3 };
  enum Status : uint32_t { kBusy = 1, kDone = 2, kError = 4 };
  enum class Phase : uint8_t { kIdle, kWaiting, kReading, kWriting };

  struct State {
    uint64_t now_ns = 0;
    uint64_t due_ns = 0;  // of Phase::kWaiting: when the next piece is
    uint64_t source = 0, target = 0;
    uint32_t command = 0, length = 0, result = 0;
    uint32_t ended = 0;  // kDone, kError
    Phase phase = Phase::kIdle;
    std::array<uint8_t, 7> reserved{};
    std::array<uint8_t, kPieceBytes> piece{};  // of Phase::kWriting: what to write
    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"),
                        field("due_ns", &State::due_ns).unit("ns"),
                        field("source", &State::source),
                        field("target", &State::target),
                        field("command", &State::command),
                        field("length", &State::length).unit("bytes"),
                        field("result", &State::result),
                        field("ended", &State::ended).range(0, kDone | kError),
                        field("phase", &State::phase).range(0, 3),
                        field("reserved", &State::reserved).range(0, 0),
                        field("piece", &State::piece)};
    }
  };

  enum Line : uint64_t { kIrq = 1 };

  static const char* invalid(const State&);
  static DeviceModel model();  // testdma_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs
  static bool next_transfer(const State&, Transfer&);
  static void transferred(State&, Nanos now, bool ok, std::span<const uint8_t> bytes);
};

}  // namespace dejavm
