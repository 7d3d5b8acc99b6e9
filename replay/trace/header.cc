#include "replay/trace/header.h"

#include <fmt/format.h>

#include "vmm/state/cpu_model.h"
#include "vmm/state/memory.h"

namespace dejavm {
namespace {

// The version of the header's and end's maps themselves is the trace's; an unknown key is refused.

Error damaged(std::string_view what, const CborReader& r) {
  return {ErrorKind::kBadInput, fmt::format("{}, byte {} of its content: {}", what, r.error_offset(), r.error())};
}

Bytes read_schema_payload(CborReader& r) {
  const size_t start = r.offset();
  read_schemas(r, nullptr);
  if (!r.ok()) return {};
  const auto payload = r.since(start);
  return {payload.begin(), payload.end()};
}

}  // namespace

std::string_view name_of(RunEnd end) {
  switch (end) {
    case RunEnd::kUntil: return "stopped at the position asked for";
    case RunEnd::kPowerOff: return "powered off";
    case RunEnd::kDebugExit: return "debug exit";
    case RunEnd::kUserStop: return "stopped by the user";
    case RunEnd::kHaltedForever: return "halted for ever";
    case RunEnd::kTripleFault: return "triple fault";
    case RunEnd::kUnimplemented: return "unimplemented instruction";
    case RunEnd::kEngineError: return "engine error";
    case RunEnd::kReset: return "reset";
  }
  return "unknown";
}

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

void encode_config(CborWriter& w, const MachineConfig& c) {
  w.map(8 + (c.serial_baud ? 1 : 0) + (c.pm_timer_32 ? 1 : 0) + (c.cpu_without.empty() ? 0 : 1) +
        (c.test_device ? 1 : 0) + (c.revision != 1 ? 1 : 0) + (c.disks.empty() ? 0 : 1) + (c.rng ? 1 : 0) +
        (c.firmware_log ? 1 : 0) + (c.vcpus > 1 ? 1 : 0));
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

std::string decode_engine(CborReader& r) {
  std::string name(r.text());
  if (r.ok() && !is_engine(name))
    r.fail(fmt::format("engine '{}', which this build does not know; a newer dejavm may have written it", name));
  return name;
}

std::vector<BootImage> decode_boot(CborReader& r) {
  std::vector<BootImage> out;
  for (uint64_t n = r.array(); n > 0 && r.ok(); --n) {
    BootImage& b = out.emplace_back();
    CborMap map(r);
    for (std::string_view key; map.next(key);) {
      if (key == "hash") b.hash = get_hash(r);
      else if (key == "name") b.name = r.text();
      else if (key == "role") b.role = r.text();
      else if (key == "len_bytes") b.len_bytes = r.unsigned_int();
      else r.fail(fmt::format("unknown key '{}' in a boot image", key));
    }
  }
  return out;
}

void encode_boot(CborWriter& w, std::span<const BootImage> boot) {
  w.array(boot.size());
  for (const BootImage& b : boot) {
    w.map(4);
    w.text("hash");
    put_hash(w, b.hash);
    w.text("name");
    w.text(b.name);
    w.text("role");
    w.text(b.role);
    w.text("len_bytes");
    w.unsigned_int(b.len_bytes);
  }
}

Bytes encode_header(const TraceHeader& h) {
  CborWriter w;
  w.map(h.devices_only ? 8 : 7);
  w.text("boot");
  encode_boot(w, h.boot);
  w.text("append");
  w.text(h.append);
  w.text("config");
  encode_config(w, h.config);
  w.text("engine");
  w.text(h.engine);
  w.text("writer");
  w.text(h.writer);
  w.text("schemas");
  if (h.schemas.empty()) w.raw(h.schema_payload);
  else encode_schemas(w, h.schemas);
  if (h.devices_only) {
    w.text("devices_only");
    w.boolean(true);
  }
  w.text("keyframe_interval");
  w.unsigned_int(h.keyframe_interval);
  return w.take();
}

Result<TraceHeader> decode_header(std::span<const uint8_t> payload) {
  TraceHeader h;
  unsigned seen = 0;
  CborReader r(payload);
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "boot") h.boot = decode_boot(r);
    else if (key == "append") h.append = r.text();
    else if (key == "config") h.config = decode_config(r);
    else if (key == "engine") h.engine = decode_engine(r);
    else if (key == "writer") h.writer = r.text();
    else if (key == "schemas") h.schema_payload = read_schema_payload(r);
    else if (key == "devices_only") {
      --seen;
      h.devices_only = r.boolean();
      if (r.ok() && !h.devices_only) r.fail("'devices_only' is left out where it is false");
    } else if (key == "keyframe_interval") h.keyframe_interval = r.unsigned_int();
    else r.fail(fmt::format("unknown header key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok()) r.end();
  if (r.ok() && seen != 7) r.fail("a header key is missing");
  if (!r.ok()) return damaged("the header", r);
  return h;
}

std::vector<std::string> describe_schemas(std::span<const uint8_t> payload) {
  std::vector<std::string> out;
  CborReader r(payload);
  CborMap map(r);
  for (std::string_view key; map.next(key);) {
    if (key == "schemas") read_schemas(r, &out);
    else r.skip();
  }
  return out;
}

Bytes encode_end(const TraceEnd& e) {
  CborWriter w;
  w.map(7);
  w.text("end");
  w.unsigned_int(static_cast<uint64_t>(e.end));
  w.text("exits");
  w.unsigned_int(e.exits);
  w.text("detail");
  w.text(std::string_view(e.detail).substr(0, kMaxDetailBytes));
  w.text("digest");
  put_hash(w, e.digest);
  w.text("events");
  w.unsigned_int(e.events);
  w.text("debug_exit");
  w.unsigned_int(e.debug_exit);
  w.text("instructions");
  w.unsigned_int(e.instructions);
  return w.take();
}

Result<TraceEnd> decode_end(std::span<const uint8_t> payload) {
  TraceEnd e;
  unsigned seen = 0;
  CborReader r(payload);
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "end") e.end = static_cast<RunEnd>(number_up_to(r, static_cast<uint64_t>(RunEnd::kReset)));
    else if (key == "exits") e.exits = r.unsigned_int();
    else if (key == "detail") e.detail = r.text();
    else if (key == "digest") e.digest = get_hash(r);
    else if (key == "events") e.events = r.unsigned_int();
    else if (key == "debug_exit") e.debug_exit = static_cast<uint8_t>(number_up_to(r, 255));
    else if (key == "instructions") e.instructions = r.unsigned_int();
    else r.fail(fmt::format("unknown key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok()) r.end();
  if (r.ok() && seen != 7) r.fail("a key is missing");
  if (!r.ok()) return damaged("the end record", r);
  return e;
}

}  // namespace dejavm
