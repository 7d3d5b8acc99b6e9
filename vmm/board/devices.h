// Every device of the board, a row each. The buses, the interrupt wiring, reset, the chunks of snapshots and ACPI's
// DSDT follow from this table. Interrupt wiring as on a PC/AT with an I/O APIC (ACPI 5.2.12, IA-PC HPET 2.4, 8259A):
//
//   source             8259 pair   I/O APIC pin
//   PIT OUT0           0           2      (HPET timer 0 instead, in legacy replacement)
//   keyboard           1           1
//   COM1               4           4
//   RTC                8           8      (HPET timer 1 instead, in legacy replacement)
//   SCI                9           9
//   testdma            11          11
//   mouse              12          12
//   pctestdev n        n           n      (0: pin 2)
//   HPET timers                    their routed pin
//   PCI's INTA         5, 10       16-19  (address_map.h)
//   8259 INTR                      0      and LINT0 of vCPU 0
#pragma once

#include <tuple>

#include "devices/core/split_mix.h"
#include "devices/fwcfg.h"
#include "devices/i8042.h"
#include "devices/nvme.h"
#include "devices/pcihost.h"
#include "devices/pctestdev.h"
#include "devices/sysctl.h"
#include "devices/testdma.h"
#include "devices/testpci.h"
#include "devices/uart16550.h"
#include "devices/vatpic.h"
#include "devices/vatpit.h"
#include "devices/vhpet.h"
#include "devices/vioapic.h"
#include "devices/virtioblk.h"
#include "devices/virtiorng.h"
#include "devices/vlapic.h"
#include "devices/vpmtmr.h"
#include "devices/vrtc.h"
#include "vmm/board/address_map.h"
#include "vmm/board/device_row.h"
#include "vmm/board/wires.h"

