// What generic code must know of this model, and what drivers do with it.
#include <array>

#include "devices/core/device_model.h"
#include "devices/core/stand_in_memory.h"
#include "devices/nvme.h"

namespace dejavm {
namespace {

constexpr uint32_t kBar = pci::region(Nvme::kRegisterBar), kTable = pci::region(Nvme::kMsixBar),
                   kDoorbells = kBar + 0x1000;

constexpr uint32_t kRegisters[] = {
    0x00,
    0x04,
    0x10,
    0x14,
    0x20,
    0x3c,
    0x44,
    0x50,
    0x54,
    0x5c,
    0x60,
    0x72,
    0x88,
    kBar,
    kBar + 0x08,
    kBar + 0x0c,
    kBar + 0x10,
    kBar + 0x14,
    kBar + 0x1c,
    kBar + 0x24,
    kBar + 0x28,
    kBar + 0x2c,
    kBar + 0x30,
    kBar + 0x34,
    kDoorbells,
    kDoorbells + 4,
    kDoorbells + 8,
    kDoorbells + 12,
    kTable,
    kTable + 0x04,
    kTable + 0x08,
    kTable + 0x0c,
    kTable + pci::kMsixPending,
};

// The queues of administration begin at kDriverMemory, those of I/O 0x400 further on, then the ranges that are given
// back and a PRP list.
constexpr uint64_t kAdmin = DeviceModel::kDriverMemory, kIo = kAdmin + 0x400, kRanges = kAdmin + 0x800,
                   kList = kAdmin + 0xc00;

struct Command {
  uint8_t opcode;
  uint64_t prp1, prp2;
  uint32_t dw10, dw11, dw12;
};
constexpr Command kAdminCommands[] = {
    {0x05, 0x18000, 0, 0x000f0001, 0x00010003, 0},
    {0x01, kIo, 0, 0x000f0001, 0x00010001, 0},
    {0x06, 0x20000, 0, 1, 0, 0},
    {0x06, 0x20000, 0, 0, 0, 0},
    {0x09, 0, 0, 0x06, 0, 0},
    {0x0a, 0, 0, 0x06, 0, 0},
    {0x09, 0, 0, 0x04, 0x150, 0},
    {0x0a, 0, 0, 0x04, 0, 0},
    {0x09, 0, 0, 0x0b, 0x1f, 0},
    {0x0a, 0, 0, 0x0b, 0, 0},
    {0x02, 0x20800, 0x21000, 0x007f0002, 0, 0},
    {0x02, 0x20000, 0, 0x003f0001, 0, 0},
    {0x09, 0, 0, 0x01, 0x07, 0},
    {0x0a, 0, 0, 0x01, 0, 0},
    {0x0c, 0, 0, 0, 0, 0},
    {0x0a, 0, 0, 0x04, 0x100000, 0},
};
constexpr Command kIoCommands[] = {
    {0x02, 0x30000, 0, 8, 0, 0},
    {0x01, 0x30200, 0x31000, 16, 0, 7},
    {0x02, 0x30800, kList, 32, 0, 31},
    {0x00, 0, 0, 0, 0, 0},
    {0x08, 0, 0, 64, 0, 0xffff},
    {0x0c, 0, 0, 0, 0, 7},
    {0x09, kRanges, 0, 3, 4, 0},
    {0x05, 0x30000, 0, 8, 0, 0},
    {0x02, 0x30004, kList, 0xffffffff, 0, 0},
    {0x02, 0x30000, 0x30004, 0, 0, 15},
    {0x01, kList, kList, 0, 0, 63},
    {0x7f, 0, 0, 0, 0, 0},
    {0x05, 0x30000, kList, 8, 0, 31},
    {0x00, 0, 0, 0, 0, 0},
    {0x02, 0x30000, 0, 8, 0, 0},
    {0x01, 0x30000, 0x31000, 8, 0, 15},
};
constexpr auto kMemory = [] {
  std::array<uint8_t, 0x1000> bytes{};
  const auto put = [&](size_t at, uint64_t value, unsigned count) {
    for (unsigned n = 0; n < count; ++n) bytes[at + n] = static_cast<uint8_t>(value >> (8 * n));
  };
  const auto queue = [&](size_t at, std::span<const Command> commands) {
    uint32_t id = 0;
    for (const Command& c : commands) {
      put(at, c.opcode | ++id << 16, 4);
      put(at + 4, 1, 4);
      put(at + 24, c.prp1, 8);
      put(at + 32, c.prp2, 8);
      put(at + 40, c.dw10, 4);
      put(at + 44, c.dw11, 4);
      put(at + 48, c.dw12, 4);
      at += 64;
    }
  };
  queue(0, kAdminCommands);
  queue(kIo - kAdmin, kIoCommands);
  for (size_t n = 0; n < 4; ++n) {
    put(kRanges - kAdmin + 16 * n + 4, n, 4);
    put(kRanges - kAdmin + 16 * n + 8, 100 * n, 8);
  }
  for (size_t n = 0; n < 8; ++n) put(kList - kAdmin + 8 * n, 0x40000 + 0x1000 * n + (n == 6), 8);
  return bytes;
}();

// What drivers do first, at once: the disk has 2^b blocks, its serial number is of `a`.
uint64_t start(void* state, Nanos now, uint64_t a, uint64_t b) {
  Nvme::State& s = state_at<Nvme>(state);
  const char serial[] = {'S', static_cast<char>('A' + a % 26), static_cast<char>('0' + b % 10)};
  Nvme::set_disk(s, uint64_t{4096} << b % 24, a % 2 == 0 ? 512 : 4096, {serial, sizeof serial}, a % 16 == 15);
  Nvme::write(s, now, 0x04, 2, 6);
  Nvme::write(s, now, kBar + 0x14, 4, 0);
  Nvme::write(s, now, kBar + 0x24, 4, 0x000f000f);
  Nvme::write(s, now, kBar + 0x28, 8, kAdmin);
  Nvme::write(s, now, kBar + 0x30, 8, 0x19000);
  Nvme::write(s, now, kBar + 0x14, 4, 0x460001);
  Nvme::write(s, now, kDoorbells, 4, a % 16);
  return Nvme::read(s, now, kBar + 0x1c, 4);
}

// Rings the doorbell of a queue and does what the controller wants of memory and disk, until it wants nothing more. The
// answer is what it wanted.
uint64_t work(void* state, Nanos now, uint64_t a, uint64_t b) {
  Nvme::State& s = state_at<Nvme>(state);
  Nvme::write(s, now, kDoorbells + 8 * (a % 3), 4, b % 16);
  StandInMemory memory{kMemory};
  for (unsigned n = 0; n < 40 && s.due_ns != 0; ++n) {
    Nvme::advance(s, {s.due_ns});
    memory.bytes = {};
    while (memory.serve<Nvme>(s, now)) {}
    // A driver takes what has come.
    for (unsigned queue = 0; queue < 3; ++queue)
      Nvme::write(s, now, kDoorbells + 8 * queue + 4, 4, s.completion[queue].tail);
  }
  return memory.hash;
}
constexpr DeviceCall kCalls[] = {{"start", 2, {16, 24}, start}, {"work", 2, {3, 16}, work}};

constexpr std::string_view kLineNames[] = {"INTA"};

constexpr DeviceOp kIdioms[] = {
    call_op(0, 15, 16),
    call_op(1, 0, 15),
    call_op(1, 0, 7),
    call_op(1, 0, 2),
    call_op(1, 1, 15),
    call_op(1, 1, 6),
    call_op(0, 10, 8),
    write_op(0x04, 2, 0x06),
    write_op(kBar + 0x24, 4, 0x000f000f),
    write_op(kBar + 0x28, 8, kAdmin),
    write_op(kBar + 0x30, 8, 0x19000),
    write_op(kBar + 0x14, 4, 0x460001),
    write_op(kBar + 0x14, 4, 0x460000),
    write_op(kBar + 0x14, 4, 0x464001),
    read_op(kBar + 0x1c, 4),
    write_op(kDoorbells, 4, 1),
    write_op(kDoorbells, 4, 2),
    write_op(kDoorbells, 4, 7),
    write_op(kDoorbells, 4, 15),
    write_op(kDoorbells, 4, 10),
    write_op(kDoorbells + 4, 4, 8),
    write_op(kDoorbells + 8, 4, 5),
    write_op(kDoorbells + 8, 4, 15),
    write_op(kDoorbells + 12, 4, 8),
    write_op(kDoorbells + 4, 4, 1),
    write_op(kDoorbells + 8, 4, 1),
    write_op(kDoorbells + 12, 4, 1),
    write_op(0x72, 2, 0x8000),
    write_op(kTable, 4, 0xfee01000),
    write_op(kTable + 0x08, 4, 0x51),
    write_op(kTable + 0x0c, 4, 0),
    write_op(kBar + 0x0c, 4, 1),
    write_op(kBar + 0x10, 4, 1),
    wait_op(10'000),
    transfer_op(true),
    transfer_op(true),
    transfer_op(true),
    transfer_op(true),
    transfer_op(false),
};

}  // namespace

DeviceModel Nvme::model() {
  return device_model<Nvme>({.summary = "NVMe controller with one namespace",
                             .sources = "NVM Express Base Specification 1.4",
                             .registers = kRegisters,
                             .line_names = kLineNames,
                             .calls = kCalls,
                             .idioms = kIdioms,
                             .driver_memory = kMemory,
                             .idle_events = 2});
}

}  // namespace dejavm
