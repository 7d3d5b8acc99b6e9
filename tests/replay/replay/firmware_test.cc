// Firmware that is not ours, and a key that somebody presses: SeaBIOS shows its boot menu.
#include <filesystem>

#include <gtest/gtest.h>

#include "devices/i8042.h"
#include "replay/record/recorder.h"
#include "vmm/boot/boot.h"
#include "vmm/boot/firmware.h"
#include "vmm/machine/host.h"

namespace dejavm {
namespace {

struct Collect final : Console {
  std::string text;
  void serial(std::span<const uint8_t> bytes) override { text.append(bytes.begin(), bytes.end()); }
  void debug(uint8_t byte) override { text += static_cast<char>(byte); }
};

// A byte in the keyboard controller's output buffer, as its command D2 puts it there: what a key would have sent.
void press(Machine& machine, uint8_t scan_code) {
  machine.sync_out();
  for (const ChunkRef& c : machine.chunks()) {
    if (c.schema->name != I8042::kName) continue;
    auto& s = *static_cast<I8042::State*>(c.data);
    CHECK(!s.full && !s.reply_waiting);
    s.reply_waiting = true;
    s.reply = scan_code;
    s.ready_ns = s.now_ns;
  }
  machine.sync_in();
}

TEST(MachineFirmware, SeaBiosShowsItsBootMenuWhenAskedTo) {
  const std::string path = "/usr/share/seabios/bios-256k.bin";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "package seabios is not installed";
  MachineConfig config;
  config.memory_bytes = 64 << 20;
  config.rom_bytes = *boot::firmware_rom_bytes(path);
  config.revision = 4;  // without fw_cfg, by which later machines ask for no menu
  Collect console;
  auto machine = Machine::create(config, "deterministic", &console).take();
  BootSource source;
  source.firmware = path;
  ASSERT_TRUE(machine->boot(source).ok());
  NoConsoleInputs none;
  uint64_t at = 0;
  const auto run_until = [&](std::string_view said, uint64_t step) {
    const size_t from = console.text.size();
    while (console.text.find(said, from) == std::string::npos && at < 80'000'000)
      if (machine->run({at += step}, none, machine->board()) != RunEnd::kUntil) return false;
    return console.text.find(said, from) != std::string::npos;
  };
  ASSERT_TRUE(run_until("Scan for option roms", 100'000)) << console.text;
  ASSERT_TRUE(run_until("Press ESC for boot menu.", 1000)) << console.text;
  press(*machine, 0x01);  // ESC, of the scan code set 1
  ASSERT_TRUE(run_until("Select boot device:", 1000)) << console.text;
  // There is none, and so none to choose: it waits.
  const size_t shown = console.text.size();
  ASSERT_FALSE(run_until("Booting from", 1'000'000)) << console.text;
  EXPECT_LE(console.text.size(), shown + 2) << console.text;
}

}  // namespace
}  // namespace dejavm
