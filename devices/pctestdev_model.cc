// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/pctestdev.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe8, 0xeb, 0x2000, 0x2004, 0x2009, 0x2017};

constexpr DeviceOp kIdioms[] = {write_op(0xe0, 4, 0x12345678), write_op(0xe1, 1, 0xaa), write_op(0xe4, 4, 0x1000),
                                write_op(0x2005, 1, 1), write_op(0x2005, 1, 0)};

}  // namespace

DeviceModel Pctestdev::model() {
  return device_model<Pctestdev>({.summary = "for tests: echo, interrupt lines",
                                  .sources = "QEMU, hw/misc/pc-testdev.c",
                                  .registers = kRegisters,
                                  .idioms = kIdioms});
}

}  // namespace dejavm
