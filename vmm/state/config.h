// What a machine is built from. A restore needs nothing else: everything here is in every snapshot and trace, as
// chunk "config". Host resources (paths, console) are not here; see BootSource and Console.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dejavm {

// What machines do has revisions, so that recordings and snapshots of earlier builds go on as they were: a machine
// keeps the one that it was made with. 1: up to November 2026. 2: TF, DR6, null segments, ENTER, ARPL, 16-bit TSSs,
// VMOVAPS's faults, the performance counters and CMCI as docs/cpu.md has them; events of a PIT that nobody sees wake
// nothing. 3: testdma beside pctestdev. 4: PCI. 5: fw_cfg for firmware, whose PCI host
// bridge is QEMU's; port 0x402 is there if asked for; the clock and its memory outlive a reset.
// 6: by random turns, too, another vCPU runs after a PAUSE.
inline constexpr uint32_t kMachineRevision = 6;

enum class DiskController : uint8_t { kNvme, kVirtio };

// A disk, as its controller shows it to the guest.
struct DiskConfig {
  uint64_t bytes = 0;
  uint32_t block_bytes = 512;  // or 4096
  bool read_only = false;
  DiskController controller = DiskController::kNvme;
  std::string serial{};            // up to 20 characters
  std::array<uint8_t, 16> hash{};  // of the image that it starts from (replay/FORMAT.md), or zeros
  bool operator==(const DiskConfig&) const = default;
};
inline constexpr size_t kMaxDisks = 16, kMaxVirtioDisks = 11;

// Whose turn comes next (vmm/machine/schedule.h).
enum class ScheduleKind : uint8_t { kRoundRobin, kRandom, kPct, kList };
// Once `vcpu` has executed so many instructions of its own, it is the turn of `next`.
struct ScheduledSwitch {
  uint32_t vcpu = 0;
  uint32_t next = 0;
  uint64_t executed = 0;
  bool operator==(const ScheduledSwitch&) const = default;
};
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kRoundRobin;
  uint64_t from = 0;    // of kRandom and kPct: the machine's count at which it begins; until there, round robin
  uint64_t seed = 0;    // of kRandom and kPct
  uint32_t depth = 1;   // of kPct, 1-64: one more than there are changes of priority ...
  uint64_t length = 0;  // ... which lie within so many instructions
  std::vector<ScheduledSwitch> switches{};  // of kList, in the order in which they come up
  bool operator==(const ScheduleConfig&) const = default;
};
inline constexpr uint32_t kMaxPctDepth = 64;
inline constexpr size_t kMaxSwitches = 250'000;  // that a trace's header has room for

inline constexpr uint32_t kMaxVcpus = 64;
inline constexpr uint64_t kDefaultSlice = 50'000, kMaxSlice = uint64_t{1} << 40;

struct MachineConfig {
  uint32_t revision = kMachineRevision;
  uint64_t memory_bytes = 256 << 20;
  uint32_t vcpus = 1;
  uint64_t slice = kDefaultSlice;  // of several vCPUs: instructions of one before it is another's turn
  ScheduleConfig schedule{};
  std::string cpu_model = "dejavm-v1";    // vmm/state/cpu_model.h
  uint64_t seed = 0;                      // RDRAND, RDSEED
  int64_t start_time_unix_s = 946684800;  // what the RTC shows at virtual time 0; default 2000-01-01T00:00:00Z
  uint64_t rom_bytes = 0;                 // firmware window below 4 GiB
  bool debug_exit = false;                // QEMU's isa-debug-exit at 0xf4
  bool strict = false;                    // stop at an unimplemented instruction instead of #UD
  bool serial_baud = false;               // COM1 takes the time of its baud rate, rather than none
  bool pm_timer_32 = false;               // the ACPI PM timer has 32 bits, rather than 24
  bool firmware_log = false;              // firmware tells at port 0x402 what it does
  bool rng = false;                       // devices/virtiorng.h
  bool test_device = false;               // devices/pctestdev.h and its memory window, devices/testdma.h
  std::vector<std::string>
      cpu_without{};  // optional features of the CPU model that guests are not shown: sorted, each once
  std::vector<DiskConfig> disks{};
  bool operator==(const MachineConfig&) const = default;
};

// Whether the machine has devices/fwcfg.h: with firmware.
constexpr bool has_firmware_config(const MachineConfig& config) {
  return config.revision >= 5 && config.rom_bytes != 0;
}

// Of a controller's disks: how many there are, and which of all the n-th is.
inline size_t disk_count(const MachineConfig& config, DiskController controller) {
  size_t count = 0;
  for (const DiskConfig& disk : config.disks) count += disk.controller == controller ? 1 : 0;
  return count;
}
inline unsigned disk_number(const MachineConfig& config, DiskController controller, unsigned n) {
  unsigned number = 0;
  for (const DiskConfig& disk : config.disks) {
    if (disk.controller == controller && n-- == 0) break;
    ++number;
  }
  return number;
}

// The engines that a machine can be made with.
constexpr bool is_engine(std::string_view name) {
  return name == "deterministic" || name == "kvm" || name == "kvm-step";
}

// What is loaded into a fresh machine before its first instruction. Host paths; empty: not given.
struct BootSource {
  std::string kernel, initrd, append, firmware;
};

}  // namespace dejavm
