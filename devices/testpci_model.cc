// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/testpci.h"

namespace dejavm {
namespace {

constexpr uint32_t kMemory = pci::region(Testpci::kMemoryBar), kIo = pci::region(Testpci::kIoBar),
                   kTable = pci::region(Testpci::kMsixBar);

constexpr uint32_t kRegisters[] = {
    0x00,
    0x04,
    0x08,
    0x0c,
    0x10,
    0x14,
    0x18,
    0x20,
    0x24,
    0x2c,
    0x34,
    0x3c,
    0x40,
    0x44,
    0x50,
    0x54,
    0x58,
    0x5c,
    0x60,
    0x64,
    0x70,
    0x74,
    0x78,
    0x80,
    0x84,
    0x88,
    kMemory,
    kMemory + 0x04,
    kMemory + 0x08,
    kMemory + 0x10,
    kMemory + 0x18,
    kMemory + 0x1c,
    kIo,
    kIo + 0x04,
    kTable,
    kTable + 0x04,
    kTable + 0x08,
    kTable + 0x0c,
    kTable + 0x10,
    kTable + 0x14,
    kTable + 0x18,
    kTable + 0x1c,
    kTable + pci::kMsixPending,
};

constexpr std::string_view kLineNames[] = {"INTA"};

constexpr DeviceOp kIdioms[] = {
    write_op(0x04, 2, 0x07),
    write_op(0x04, 2, 0x403),
    write_op(0x10, 4, 0xffffffff),
    write_op(0x10, 4, 0xfe000000),
    write_op(0x52, 2, 1),
    write_op(0x54, 4, 0xfee00000),
    write_op(0x5c, 2, 0x41),
    write_op(0x60, 4, 1),
    write_op(0x60, 4, 0),
    write_op(0x72, 2, 0x8000),
    write_op(0x72, 2, 0xc000),
    write_op(0x44, 2, 3),
    write_op(0x44, 2, 0),
    write_op(0x88, 2, 0x8000),
    write_op(kTable, 4, 0xfee01000),
    write_op(kTable + 0x08, 4, 0x51),
    write_op(kTable + 0x0c, 4, 0),
    write_op(kTable + 0x1c, 4, 0),
    write_op(kMemory + 0x18, 4, 300),
    write_op(kIo + 0x18, 4, 1),
    write_op(kMemory, 4, 1),
    write_op(kMemory, 4, 3),
    write_op(kMemory, 4, 9),
    write_op(kMemory + 0x04, 4, 6),
    read_op(kTable + pci::kMsixPending, 8),
    wait_op(1000),
    transfer_op(true),
    transfer_op(true),
    transfer_op(false),
};

}  // namespace

DeviceModel Testpci::model() {
  return device_model<Testpci>({.summary = "for tests: testdma as a PCI function",
                                .sources = "testpci.h, pci/function.h",
                                .registers = kRegisters,
                                .line_names = kLineNames,
                                .idioms = kIdioms,
                                .idle_events = 2});
}

}  // namespace dejavm
