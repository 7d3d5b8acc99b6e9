// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/uart16550.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0, 1, 2, 3, 4, 5, 6, 7};

constexpr std::string_view kLineNames[] = {"IRQ"};

constexpr DeviceCall kCalls[] = {
    {"receive",
     1,
     {0xff},
     [](void* s, Nanos t, uint64_t v, uint64_t) {
       return uint64_t{Uart16550::receive(state_at<Uart16550>(s), t, static_cast<uint8_t>(v))};
     }},
    {"pop_transmitted",
     0,
     {},
     [](void* s, Nanos, uint64_t, uint64_t) {
       uint8_t byte = 0;
       return Uart16550::pop_transmitted(state_at<Uart16550>(s), byte) ? uint64_t{byte} : ~uint64_t{0};
     }},
    {"set_timed", 1, {1}, [](void* s, Nanos t, uint64_t v, uint64_t) {
       Uart16550::set_timed(state_at<Uart16550>(s), t, v & 1);
       return uint64_t{0};
     }}};

constexpr DeviceOp kIdioms[] = {write_op(2, 1, 1),    write_op(2, 1, 7),    write_op(2, 1, 0xc1), write_op(1, 1, 0xf),
                                write_op(4, 1, 0xb),  write_op(4, 1, 0x1f), write_op(3, 1, 3),    write_op(3, 1, 0x80),
                                write_op(0, 1, 0x41), write_op(0, 1, 1),    call_op(0, 0x61),     call_op(2, 1),
                                read_op(0, 1),        read_op(2, 1),        read_op(5, 1)};

}  // namespace

DeviceModel Uart16550::model() {
  return device_model<Uart16550>({.summary = "16550A serial port",
                                  .sources = "National Semiconductor PC16550D data sheet",
                                  .registers = kRegisters,
                                  .line_names = kLineNames,
                                  .calls = kCalls,
                                  .idioms = kIdioms,
                                  .idle_events = 24});
}

}  // namespace dejavm
