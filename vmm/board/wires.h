// What belongs to no device: console bytes on their way to the UART, and what the guest asked of the machine.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <tuple>

#include "devices/core/fields.h"
#include "vmm/board/board.h"

namespace dejavm {

struct BoardWires {
  static constexpr std::string_view kName = "board";
  static constexpr uint16_t kVersion = 1;
  static constexpr uint32_t kQueueBytes = 4096;
  struct State {
    uint32_t queue_head = 0, queue_len = 0;    // console bytes: a ring
    std::array<uint8_t, kQueueBytes> queue{};  // bytes outside the ring's content are zero
    Board::Request request = Board::Request::kNone;
    uint8_t debug_exit_value = 0;
    uint16_t reserved = 0;
    static constexpr auto fields() {
      return std::tuple{field("queue_head", &State::queue_head).range(0, kQueueBytes - 1),
                        field("queue_len", &State::queue_len).range(0, kQueueBytes).unit("bytes"),
                        field("queue", &State::queue),
                        field("request", &State::request).range(0, 3),
                        field("debug_exit_value", &State::debug_exit_value),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };
  // What has been typed stays.
  static void reset(State& s) {
    s.request = Board::Request::kNone;
    s.debug_exit_value = 0;
  }
};

}  // namespace dejavm
