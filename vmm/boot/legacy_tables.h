// What systems without ACPI find of processors and interrupts, on machines without firmware.
#pragma once

#include "vmm/boot/layout.h"

namespace dejavm::boot {

// The MP configuration table and $PIR, from 0xf0000 on, of machines that have PCI.
void put_legacy_tables(const Target&);

}  // namespace dejavm::boot
