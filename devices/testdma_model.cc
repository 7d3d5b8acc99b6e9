// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/testdma.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c};

constexpr std::string_view kLineNames[] = {"IRQ"};

constexpr DeviceOp kIdioms[] = {write_op(0x08, 4, 0x1000),
                                write_op(0x0c, 4, 0),
                                write_op(0x10, 4, 0x2000),
                                write_op(0x10, 4, 0x3fffff80),
                                write_op(0x18, 4, 600),
                                write_op(0x18, 4, 1),
                                write_op(0x1c, 4, 0x5a),
                                write_op(0, 4, 1),
                                write_op(0, 4, 2),
                                write_op(0, 4, 3),
                                write_op(4, 4, 6),
                                read_op(4, 4),
                                wait_op(1000),
                                transfer_op(true),
                                transfer_op(true),
                                transfer_op(false)};

}  // namespace

DeviceModel Testdma::model() {
  return device_model<Testdma>({.summary = "for tests: a bus master that copies, sums up and fills",
                                .sources = "testdma.h",
                                .registers = kRegisters,
                                .line_names = kLineNames,
                                .idioms = kIdioms,
                                .idle_events = 2});
}

}  // namespace dejavm
