// What firmware is told of its machine by fw_cfg (devices/fwcfg.h). Source: QEMU's docs/specs/fw_cfg and its
// hw/acpi/bios-linker-loader; SeaBIOS's docs/Runtime_config.
#pragma once

#include "devices/fwcfg.h"
#include "vmm/state/config.h"

namespace dejavm::boot {

void fill_firmware_config(const MachineConfig&, Fwcfg::State&);

}  // namespace dejavm::boot
