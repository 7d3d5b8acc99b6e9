#include "devices/pctestdev.h"

namespace dejavm {
namespace {

constexpr unsigned kEchoPorts = 4;

// Whether an echo port is meant, and which byte of the echo comes first.
bool is_echo(uint64_t offset, unsigned& first) {
  for (const uint64_t base : {Pctestdev::kEcho, Pctestdev::kEchoBytes})
    if (offset - base < kEchoPorts) {
      first = static_cast<unsigned>(offset - base);
      return true;
    }
  return false;
}

}  // namespace

uint64_t Pctestdev::read(State& s, Nanos, uint64_t offset, unsigned size) {
  unsigned first = 0;
  if (!is_echo(offset, first)) return open_bus(size);
  return (s.echo >> (8 * first)) & open_bus(size);
}

void Pctestdev::write(State& s, Nanos, uint64_t offset, unsigned size, uint64_t value) {
  unsigned first = 0;
  if (is_echo(offset, first)) {
    const auto mask = static_cast<uint32_t>((open_bus(size) & 0xffffffff) << (8 * first));
    s.echo = (s.echo & ~mask) | (static_cast<uint32_t>(value << (8 * first)) & mask);
  } else if (offset - kIrq < kLines && size == 1) {
    const uint32_t line = 1u << (offset - kIrq);
    s.irq = (value & 0xff) ? s.irq | line : s.irq & ~line;
  }
}

}  // namespace dejavm
