#include "vmm/board/buses.h"

namespace dejavm {

constexpr std::array<uint8_t, 0x10000> kRowAtPort = [] {
  std::array<uint8_t, 0x10000> rows{};
  rows.fill(kNoRow);
  for_each_row([&]<size_t kRow>() {
    for (const PortRange& range : std::get<kRow>(kBoardDevices).ports)
      for (uint32_t n = 0; n < range.count; ++n) rows[range.first + n] = kRow;
  });
  return rows;
}();

}  // namespace dejavm
