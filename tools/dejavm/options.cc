#include "tools/dejavm/options.h"

#include <algorithm>
#include <ctime>

#include "replay/replay/position.h"
#include "tools/dejavm/run_options.h"
#include "tools/dejavm/vcpu_options.h"
#include "vmm/state/cpu_model.h"

namespace dejavm::cli {
namespace {

[[noreturn]] void refuse(const std::string& text, const char* rule) {
  throw CLI::ValidationError("'" + text + "' is not " + rule);
}

void check_console(const std::string& v) {
  if (v != "stdio" && v != "none" && v.rfind("file:", 0) != 0) refuse(v, "a console: stdio, none or file:PATH");
}

void add_console_option(CLI::App& app, Options& o, const char* help) {
  app.add_option_function<std::string>(
         "--console",
         [&o](const std::string& v) {
           check_console(v);
           o.console = v;
         },
         help)
      ->type_name("WHERE");
}

SnapshotRequest parse_snapshot(const std::string& text) {
  const size_t colon = text.find(':');
  const auto at = colon < text.size() - 1 ? parse_instructions(std::string_view(text).substr(0, colon)) : std::nullopt;
  if (!at) refuse(text, "INSTRUCTION:FILE, such as 5M:boot.dvs");
  return {*at, text.substr(colon + 1)};
}

void add_snapshot_options(CLI::App& app, Options& o) {
  app.add_option_function<std::vector<std::string>>(
         "--snapshot-at",
         [&o](const std::vector<std::string>& all) {
           for (const std::string& text : all) o.snapshots.push_back(parse_snapshot(text));
         },
         "save the machine to FILE once it has completed so many instructions; may be given again")
      ->type_name("INSTRUCTION:FILE")
      ->expected(1)
      ->take_all();
  app.add_option("--control", o.control, "listen for requests (dejavm ctl) on a Unix socket at this path")
      ->type_name("PATH");
  app.add_option("--gdb", o.gdb,
                 "wait there for gdb, which has the guest before its first instruction; port 0: any that is free")
      ->type_name("HOST:PORT")
      ->excludes("--control");
  app.add_flag("--paused", o.paused, "stand still until 'dejavm ctl ... resume'")->needs("--control");
  app.add_flag("--digest", o.digest,
               "print the digest of the machine at the end, which record and replay print anyway");
  app.add_flag("--force", o.force, "replace existing files");
  app.add_flag("--delta", o.delta, "save only what changed since the snapshot before, where there is one");
  app.add_flag("--external-base", o.external_base,
               "leave the images of disks out of snapshots; restore finds them by 'diskN', size and hash: --bind");
  add_limit_options(app, o);
}

}  // namespace

CLI::Validator instruction_count() {
  return CLI::Validator(
      [](std::string& text) {
        const auto n = parse_instructions(text);
        if (!n) return "'" + text + "' is not a number of instructions, such as 5000000, 5M or 1.5G";
        text = std::to_string(*n);
        return std::string();
      },
      "");
}

CLI::Validator size_in_bytes() {
  return CLI::Validator(
      [](std::string& text) {
        const std::string given = text;
        try {
          if (CLI::AsSizeValue(false)(text).empty()) return std::string();
        } catch (const CLI::ValidationError&) {  // of a unit that there is not, or a number that does not fit
        }
        return "'" + given + "' is not a size, such as 256M (units K, M, G, T)";
      },
      "");
}

uint64_t parse_duration(const std::string& text) {
  constexpr const char* kRule = "a length of time in seconds, such as 90, 1.5, 10m or 2h";
  constexpr double kLongestS = 1e9;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  const double seconds = unit.empty() || unit == "s" ? number
                         : unit == "m"               ? number * 60
                         : unit == "h"               ? number * 3600
                                                     : -1;
  if (end == text.c_str() || !(seconds > 0) || seconds > kLongestS) refuse(text, kRule);
  return static_cast<uint64_t>(seconds * 1e9);
}

int64_t parse_time(const std::string& text) {
  constexpr const char* kRule = "a time, such as 2026-11-25T12:00:00Z (RFC 3339)";
  std::tm t{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &t);
  if (rest == nullptr) refuse(text, kRule);
  int64_t offset_s = 0;
  if (*rest == 'Z' || *rest == 'z') {
    ++rest;
  } else if (*rest == '+' || *rest == '-') {
    int hours = 0, minutes = 0, used = 0;
    if (std::sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5) refuse(text, kRule);
    offset_s = (hours * 60 + minutes) * 60 * (*rest == '+' ? 1 : -1);
    rest += 1 + used;
  } else {
    refuse(text, kRule);
  }
  if (*rest != 0) refuse(text, kRule);
  const int64_t v = timegm(&t) - offset_s;
  if (t.tm_year < 70 || t.tm_year > 199) refuse(text, "between 1970 and 2099, as the RTC can show");
  return v;
}

void add_engine_option(CLI::App& app, Options& o, const char* text) {
  app.add_option("--engine", o.engine.name, text)->check(CLI::IsMember({"deterministic", "kvm", "kvm-step"}));
  app.add_flag(
      "--step", o.step,
      "--engine kvm-step, the exact mode: KVM executes the guest step by step, and counts, exits and answers are the "
      "deterministic engine's; slow");
  add_sandbox_option(app, o);
  app.add_option_function<std::string>(
         "--translate", [&o](const std::string& v) { o.engine.translation.on = v == "on"; },
         "hot guest code becomes host code: on or off; the guest does the same either way [on]")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--translate-threshold", o.engine.translation.threshold,
                 "executions after which a block of guest code is hot [50]")
      ->check(CLI::Range(1u, 1u << 15));
  app.add_option("--translate-cache", o.engine.translation.cache_bytes, "host code kept at most, 1M to 1G [64M]")
      ->type_name("SIZE")
      ->transform(size_in_bytes())
      ->check([](const std::string& bytes) {
        const uint64_t n = std::stoull(bytes);
        return n >= 1 << 20 && n <= 1 << 30 ? std::string() : "--translate-cache is from 1M to 1G";
      });
}

