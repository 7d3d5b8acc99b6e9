#include "replay/trace/config_codec.h"

#include <algorithm>

#include <fmt/format.h>

#include "vmm/state/cpu_model.h"
#include "vmm/state/memory.h"

namespace dejavm {

void encode_disk(CborWriter& w, const DiskConfig& disk) {
  const bool virtio = disk.controller == DiskController::kVirtio;
  w.map(virtio ? 6 : 5);
  w.text("hash");
  w.bytes(disk.hash);
  w.text("bytes");
  w.unsigned_int(disk.bytes);
  w.text("serial");
  w.text(disk.serial);
  w.text("read_only");
  w.boolean(disk.read_only);
  if (virtio) {
    w.text("controller");
    w.text("virtio");
  }
  w.text("block_bytes");
  w.unsigned_int(disk.block_bytes);
}

DiskConfig decode_disk(CborReader& r) {
  DiskConfig disk;
  unsigned seen = 0;
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "hash") {
      const std::span<const uint8_t> hash = r.bytes();
      if (r.ok() && hash.size() != disk.hash.size()) r.fail("a disk's 'hash' that has not 16 bytes");
      if (r.ok()) std::ranges::copy(hash, disk.hash.begin());
    } else if (key == "bytes") disk.bytes = r.unsigned_int();
    else if (key == "serial") disk.serial = r.text();
    else if (key == "read_only") disk.read_only = r.boolean();
    else if (key == "controller") {
      if (r.text() != "virtio" && r.ok())
        r.fail("a disk's 'controller' that is not 'virtio', and left out as the default");
      disk.controller = DiskController::kVirtio;
      --seen;
    } else if (key == "block_bytes") disk.block_bytes = static_cast<uint32_t>(number_up_to(r, 0xffffffff));
    else r.fail(fmt::format("unknown key of a disk '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok() && seen != 5) r.fail("a key of a disk is missing");
  return disk;
}

// Left out while it is false.
void encode_flag(CborWriter& w, std::string_view key, bool flag) {
  if (!flag) return;
  w.text(key);
  w.boolean(true);
}
bool decode_flag(CborReader& r, std::string_view key) {
  const bool flag = r.boolean();
  if (r.ok() && !flag) r.fail(fmt::format("a '{}' of false, which is left out as the default", key));
  return flag;
}

bool has_schedule(const MachineConfig& c) { return c.vcpus > 1 && c.schedule.kind != ScheduleKind::kRoundRobin; }

std::string_view name_of(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::kRoundRobin: break;
    case ScheduleKind::kRandom: return "random";
    case ScheduleKind::kPct: return "pct";
    case ScheduleKind::kList: return "list";
  }
  return "round-robin";
}

void encode_switches(CborWriter& w, const std::vector<ScheduledSwitch>& switches) {
  w.text("switches");
  w.array(switches.size() * 3);
  for (const ScheduledSwitch& one : switches) {
    w.unsigned_int(one.vcpu);
    w.unsigned_int(one.executed);
    w.unsigned_int(one.next);
  }
}

std::vector<ScheduledSwitch> decode_switches(CborReader& r) {
  const uint64_t numbers = r.array();
  if (r.ok() && (numbers == 0 || numbers % 3 != 0 || numbers / 3 > kMaxSwitches))
    r.fail(fmt::format("{} numbers in a schedule's 'switches'; they are 1 to {} times three", numbers, kMaxSwitches));
  std::vector<ScheduledSwitch> out;
  for (uint64_t n = 0; n < numbers && r.ok(); n += 3) {
    ScheduledSwitch& one = out.emplace_back();
    one.vcpu = static_cast<uint32_t>(number_up_to(r, kMaxVcpus - 1));
    one.executed = r.unsigned_int();
    one.next = static_cast<uint32_t>(number_up_to(r, kMaxVcpus - 1));
  }
  return out;
}

void encode_schedule(CborWriter& w, const ScheduleConfig& s) {
  const bool pct = s.kind == ScheduleKind::kPct;
  const bool list = s.kind == ScheduleKind::kList;
  w.text("schedule");
  w.map((pct ? 4 : 2) + (s.from != 0 ? 1 : 0));
  if (s.from != 0) {
    w.text("from");
    w.unsigned_int(s.from);
  }
  w.text("kind");
  w.text(name_of(s.kind));
  if (list) return encode_switches(w, s.switches);
  w.text("seed");
  w.unsigned_int(s.seed);
  if (!pct) return;
  w.text("depth");
  w.unsigned_int(s.depth);
  w.text("length");
  w.unsigned_int(s.length);
}

ScheduleConfig decode_schedule(CborReader& r) {
  ScheduleConfig s;
  unsigned seen = 0;  // of the keys that are always there
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "kind") {
      const std::string_view kind = r.text();
      for (const ScheduleKind known : {ScheduleKind::kRandom, ScheduleKind::kPct, ScheduleKind::kList})
        if (kind == name_of(known)) s.kind = known;
      if (r.ok() && s.kind == ScheduleKind::kRoundRobin)
        r.fail(fmt::format("a schedule of kind '{}'; a newer dejavm may have written it", kind));
    } else if (key == "from") {
      --seen;
      s.from = r.unsigned_int();
      if (r.ok() && s.from == 0) r.fail("a schedule 'from' 0, which is left out as the default");
    } else if (key == "seed" && s.kind != ScheduleKind::kList) s.seed = r.unsigned_int();
    else if (key == "depth" && s.kind == ScheduleKind::kPct)
      s.depth = static_cast<uint32_t>(number_up_to(r, 0xffffffff));
    else if (key == "length" && s.kind == ScheduleKind::kPct) s.length = r.unsigned_int();
    else if (key == "switches" && s.kind == ScheduleKind::kList) s.switches = decode_switches(r);
    else r.fail(fmt::format("unknown key of a schedule '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok() && seen != (s.kind == ScheduleKind::kPct ? 4 : 2)) r.fail("a key of the schedule is missing");
  return s;
}

void encode_config(CborWriter& w, const MachineConfig& c) {
  w.map(8 + (c.serial_baud ? 1 : 0) + (c.pm_timer_32 ? 1 : 0) + (c.cpu_without.empty() ? 0 : 1) +
        (c.test_device ? 1 : 0) + (c.revision != 1 ? 1 : 0) + (c.disks.empty() ? 0 : 1) + (c.rng ? 1 : 0) +
        (c.firmware_log ? 1 : 0) + (c.vcpus > 1 ? 1 : 0) + (has_schedule(c) ? 1 : 0));
  encode_flag(w, "rng", c.rng);
  w.text("seed");
  w.unsigned_int(c.seed);
  if (!c.disks.empty()) {
    w.text("disks");
    w.array(c.disks.size());
    for (const DiskConfig& disk : c.disks) encode_disk(w, disk);
  }
  if (c.vcpus > 1) {
    w.text("slice");
    w.unsigned_int(c.slice);
  }
  w.text("vcpus");
  w.unsigned_int(c.vcpus);
  w.text("strict");
  w.boolean(c.strict);
  if (c.revision != 1) {
    w.text("revision");
    w.unsigned_int(c.revision);
  }
  if (has_schedule(c)) encode_schedule(w, c.schedule);
  w.text("cpu_model");
  w.text(c.cpu_model);
  w.text("rom_bytes");
  w.unsigned_int(c.rom_bytes);
  w.text("debug_exit");
  w.boolean(c.debug_exit);
  if (!c.cpu_without.empty()) {
    w.text("cpu_without");
    w.array(c.cpu_without.size());
    for (const std::string& name : c.cpu_without) w.text(name);
  }
  encode_flag(w, "test_device", c.test_device);
  encode_flag(w, "firmware_log", c.firmware_log);
  w.text("memory_bytes");
  w.unsigned_int(c.memory_bytes);
  // Left out while the default, as before these keys existed.
  if (c.pm_timer_32) {
    w.text("pm_timer_bits");
    w.unsigned_int(32);
  }
  if (c.serial_baud) {
    w.text("serial_timing");
    w.text("baud");
  }
  w.text("start_time_unix_s");
  w.signed_int(c.start_time_unix_s);
}

MachineConfig decode_config(CborReader& r) {
  MachineConfig c;
  c.revision = 1;     // of files from before there was another
  unsigned seen = 0;  // of the keys that are always there
  bool has_slice = false;
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "serial_timing" || key == "pm_timer_bits") {
      --seen;
      const bool known = key == "serial_timing" ? r.text() == "baud" : r.unsigned_int() == 32;
      if (r.ok() && !known)
        r.fail(fmt::format("a value of '{}' that this build does not know, or that is left out as the default", key));
      (key == "serial_timing" ? c.serial_baud : c.pm_timer_32) = true;
    } else if (key == "revision") {
      --seen;
      c.revision = static_cast<uint32_t>(number_up_to(r, 0xffffffff));
      if (r.ok() && c.revision == 1) r.fail("a 'revision' of 1, which is left out as the default");
    } else if (key == "schedule") {
      --seen;
      c.schedule = decode_schedule(r);
    } else if (key == "slice") {
      --seen;
      c.slice = r.unsigned_int();
      has_slice = true;
    } else if (key == "rng") {
      --seen;
      c.rng = decode_flag(r, key);
    } else if (key == "firmware_log") {
      --seen;
      c.firmware_log = decode_flag(r, key);
    } else if (key == "test_device") {
      --seen;
      c.test_device = decode_flag(r, key);
    } else if (key == "disks") {
      --seen;
      for (uint64_t n = r.array(); n > 0 && r.ok(); --n) c.disks.push_back(decode_disk(r));
      if (r.ok() && c.disks.empty()) r.fail("an empty 'disks', which is left out as the default");
    } else if (key == "cpu_without") {
      --seen;
      for (uint64_t n = r.array(); n > 0 && r.ok(); --n) c.cpu_without.emplace_back(r.text());
      if (r.ok() && c.cpu_without.empty()) r.fail("an empty 'cpu_without', which is left out as the default");
    } else if (key == "seed") c.seed = r.unsigned_int();
    else if (key == "vcpus") c.vcpus = static_cast<uint32_t>(number_up_to(r, 0xffffffff));
    else if (key == "strict") c.strict = r.boolean();
    else if (key == "cpu_model") c.cpu_model = r.text();
    else if (key == "rom_bytes") c.rom_bytes = r.unsigned_int();
    else if (key == "debug_exit") c.debug_exit = r.boolean();
    else if (key == "memory_bytes") c.memory_bytes = r.unsigned_int();
    else if (key == "start_time_unix_s") c.start_time_unix_s = r.signed_int();
    else r.fail(fmt::format("unknown configuration key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok() && (seen != 8 || has_slice != (c.vcpus > 1)))
    r.fail("a configuration key is missing, or 'slice' is there for one vCPU");
  if (r.ok())
    if (const std::string why = invalid_config(c); !why.empty()) r.fail(why);
  return c;
}

std::string invalid_config(const MachineConfig& c) {
  if (c.memory_bytes < (1 << 20) || c.memory_bytes % 4096) return fmt::format("memory of {} bytes", c.memory_bytes);
  if (c.memory_bytes > kMaxRamBytes)
    return fmt::format("memory of {} bytes, beyond any machine of ours", c.memory_bytes);
  if (c.revision < 1 || c.revision > kMachineRevision)
    return fmt::format("a machine of revision {}, which this build does not know; a newer dejavm may have written it",
                       c.revision);
  if (c.vcpus < 1 || c.vcpus > kMaxVcpus) return fmt::format("{} vCPUs; a machine has 1 to {}", c.vcpus, kMaxVcpus);
  if (c.vcpus == 1 && c.schedule.kind != ScheduleKind::kRoundRobin) return "a schedule, for one vCPU";
  if (c.schedule.depth < 1 || c.schedule.depth > kMaxPctDepth)
    return fmt::format("a PCT schedule of depth {}; it is 1 to {}", c.schedule.depth, kMaxPctDepth);
  for (const ScheduledSwitch& one : c.schedule.switches)
    if (one.vcpu >= c.vcpus || one.next >= c.vcpus)
      return fmt::format("a schedule with vCPU {}; the machine has {}", std::max(one.vcpu, one.next), c.vcpus);
  if (c.slice < 1 || c.slice > kMaxSlice) return fmt::format("slices of {} instructions", c.slice);
  if (find_cpu_model(c.cpu_model) == nullptr)
    return fmt::format("CPU model '{}', which this build does not know; a newer dejavm may have written it",
                       c.cpu_model);
  if (c.rom_bytes % 4096 || c.rom_bytes > 16 << 20) return fmt::format("a firmware window of {} bytes", c.rom_bytes);
  if (c.test_device && c.rom_bytes > kFourGiB - kTestWindow - kTestWindowBytes)
    return fmt::format("a firmware window of {} bytes, which covers the test device's", c.rom_bytes);
  if (c.disks.size() > kMaxDisks) return fmt::format("{} disks; a machine has {} at most", c.disks.size(), kMaxDisks);
  if (const size_t count = disk_count(c, DiskController::kVirtio); count > kMaxVirtioDisks)
    return fmt::format("{} virtio disks; a machine has {} at most", count, kMaxVirtioDisks);
  if (!c.disks.empty() && c.revision < 4) return "disks, in a machine from before there was PCI";
  for (const DiskConfig& disk : c.disks) {
    if (disk.block_bytes != 512 && disk.block_bytes != 4096)
      return fmt::format("a disk with blocks of {} bytes", disk.block_bytes);
    if (disk.bytes == 0 || disk.bytes % disk.block_bytes != 0 || disk.bytes > kMaxDiskBytes)
      return fmt::format("a disk of {} bytes", disk.bytes);
    if (disk.serial.empty() || disk.serial.size() > 20) return "a disk's serial number that has not 1 to 20 characters";
  }
  for (size_t n = 0; n < c.cpu_without.size(); ++n) {
    if (!is_optional_feature(c.cpu_without[n]))
      return fmt::format("a CPU without '{}', which is no optional feature of any model here", c.cpu_without[n]);
    if (n > 0 && c.cpu_without[n - 1] >= c.cpu_without[n])
      return "CPU features that are left out are not sorted, or one is named twice";
  }
  return {};
}

}  // namespace dejavm
