// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/i8042.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x60, 0x64};

constexpr std::string_view kLineNames[] = {"IRQ1", "IRQ12", "RESET"};

constexpr DeviceOp kIdioms[] = {write_op(0x64, 1, 0x60), write_op(0x60, 1, 0x47), write_op(0x64, 1, 0x20),
                                write_op(0x64, 1, 0xaa), write_op(0x64, 1, 0xd2), write_op(0x64, 1, 0xd3),
                                write_op(0x64, 1, 0xd4), write_op(0x64, 1, 0xae), write_op(0x64, 1, 0xad),
                                write_op(0x60, 1, 0xf2), write_op(0x60, 1, 0xff), write_op(0x60, 1, 0xed),
                                write_op(0x60, 1, 0xf0), write_op(0x60, 1, 0xee), write_op(0x64, 1, 0xfe),
                                write_op(0x64, 1, 0xd1), read_op(0x60, 1)};

}  // namespace

DeviceModel I8042::model() {
  return device_model<I8042>({.summary = "keyboard controller with a keyboard",
                              .sources = "IBM PS/2 Hardware Interface Technical Reference; 8242 data sheet",
                              .registers = kRegisters,
                              .line_names = kLineNames,
                              .idioms = kIdioms,
                              .idle_events = 2});
}

}  // namespace dejavm