// "FILE,serial=S,block=4096,ro".
DiskOption parse_disk(const std::string& text) {
  DiskOption disk;
  size_t at = text.find(',');
  disk.path = text.substr(0, at);
  while (at != std::string::npos) {
    const size_t end = text.find(',', at + 1);
    const std::string word = text.substr(at + 1, end - at - 1);
    at = end;
    if (word == "ro") disk.read_only = true;
    else if (word == "if=nvme" || word == "if=virtio")
      disk.controller = word == "if=nvme" ? DiskController::kNvme : DiskController::kVirtio;
    else if (word == "format=raw" || word == "format=auto")
      disk.format = word == "format=raw" ? ImageFormat::kRaw : ImageFormat::kAuto;
    else if (word == "write=overlay" || word == "write=commit") disk.commit = word == "write=commit";
    else if (word == "block=512" || word == "block=4096") disk.block_bytes = word == "block=512" ? 512 : 4096;
    else if (word.starts_with("serial=") && word.size() > 7 && word.size() <= 27) disk.serial = word.substr(7);
    else
      throw CLI::ValidationError("--disk", "'" + word +
                                               "': there are ro, if=nvme, if=virtio, format=raw, format=auto, "
                                               "write=overlay, write=commit, "
                                               "block=512, block=4096 and serial=TEXT, of 1 to 20 characters");
  }
  if (disk.commit && disk.read_only) throw CLI::ValidationError("--disk", "ro and write=commit exclude each other");
  if (disk.path.empty()) throw CLI::ValidationError("--disk", "a file is missing");
  return disk;
}

void add_disk_options(CLI::App& app, Options& o) {
  const auto add = [&o](const std::vector<std::string>& all, bool in_front) {
    std::vector<DiskOption> disks;
    for (const std::string& text : all) disks.push_back(parse_disk(text));
    o.disks.insert(in_front ? o.disks.begin() : o.disks.end(), disks.begin(), disks.end());
    if (o.disks.size() > kMaxDisks) throw CLI::ValidationError("--disk", "a machine has 16 disks at most");
  };
  app.add_option_function<std::vector<std::string>>(
         "IMAGE",
         [&o, add](const std::vector<std::string>& all) {
           add(all, true);
           o.boots_from_disk = true;
         },
         "a disk, as --disk has it, in front of the others; without --kernel the machine boots from the first disk "
         "as a PC does, by SeaBIOS, and --memory is 1G unless given")
      ->type_name("FILE[,...]");
  app.add_option_function<std::vector<std::string>>(
         "--disk", [add](const std::vector<std::string>& all) { add(all, false); },
         "an image as a disk, which is not written: what the guest writes is the machine's own. Raw, or qcow2 and "
         "others by qemu-nbd, or an NBD server's URI. With ,if=nvme or ,if=virtio [nvme] ,ro ,format=raw or "
         ",format=auto [auto] ,block=4096 ,serial=TEXT ,write=overlay or ,write=commit [overlay]: a raw image becomes "
         "at "
         "the end of the run what the guest has made of it. May be given several times")
      ->type_name("FILE[,...]")
      ->allow_extra_args(false)
      ->take_all();
}

