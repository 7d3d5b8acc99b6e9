#include "tools/dejavm/assemble.h"

#include <unistd.h>

#include <fmt/format.h>

#include "replay/record/recorder.h"
#include "tools/dejavm/disks.h"
#include "vmm/boot/boot.h"
#include "vmm/boot/firmware.h"

namespace dejavm::cli {

EngineChoice engine_of(const Options& o, const char* otherwise) {
  return o.step ? EngineChoice("kvm-step", o.engine.translation) : o.engine.or_else(otherwise);
}

Result<BootSource> boot_source_of(const Options& o) {
  BootSource source = o.boot;
  if (!o.boots_from_disk || !source.kernel.empty() || !source.firmware.empty()) return source;
  constexpr const char* kPlaces[] = {"/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"};
  for (const char* place : kPlaces) {
    if (access(place, R_OK) != 0) continue;
    source.firmware = place;
    return source;
  }
  return Error{
      ErrorKind::kHost,
      fmt::format("to boot from {} there is no SeaBIOS on this host (Debian: package seabios); give --firmware, "
                  "or a --kernel",
                  o.disks[0].path)};
}

void describe_program(SnapshotHead& about) {
  about.writer = "dejavm " DEJAVM_VERSION;
  about.bindings = {"console"};
}

Result<std::unique_ptr<Machine>> assemble(const Options& o, Console* console, SnapshotHead& about) {
  MachineConfig config = o.config;
  if (!o.boot.firmware.empty()) {
    auto rom = boot::firmware_rom_bytes(o.boot.firmware);
    if (!rom) return rom.error();
    config.rom_bytes = *rom;
  }
  const bool is_kept = !o.trace.empty() || !o.snapshots.empty() || !o.control.empty();
  auto images = open_disks(o, config, is_kept ? &about.disks : nullptr);
  if (!images) return images.error();
  auto machine = Machine::create(config, engine_of(o, "deterministic"), console, images.take());
  if (!machine) return machine.error();
  if (auto done = (*machine)->boot(o.boot); !done) return done.error();
  auto described = describe_boot(o.boot);
  if (!described) return described.error();
  about.boot = described.take();
  about.append = o.boot.append;
  return machine.take();
}

}  // namespace dejavm::cli
