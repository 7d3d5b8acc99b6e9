// ACPI tables for machines without firmware.
#pragma once

#include "vmm/boot/layout.h"

namespace dejavm::boot {

// The ACPI tables, with the RSDP at kAcpiTables, for loaders whose kernels find no firmware's.
void put_acpi_tables(const Target&);

}  // namespace dejavm::boot