void add_hardware_options(CLI::App& app, Options& o) {
  app.add_option(
         "--kernel", o.boot.kernel,
         "Linux bzImage, or ELF kernel with a PVH or Multiboot entry; without it a small guest that is built in")
      ->type_name("FILE");
  app.add_option("--firmware", o.boot.firmware,
                 "a PC firmware image, such as SeaBIOS's bios-256k.bin, from the reset vector on; instead of a kernel")
      ->type_name("FILE")
      ->excludes("--kernel");
  app.add_option("--initrd", o.boot.initrd, "initial RAM disk for the kernel")->type_name("FILE");
  app.add_option("--append", o.boot.append, "the kernel's command line, e.g. console=ttyS0")->type_name("TEXT");
  add_disk_options(app, o);
  app.add_option("--memory", o.config.memory_bytes, "guest RAM, e.g. 512M [256M]")
      ->type_name("SIZE")
      ->transform(size_in_bytes());
  app.parse_complete_callback([&app, &o] {
    if (o.boots_from_disk && app.count("--memory") == 0) o.config.memory_bytes = uint64_t{1} << 30;
    o.has_slice = app.count("--slice") != 0;
    settle_vcpu_options(o);
  });
  add_vcpu_options(app, o);
  app.add_option("--seed", o.config.seed, "what RDRAND and the kernel's random seed are drawn from [0]")
      ->type_name("N");
  app.add_option_function<std::string>(
         "--start-time", [&o](const std::string& v) { o.config.start_time_unix_s = parse_time(v); },
         "what the real-time clock shows at the start [2000-01-01T00:00:00Z]")
      ->type_name("RFC3339");
  app.add_option_function<std::string>(
         "--serial-timing", [&o](const std::string& v) { o.config.serial_baud = v == "baud"; },
         "how long the serial port takes: instant, or baud, as the guest programs it [instant]")
      ->check(CLI::IsMember({"instant", "baud"}));
  app.add_option_function<unsigned>(
         "--pm-timer", [&o](unsigned bits) { o.config.pm_timer_32 = bits == 32; },
         "the bits of the ACPI PM timer: 24 or 32 [24]")
      ->check(CLI::IsMember({24u, 32u}));
  app.add_option("--cpu", o.config.cpu_model,
                 "the CPU model: dejavm-v1, or dejavm-v2, with AVX, AVX2, BMI1, BMI2, LZCNT, ADX, AES, PCLMULQDQ and "
                 "SHA too [dejavm-v1]")
      ->check(CLI::IsMember({"dejavm-v1", "dejavm-v2"}));
  app.add_option_function<std::vector<std::string>>(
         "--cpu-without",
         [&o](const std::vector<std::string>& names) {
           for (const std::string& n : names)
             if (!is_optional_feature(n)) throw CLI::ValidationError("--cpu-without", "no optional feature: " + n);
           o.config.cpu_without = names;
           std::sort(o.config.cpu_without.begin(), o.config.cpu_without.end());
           o.config.cpu_without.erase(std::unique(o.config.cpu_without.begin(), o.config.cpu_without.end()),
                                      o.config.cpu_without.end());
         },
         "features that the guest is not shown, as /proc/cpuinfo names them: smep,pcid. On KVM also what the host "
         "lacks")
      ->delimiter(',')
      ->type_name("NAMES");
  app.add_flag("--firmware-log", o.config.firmware_log,
               "what SeaBIOS says of what it does, at port 0x402, goes to the console too");
  app.add_flag("--rng", o.config.rng, "a virtio entropy device; what it gives comes from --seed");
  app.add_flag("--test-device", o.config.test_device,
               "the ports and the memory window of QEMU's pc-testdev: 0xe0, 0xe4, 0x2000-0x2017, 0xff000000");
  app.add_flag("--debug-exit", o.config.debug_exit, "a write of N to port 0xf4 ends the run with status N*2+1");
  app.add_flag("--strict", o.config.strict,
               "stop, with status 4, at an instruction that the CPU model lacks, instead of raising #UD");
}

void add_machine_options(CLI::App& app, Options& o) {
  add_engine_option(app, o, "what executes the guest: deterministic, or kvm, the processor itself [deterministic]");
  add_hardware_options(app, o);
  add_console_option(app, o, "the serial port: stdio, none or file:PATH [stdio]");
  add_snapshot_options(app, o);
  app.add_flag("--json", o.json, "the result as one JSON object on standard error");
}

