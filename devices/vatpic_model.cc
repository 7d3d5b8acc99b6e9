// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/vatpic.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};

constexpr std::string_view kLineNames[] = {"INTR"};

constexpr DeviceCall kCalls[] = {{"acknowledge", 0, {}, [](void* s, Nanos t, uint64_t, uint64_t) {
                                    return uint64_t{Vatpic::acknowledge(state_at<Vatpic>(s), t)};
                                  }}};

constexpr DeviceOp kIdioms[] = {write_op(0x20, 1, 0x11), write_op(0xa0, 1, 0x11),  write_op(0x21, 1, 0x20),
                                write_op(0xa1, 1, 0x28), write_op(0x21, 1, 4),     write_op(0xa1, 1, 2),
                                write_op(0x21, 1, 1),    write_op(0xa1, 1, 1),     write_op(0x21, 1, 3),
                                write_op(0x21, 1, 0),    write_op(0xa1, 1, 0),     write_op(0x20, 1, 0x20),
                                write_op(0x20, 1, 0x60), write_op(0x20, 1, 0x0b),  write_op(0x20, 1, 0x0c),
                                write_op(0x20, 1, 0x68), write_op(0x20, 1, 0x80),  write_op(0xa0, 1, 0x80),
                                write_op(0x20, 1, 0xa0), write_op(0x4d0, 1, 0xf8), write_op(0x4d1, 1, 0xde),
                                write_op(0x20, 1, 0x19), write_op(0xa1, 1, 3),     call_op(0, 0),
                                line_op(8, 1),           line_op(12, 1),           line_op(12, 0)};

}  // namespace

DeviceModel Vatpic::model() {
  return device_model<Vatpic>({.summary = "the PC's two 8259A interrupt controllers with ELCR",
                               .sources = "Intel 8259A datasheet (231468); ICH9 datasheet 13.4",
                               .registers = kRegisters,
                               .inputs = 16,
                               .line_names = kLineNames,
                               .calls = kCalls,
                               .idioms = kIdioms});
}

}  // namespace dejavm
