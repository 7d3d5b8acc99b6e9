// Firmware images.
#pragma once

#include "vmm/boot/layout.h"

namespace dejavm::boot {

// MachineConfig.rom_bytes for a firmware image: the file's size rounded up to a multiple of 64 KiB.
Result<uint64_t> firmware_rom_bytes(const std::string& path);
Result<void> load_firmware(const Target&);

}  // namespace dejavm::boot
