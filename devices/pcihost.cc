#include "devices/pcihost.h"

namespace dejavm {

const char* Pcihost::invalid(const State& s) {
  if (s.address & 0x7f000003) return "the address has reserved bits set";
  return nullptr;
}

void Pcihost::reset(State& s) { s = {.of_qemu = s.of_qemu}; }

uint64_t Pcihost::read(State& s, Nanos, uint64_t offset, unsigned size) {
  if (offset < pci::kConfigBytes) return pci::config_read(s.of_qemu ? kPciOfQemu : kPci, {}, offset, size, false);
  return offset == kAddressRegister && size == 4 ? s.address : open_bus(size);
}

void Pcihost::write(State& s, Nanos, uint64_t offset, unsigned size, uint64_t value) {
  if (offset == kAddressRegister && size == 4) s.address = value & 0x80fffffc;
}

bool Pcihost::selected(const State& s, uint16_t& bus_and_function, uint64_t& offset) {
  bus_and_function = static_cast<uint16_t>(s.address >> 8);
  offset = s.address & 0xfc;
  return s.address >> 31;
}

}  // namespace dejavm
