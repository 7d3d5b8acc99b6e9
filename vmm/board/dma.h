// Guest memory as bus masters reach it (devices/core/transfer.h): the machine's, or what stands in for it.
#pragma once

#include <cstdint>
#include <span>

#include "devices/core/transfer.h"
#include "vmm/engine.h"

namespace dejavm {

class GuestDma {
 public:
  virtual ~GuestDma() = default;
  // False, and nothing has moved: the bytes do not all lie in one region of RAM. `at`: now; `requester`:
  // the PCI function that asks: device 7:3, function 2:0; 0 of a device on the ISA bus.
  virtual bool read(Position at, uint16_t requester, Gpa, std::span<uint8_t> to) = 0;
  virtual bool write(Position at, uint16_t requester, Gpa, std::span<const uint8_t> from) = 0;
  // A step of disk `disk`: one of the kinds from Transfer::Kind::kFromDisk on. `equal`: of a comparison.
  virtual bool disk_step(Position, uint16_t, unsigned, const Transfer&, bool&) { return false; }
};

}  // namespace dejavm
