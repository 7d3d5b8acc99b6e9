// The whole board: random accesses at every bus, and time. It answers all of them, and its state can be saved and
// restored at any moment. An input is a list of 16-byte accesses.
#include "fuzz/fuzz.h"

#include "replay/state/stored_state.h"
#include "vmm/board/board.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm;
  const MachineConfig config{.memory_bytes = 1 << 20};
  std::vector<RunControl> controls(1);
  controls[0].until = kForever;
  Board board(config, controls, nullptr);
  static constexpr uint64_t kPlaces[] = {0xfee00000, 0xfec00000, 0xfed00000, 0xfee00300, 0xfed00100, 0xfec00010};
  static constexpr uint16_t kPorts[] = {0x20,  0x21,  0xa0,  0xa1,  0x4d0, 0x40,  0x43,  0x61,
                                        0x60,  0x64,  0x70,  0x71,  0x3f8, 0x3f9, 0x3fa, 0x3fb,
                                        0x3fc, 0x600, 0x602, 0x604, 0x608, 0x92,  0xcf9, 0xf4};
  uint64_t retired = 0;
  for (size_t i = 0; i + 16 <= size && i < 16 * 300; i += 16) {
    const uint8_t* p = data + i;
    uint64_t value = 0;
    for (int k = 0; k < 8; ++k) value |= uint64_t{p[8 + k]} << (8 * k);
    retired += uint64_t{p[6]} << (p[7] % 24);
    const Position at{0, {retired}};
    const unsigned small = 1u << p[1] % 3, wide = p[1] % 8 + 1u;
    const Port port{static_cast<uint16_t>(p[2] < 0xf0 ? kPorts[p[2] % std::size(kPorts)] : p[3] | p[4] << 8)};
    const Gpa gpa{(kPlaces[p[2] % std::size(kPlaces)] + (p[3] | p[4] << 8) % 0x400) &
                  ~uint64_t{p[5] < 0xe0 ? 15u : 0u}};
    const uint32_t msr = p[2] < 0xf0 ? 0x800u + p[3] : static_cast<uint32_t>(value >> 32);
    uint64_t answer = 0;
    switch (p[0] % 11) {
      case 0: board.io_read(at, port, small); break;
      case 1: board.io_write(at, port, small, value & (~uint64_t{0} >> (64 - 8 * small))); break;
      case 2: board.mmio_read(at, gpa, std::min(wide, 4096 - static_cast<unsigned>(gpa.value % 4096))); break;
      case 3:
        board.mmio_write(at, gpa, p[1] % 4 ? 4 : std::min(wide, 4096 - static_cast<unsigned>(gpa.value % 4096)), value);
        break;
      case 4: board.msr_read(at, p[1] % 4 ? msr : 0x6e0, answer); break;
      case 5: board.msr_write(at, p[1] % 4 ? msr : p[1] % 8 ? 0x1b : 0x6e0, value); break;
      case 6: board.cr8_write(at, value & 15); break;
      case 7: board.acknowledge_interrupt(at); break;
      case 8: board.cpuid(at, static_cast<uint32_t>(value), p[1], 0x620, 3); break;
      case 9: board.console_input(board.now(at), {p + 8, 8}); break;
      default: board.advance(board.now(at)); break;
    }
    if (p[0] == 0xff) board.reset(board.now(at));
  }
  const auto saved = store_chunks(board.chunks());
  CHECK(load_chunks(saved, board.chunks()).ok());
  board.restored();
  CHECK(store_chunks(board.chunks()) == saved);
  return 0;
}
