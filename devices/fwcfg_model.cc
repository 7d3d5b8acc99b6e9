// What generic code must know of this model, and what drivers do with it.
#include <array>

#include "devices/core/device_model.h"
#include "devices/core/stand_in_memory.h"
#include "devices/fwcfg.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0, 1, 4, 8};

// A driver's memory: control structures of transfers, big-endian: control, length, address.
constexpr uint64_t kControls = DeviceModel::kDriverMemory, kData = 0x30000;
struct Access {
  uint32_t control, len_bytes;
};
constexpr Access kAccesses[] = {
    {0x0019'000a, 4},        // select the directory and read its count
    {0x0000'0002, 200},      // and go on
    {0x0000'0004, 8},        // skip
    {0x0020'000a, 0x4400},   // a file and zeros behind it
    {0x0020'000a, 0x24000},  // in slices
    {0x0000'0010, 4},        // a write, which no item allows
    {0x0000'0002, 0},        // nothing
};

constexpr auto kMemory = [] {
  std::array<uint8_t, 0x100> bytes{};
  size_t at = 0;
  for (const Access& access : kAccesses) {
    for (const uint32_t word : {access.control, access.len_bytes, uint32_t{0}, static_cast<uint32_t>(kData)})
      for (const unsigned shift : {24, 16, 8, 0}) bytes[at++] = static_cast<uint8_t>(word >> shift);
  }
  return bytes;
}();

constexpr size_t kFileBytes = Fwcfg::kContentBytes - 938;  // leaves room for the rest

// A machine of a + 1 processors, with a file of b bytes, and as many small ones as there can be.
uint64_t fill(void* state, Nanos now, uint64_t a, uint64_t b) {
  Fwcfg::State& s = state_at<Fwcfg>(state);
  s.item_count = 0;
  s.item = {};
  s.content = {};
  const std::array<uint8_t, 2> cpus{static_cast<uint8_t>(a + 1), 0};
  std::array<uint8_t, kFileBytes> file;
  for (size_t n = 0; n < file.size(); ++n) file[n] = static_cast<uint8_t>(n * 7 + 1);
  bool added = Fwcfg::add(s, Fwcfg::kSignature, std::span(reinterpret_cast<const uint8_t*>("QEMU"), 4));
  added = added && Fwcfg::add(s, Fwcfg::kCpus, cpus);
  std::array<Fwcfg::File, Fwcfg::kItems - 3> files;
  files.fill({"etc/small", std::span(file).first(8)});
  files[0] = {"etc/file", std::span(file).first(b % file.size())};
  added = added && Fwcfg::add_files(s, files);
  Fwcfg::advance(s, now);
  return added;
}

// Starts transfer a and does what it wants, b + 1 steps at most. The answer is what it wanted.
uint64_t move(void* state, Nanos now, uint64_t a, uint64_t b) {
  Fwcfg::State& s = state_at<Fwcfg>(state);
  const uint64_t at = kControls + 16 * (a % std::size(kAccesses));
  Fwcfg::write(s, now, 4, 4, 0);
  Fwcfg::write(s, now, 8, 4, __builtin_bswap32(static_cast<uint32_t>(at)));
  StandInMemory memory{kMemory};
  for (uint64_t steps = b % 64 + 1; steps != 0 && s.phase != Fwcfg::Phase::kIdle; --steps) {
    if (s.due_ns != 0) Fwcfg::advance(s, {s.due_ns});
    memory.serve<Fwcfg>(s, now);
  }
  return memory.hash;
}

// Item a's first b + 1 bytes, byte by byte. The answer is a sum of them.
uint64_t look(void* state, Nanos now, uint64_t a, uint64_t b) {
  Fwcfg::State& s = state_at<Fwcfg>(state);
  Fwcfg::write(s, now, 0, 2, s.item[a % Fwcfg::kItems].key);
  uint64_t sum = 0;
  for (uint64_t n = 0; n <= b % 64; ++n) sum = SplitMix64::output(sum ^ Fwcfg::read(s, now, 1, 1), n);
  return sum;
}
constexpr DeviceCall kCalls[] = {
    {"fill", 2, {4, kFileBytes}, fill}, {"move", 2, {7, 64}, move}, {"look", 2, {Fwcfg::kItems, 64}, look}};

constexpr DeviceOp kIdioms[] = {
    call_op(0, 0, 100),    call_op(0, 3, kFileBytes - 1),
    call_op(1, 0, 63),     call_op(1, 3, 63),
    call_op(2, 9, 63),     call_op(2, 14, 63),
    call_op(1, 4, 63),     call_op(1, 4, 17),
    call_op(1, 5, 3),      write_op(0, 2, 0x00),
    write_op(0, 2, 0x05),  write_op(0, 2, 0x19),
    write_op(0, 2, 34),    read_op(1, 1),
    read_op(1, 1),         read_op(1, 1),
    read_op(4, 4),         write_op(4, 4, 0),
    write_op(8, 4, 0x100), write_op(8, 4, 0x30100),
    wait_op(10'000),       transfer_op(true),
    transfer_op(true),     transfer_op(false),
};

}  // namespace

DeviceModel Fwcfg::model() {
  return device_model<Fwcfg>({.summary = "QEMU's firmware configuration device",
                              .sources = "QEMU 7.2, docs/specs/fw_cfg",
                              .registers = kRegisters,
                              .line_names = {},
                              .calls = kCalls,
                              .idioms = kIdioms,
                              .driver_memory = kMemory,
                              .idle_events = 2});
}

}  // namespace dejavm
