// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/pcihost.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x00, 0x04, 0x08, 0x0c, 0x2c, 0x1000};

constexpr DeviceOp kIdioms[] = {
    write_op(0x1000, 4, 0x80000000),
    write_op(0x1000, 4, 0x8000f804),
    read_op(0x1000, 4),
    read_op(0, 4),
    write_op(4, 2, 7),
};

}  // namespace

DeviceModel Pcihost::model() {
  return device_model<Pcihost>({.summary = "PCI host bridge and configuration address register",
                                .sources = "PCI Local Bus Specification 3.0",
                                .registers = kRegisters,
                                .idioms = kIdioms,
                                .idle_events = 0});
}

}  // namespace dejavm
