// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/vhpet.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x000, 0x004, 0x010, 0x020, 0x0f0, 0x0f4, 0x100, 0x104, 0x108, 0x10c, 0x110, 0x114,
                                   0x120, 0x124, 0x128, 0x12c, 0x130, 0x134, 0x140, 0x144, 0x148, 0x14c, 0x150, 0x154};

constexpr DeviceOp kIdioms[] = {write_op(0x10, 8, 1),
                                write_op(0x10, 8, 3),
                                write_op(0x10, 8, 0),
                                write_op(0x100, 8, 0x4c),
                                write_op(0x108, 8, 10000),
                                write_op(0x120, 8, 0x2a04),
                                write_op(0x128, 8, 5000),
                                write_op(0x140, 8, 0x2806),
                                write_op(0x148, 8, 100),
                                write_op(0x20, 8, 7),
                                write_op(0xf0, 8, 0),
                                write_op(0x100, 8, 0x14c),
                                write_op(0x120, 4, 0x2904),
                                write_op(0x140, 8, 0x4004),
                                write_op(0x100, 8, 0x400c),
                                write_op(0x150, 8, 0xfee0000000000031),
                                write_op(0x110, 8, 0xfee0100400004732)};

}  // namespace

DeviceModel Vhpet::model() {
  return device_model<Vhpet>({.summary = "high precision event timer with three comparators",
                              .sources = "IA-PC HPET specification 1.0a",
                              .registers = kRegisters,
                              .idioms = kIdioms,
                              .idle_events = 2});
}

}  // namespace dejavm
