// Where a PC's devices are: the board's, ACPI's and the memory's word for it.
// Sources: ISA's well-known ports; Intel ICH9 datasheet, chapters 9 and 13; QEMU's for what only its guests know.
#pragma once

#include <cstdint>

namespace dejavm::address_map {

// Ports.
inline constexpr uint16_t kPic1 = 0x20, kPic2 = 0xa0, kElcr = 0x4d0;
inline constexpr uint16_t kPit = 0x40, kSystemControlB = 0x61;
inline constexpr uint16_t kKeyboardData = 0x60, kKeyboardCommand = 0x64;
inline constexpr uint16_t kRtc = 0x70;
inline constexpr uint16_t kPostCode = 0x80, kSystemControlA = 0x92, kResetControl = 0xcf9;
inline constexpr uint16_t kDebugConsole = 0xe9, kDebugExit = 0xf4, kFirmwareDebug = 0x402, kFirmwareConfig = 0x510;
inline constexpr uint16_t kTestEcho = 0xe0, kTestIrq = 0x2000, kTestDma = 0x2100;
inline constexpr uint16_t kCom1 = 0x3f8;
inline constexpr uint16_t kPm1Event = 0x600, kPm1Control = 0x604, kPmTimer = 0x608, kPmEnd = 0x60c;

inline constexpr uint16_t kPciAddress = 0xcf8, kPciData = 0xcfc;

// Memory. PCI: the enhanced configuration space of bus 0, and the windows for BARs below and above 4 GiB.
inline constexpr uint64_t kPciConfig = 0xe0000000, kPciConfigBytes = 1 << 20;
inline constexpr uint64_t kPciMemory = 0xc0000000, kPciMemoryBytes = 0x20000000;
inline constexpr uint64_t kPciMemory64 = uint64_t{1} << 39, kPciMemory64Bytes = uint64_t{1} << 39;
inline constexpr uint64_t kIoApic = 0xfec00000, kHpet = 0xfed00000, kLocalApic = 0xfee00000;
inline constexpr uint64_t kTestWindow = 0xff000000, kTestWindowBytes = 64 << 10;

// MSRs that lead to a local APIC (Intel SDM vol. 4, 2.1).
inline constexpr uint32_t kMsrApicBase = 0x1b, kMsrTscAdjust = 0x3b, kMsrTscDeadline = 0x6e0, kMsrX2apic = 0x800,
                          kX2apicMsrs = 0x100;

// Interrupts of the ISA bus.
inline constexpr uint8_t kTimerIrq = 0, kKeyboardIrq = 1, kCascadeIrq = 2, kCom1Irq = 4, kRtcIrq = 8, kSciIrq = 9,
                         kTestDmaIrq = 11, kMouseIrq = 12;
// Devices on PCI bus 0. INTA of device n comes at pin 16 + n % 4 of the I/O APIC, and at IRQ 5 of the 8259 pair if n is
// even, 10 if it is odd.
inline constexpr uint8_t kPciHostSlot = 0, kRngSlot = 3, kFirstDiskSlot = 4, kFirstVirtioDiskSlot = 20,
                         kTestPciSlot = 31;
inline constexpr uint8_t kPciFirstPin = 16, kPciEvenIrq = 5, kPciOddIrq = 10;
// The pin of the I/O APIC at which IRQ 0 comes; the others come at the pins of their numbers.
inline constexpr uint8_t kTimerPin = 2;

}  // namespace dejavm::address_map
