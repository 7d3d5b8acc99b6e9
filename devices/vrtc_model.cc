// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/vrtc.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x70, 0x71};

constexpr std::string_view kLineNames[] = {"IRQ"};

constexpr DeviceCall kCalls[] = {{"set_start_time",
                                  1,
                                  {4'102'444'799},
                                  [](void* s, Nanos, uint64_t v, uint64_t) {
                                    Vrtc::set_start_time(state_at<Vrtc>(s), static_cast<int64_t>(v % 4'102'444'800));
                                    return uint64_t{0};
                                  }},
                                 {"set_cmos", 2, {0x7f, 0xff}, [](void* s, Nanos, uint64_t i, uint64_t v) {
                                    Vrtc::set_cmos(state_at<Vrtc>(s), static_cast<unsigned>(i),
                                                   static_cast<uint8_t>(v));
                                    return uint64_t{0};
                                  }}};

constexpr DeviceOp kIdioms[] = {
    write_op(0x70, 1, 0xa),  write_op(0x70, 1, 0xb),  write_op(0x70, 1, 0xc),  write_op(0x70, 1, 0),
    write_op(0x70, 1, 1),    write_op(0x70, 1, 4),    write_op(0x70, 1, 9),    write_op(0x70, 1, 0x32),
    write_op(0x71, 1, 0x26), write_op(0x71, 1, 0x2f), write_op(0x71, 1, 0x72), write_op(0x71, 1, 0x12),
    write_op(0x71, 1, 0x82), write_op(0x71, 1, 0xff), write_op(0x71, 1, 0x59), read_op(0x71, 1)};

}  // namespace

DeviceModel Vrtc::model() {
  return device_model<Vrtc>({.summary = "MC146818 real-time clock with 128 bytes of CMOS memory",
                             .sources = "Motorola MC146818 data sheet",
                             .registers = kRegisters,
                             .line_names = kLineNames,
                             .calls = kCalls,
                             .idioms = kIdioms,
                             .idle_events = 2});
}

}  // namespace dejavm
