// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/vatpit.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x40, 0x41, 0x42, 0x43, 0x61};

constexpr std::string_view kLineNames[] = {"OUT0", "", "OUT2"};

constexpr DeviceOp kIdioms[] = {
    write_op(0x43, 1, 0x34), write_op(0x40, 1, 0x9c), write_op(0x40, 1, 0x2e), write_op(0x43, 1, 0x30),
    write_op(0x43, 1, 0xb0), write_op(0x43, 1, 0xb6), write_op(0x42, 1, 3),    write_op(0x42, 1, 0),
    write_op(0x61, 1, 1),    write_op(0x61, 1, 0),    write_op(0x43, 1, 0xe2), write_op(0x43, 1, 0xc2),
    write_op(0x43, 1, 0x00), write_op(0x43, 1, 0x80), write_op(0x43, 1, 0x72), write_op(0x43, 1, 0xba)};

}  // namespace

DeviceModel Vatpit::model() {
  return device_model<Vatpit>({.summary = "the PC's 8254 timer and system control port 0x61",
                               .sources = "Intel 8254 datasheet (231164); ICH9 datasheet 13.7.1",
                               .registers = kRegisters,
                               .line_names = kLineNames,
                               .idioms = kIdioms,
                               .idle_events = 2});
}

}  // namespace dejavm