namespace dejavm {

constexpr auto hpet_wires() {
  using namespace address_map;
  Few<Wire, 40> wires{{.line = Vhpet::kLegacyIrq0, .irq = kTimerIrq}, {.line = Vhpet::kLegacyIrq8, .irq = kRtcIrq}};
  for (uint8_t pin = 0; pin < Vioapic::kPins; ++pin) wires.add({.line = uint64_t{1} << pin, .pin = pin});
  return wires;
}

constexpr auto test_wires() {
  Few<Wire, 40> wires;
  for (uint8_t n = 0; n < Pctestdev::kLines; ++n) {
    const bool to_pics = n < 16 && n != address_map::kCascadeIrq;
    wires.add({.line = uint64_t{1} << n, .irq = to_pics ? n : kNoIrq, .pin = n != 0 ? n : kNoPin});
  }
  return wires;
}

// clang-format off
// In the order of their chunks in snapshots.
inline constexpr auto kBoardDevices = [] {
  using namespace address_map;
  return std::tuple{
      DeviceRow<Vatpic>{.ports = {{kPic1, 2}, {kPic2, 2}, {kElcr, 2}},
                        .wires = {{.line = Vatpic::kIntr, .pin = 0}},
                        .acpi = {{.name = "PIC_", .id = "PNP0000", .ports = {{kPic1, 2}, {kPic2, 2}, {kElcr, 2}}, .irq = kCascadeIrq}}},
      DeviceRow<Vatpit>{.ports = {{kPit, 4}, {kSystemControlB, 1}},
                        .wires = {{.line = Vatpit::kOut0, .irq = kTimerIrq, .replaced = true}},
                        .acpi = {{.name = "TIMR", .id = "PNP0100", .ports = {{kPit, 4}}, .irq = kTimerIrq}},
                        .reserved = {{kSystemControlB, 1}}},
      DeviceRow<Vhpet>{.windows = {{kHpet, Vhpet::kWindowBytes}},
                       .wires = hpet_wires(),
                       .acpi = {{.name = "HPET", .id = "PNP0103", .memory = {kHpet, Vhpet::kWindowBytes}}}},
      DeviceRow<Vioapic>{.windows = {{kIoApic, Vioapic::kWindowBytes}}},
      DeviceRow<Vpmtmr>{.ports = {{kPm1Event, kPmEnd - kPm1Event}},
                        .port_origin = kPm1Event,
                        .wires = {{.line = Vpmtmr::kSci, .irq = kSciIrq}},
                        .reserved = {{kPm1Event, kPmEnd - kPm1Event}},
                        .configure = [](Vpmtmr::State& s, const MachineConfig& c, uint32_t) { Vpmtmr::set_extended(s, {0}, c.pm_timer_32); }},
      DeviceRow<Vrtc>{.ports = {{kRtc, 2}},
                      .wires = {{.line = Vrtc::kIrq, .irq = kRtcIrq, .replaced = true}},
                      .acpi = {{.name = "RTC_", .id = "PNP0B00", .ports = {{kRtc, 2}}, .irq = kRtcIrq}},
                      .configure = [](Vrtc::State& s, const MachineConfig& c, uint32_t) { Vrtc::set_start_time(s, c.start_time_unix_s); }},
      // Last in the DSDT, as ever: a machine that is made anew today is the same as in earlier builds to the last byte.
      DeviceRow<Uart16550>{.ports = {{kCom1, 8}},
                           .port_origin = kCom1,
                           .wires = {{.line = Uart16550::kIrq, .irq = kCom1Irq}},
                           .acpi = {{.name = "COM1", .id = "PNP0501", .ports = {{kCom1, 8}}, .irq = kCom1Irq, .order = 1}},
                           .configure = [](Uart16550::State& s, const MachineConfig& c, uint32_t) { Uart16550::set_timed(s, {0}, c.serial_baud); }},
      DeviceRow<I8042>{.ports = {{kKeyboardData, 1}, {kKeyboardCommand, 1}},
                       .wires = {{.line = I8042::kIrq1, .irq = kKeyboardIrq}, {.line = I8042::kIrq12, .irq = kMouseIrq}},
                       .acpi = {{.name = "PS2K", .id = "PNP0303", .ports = {{kKeyboardData, 1}, {kKeyboardCommand, 1}}, .irq = kKeyboardIrq},
                                {.name = "PS2M", .id = "PNP0F13", .irq = kMouseIrq}}},
      DeviceRow<Sysctl>{.ports = {{kPostCode, 1}, {kSystemControlA, 1}, {kDebugConsole, 1}, {kDebugExit, 1}, {kFirmwareDebug, 1}, {kResetControl, 1}},
                        .reserved = {{kSystemControlA, 1}, {kResetControl, 1}},
                        .configure = [](Sysctl::State& s, const MachineConfig& c, uint32_t) {
                          s.debug_exit_enabled = c.debug_exit;
                          s.no_firmware_debug = c.revision >= 5 && !c.firmware_log;
                        }},
      DeviceRow<BoardWires>{},
      DeviceRow<Pctestdev>{.ports = {{kTestEcho, 9}, {kTestEcho + 10, 2}, {kTestIrq, Pctestdev::kLines}},
                           .wires = test_wires(),
                           .present = [](const MachineConfig& c) { return c.test_device; }},
      DeviceRow<Testdma>{.ports = {{kTestDma, Testdma::kWindowBytes}},
                         .port_origin = kTestDma,
                         .wires = {{.line = Testdma::kIrq, .irq = kTestDmaIrq}},
                         .present = [](const MachineConfig& c) { return c.test_device && c.revision >= 3; }},
      DeviceRow<Pcihost>{.ports = {{kPciAddress, 1}, {kPciData, 4}},
                         .windows = {{kPciConfig, kPciConfigBytes}},
                         .pci_slot = kPciHostSlot,
                         .configure = [](Pcihost::State& s, const MachineConfig& c, uint32_t) { s.of_qemu = has_firmware_config(c); },
                         .present = [](const MachineConfig& c) { return c.revision >= 4; }},
      DeviceRow<Testpci>{.pci_slot = kTestPciSlot,
                         .present = [](const MachineConfig& c) { return c.test_device && c.revision >= 4; }},
      DeviceRow<Nvme, Instances::kOnePerDisk>{
          .controller = DiskController::kNvme,
          .pci_slot = kFirstDiskSlot,
          .configure =
              [](Nvme::State& s, const MachineConfig& c, uint32_t n) {
                const DiskConfig& disk = c.disks[disk_number(c, DiskController::kNvme, n)];
                Nvme::set_disk(s, disk.bytes, disk.block_bytes, disk.serial, disk.read_only);
              }},
      DeviceRow<Virtioblk, Instances::kOnePerDisk>{
          .controller = DiskController::kVirtio,
          .pci_slot = kFirstVirtioDiskSlot,
          .configure =
              [](Virtioblk::State& s, const MachineConfig& c, uint32_t n) {
                const DiskConfig& disk = c.disks[disk_number(c, DiskController::kVirtio, n)];
                Virtioblk::set_disk(s, disk.bytes, disk.block_bytes, disk.serial, disk.read_only);
              }},
      DeviceRow<Virtiorng>{.pci_slot = kRngSlot,
                           .configure = [](Virtiorng::State& s, const MachineConfig& c, uint32_t) { Virtiorng::set_seed(s, SplitMix64::output(c.seed, 0)); },
                           .present = [](const MachineConfig& c) { return c.rng; }},
      DeviceRow<Fwcfg>{.ports = {{kFirmwareConfig, 2}, {kFirmwareConfig + 4, 8}},
                       .port_origin = kFirmwareConfig,
                       .present = [](const MachineConfig& c) { return has_firmware_config(c); }},
      DeviceRow<Vlapic, Instances::kOnePerVcpu>{
          .windows = {{kLocalApic, Vlapic::kWindowBytes}},
          .msrs = {{kMsrApicBase, 1}, {kMsrTscAdjust, 1}, {kMsrTscDeadline, 1}, {kMsrX2apic, kX2apicMsrs}},
          .configure = [](Vlapic::State& s, const MachineConfig&, uint32_t vcpu) { s.initial_id = vcpu; }},
  };
}();
// clang-format on

}  // namespace dejavm
