// What firmware is told of its machine by fw_cfg (devices/fwcfg.h). Source: QEMU's docs/specs/fw_cfg and its
// hw/acpi/bios-linker-loader; SeaBIOS's docs/Runtime_config.
#pragma once

#include <vector>

#include "devices/fwcfg.h"
#include "vmm/state/config.h"

namespace dejavm::boot {

void fill_firmware_config(const MachineConfig&, Fwcfg::State&);

// The commands by which firmware places the ACPI tables, as file etc/table-loader has them.
struct AcpiTables;
std::vector<uint8_t> table_loader(const AcpiTables&);

}  // namespace dejavm::boot