void add_trace_options(CLI::App& app, Options& o) {
  app.add_option("-o,--output", o.trace, "the trace to write")->type_name("FILE")->required();
  add_keyframe_option(app, o);
  app.add_option("--keyframe-at", o.keyframes_at, "another keyframe, at this instruction; may be given again")
      ->type_name("INSTRUCTION")
      ->transform(instruction_count())
      ->expected(1)
      ->take_all();
}

void add_record_options(CLI::App& app, Options& o) {
  add_trace_options(app, o);
  add_machine_options(app, o);
}

void add_replay_options(CLI::App& app, Options& o) {
  o.console = "none";
  app.add_option("trace", o.trace, "a trace that record wrote")->type_name("FILE")->required();
  add_console_option(app, o, "where the guest's serial output goes: stdio, none or file:PATH [none]");
  app.add_option("--from", o.from, "start at the last keyframe at or before this instruction; or kN: at keyframe N")
      ->type_name("INSTRUCTION|kN");
  app.add_option("--until", o.until, "stop at this instruction")
      ->type_name("INSTRUCTION")
      ->transform(instruction_count());
  add_engine_option(
      app, o, "what executes the guest: deterministic or kvm-step; each replays the other's traces [deterministic]");
  app.add_option("--jobs", o.jobs,
                 "parts of the run that are replayed at the same time, each from a keyframe of its own with a machine "
                 "of its own; 1 with --console [one for each processor, as memory allows and the run is worth it]")
      ->type_name("N")
      ->check(CLI::Range(1, 256));
  app.add_flag("--force", o.force, "replace the console's file");
  app.add_flag("--devices-only", o.devices_only,
               "run no guest code: feed the logged exits to fresh devices and compare their answers");
  app.add_flag("--json", o.json, "the result as one JSON object on standard output");
}

// restore's --bind: "console=PATH" or "diskN=PATH".
static void bind(Options& o, const std::string& text) {
  const size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const std::string path = equals == std::string::npos ? "" : text.substr(equals + 1);
  const std::string number = name.starts_with("disk") ? name.substr(4) : "";
  const bool is_disk =
      !number.empty() && number.size() <= 2 && number.find_first_not_of("0123456789") == std::string::npos;
  if (path.empty() || (name != "console" && !is_disk))
    refuse(text, "NAME=PATH with a name that the machine has: console, or disk0, disk1 and so on");
  if (is_disk) o.images.push_back({static_cast<unsigned>(std::stoul(number)), path});
  else o.console = "file:" + path;
}

void add_restore_options(CLI::App& app, Options& o) {
  app.add_option("snapshot", o.snapshot, "a snapshot that --snapshot-at or ctl wrote")->type_name("FILE")->required();
  add_engine_option(
      app, o, "what executes the guest: deterministic or kvm; any snapshot goes on on either [the one that saved it]");
  add_schedule_options(app, o);
  app.parse_complete_callback([&app, &o] {
    o.reschedule = app.count("--schedule") + app.count("--slice") != 0;
    o.has_slice = app.count("--slice") != 0;
  });
  add_console_option(app, o, "the serial port: stdio, none or file:PATH [stdio]");
  app.add_option_function<std::vector<std::string>>(
         "--bind",
         [&o](const std::vector<std::string>& all) {
           for (const std::string& text : all) {
             bind(o, text);
           }
         },
         "the host file for one of the machine's resources: console=PATH; disk0=PATH for the image that disk 0 starts "
         "from")
      ->type_name("NAME=PATH")
      ->expected(1)
      ->take_all();
  app.add_flag("--verify", o.verify, "compare all of memory with its hashes first, rather than while the guest runs");
  add_snapshot_options(app, o);
  app.add_flag("--json", o.json, "the result as one JSON object on standard error");
}

std::vector<NamedFile> inputs_of(const Options& o) {
  std::vector<NamedFile> out = {
      {"--kernel", o.boot.kernel},  {"--firmware", o.boot.firmware}, {"--initrd", o.boot.initrd},
      {"the snapshot", o.snapshot}, {"--schedule", o.schedule_file},
  };
  for (const DiskOption& disk : o.disks) out.push_back({"--disk", disk.path});
  for (const BoundImage& image : o.images) out.push_back({"--bind", image.path});
  return out;
}

}  // namespace dejavm::cli
