// Where a run is stopped, and what decoded code is forgotten there, cannot be seen in how it ends.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "replay/record/recorder.h"
#include "vmm/machine/host.h"

namespace dejavm {
namespace {

std::unique_ptr<Machine> boot(const BootSource& source, uint64_t memory_bytes) {
  MachineConfig config;
  config.memory_bytes = memory_bytes;
  auto machine = Machine::create(config, "deterministic", nullptr);
  CHECK(machine.ok() && (*machine)->boot(source).ok());
  return machine.take();
}

void forget_decoded_code(Machine& m) {
  for (const MemoryRegion& r : m.memory().regions()) m.engine().memory_written(r.start, r.len_bytes);
}

struct End {
  RunEnd how;
  uint64_t instructions;
  std::string digest;
  bool operator==(const End&) const = default;
};

// Runs to the end by way of `stops`, forgetting all decoded code at each.
End run(const BootSource& source, uint64_t memory_bytes, std::vector<uint64_t> stops) {
  auto machine = boot(source, memory_bytes);
  NoConsoleInputs none;
  std::sort(stops.begin(), stops.end());
  for (uint64_t at : stops) {
    machine->run({at}, none, machine->board());
    forget_decoded_code(*machine);
  }
  const RunSummary s = run_plain(*machine, none, kForever, true);
  return {s.end, s.instructions, to_hex(s.digest)};
}

TEST(MachineStops, TheBuiltInGuestEndsAlikeFrom200RandomStops) {
  const End end = run({}, 4 << 20, {});
  ASSERT_EQ(end.how, RunEnd::kPowerOff);
  std::mt19937_64 random(1);
  for (unsigned n = 0; n < 200; ++n) {
    const uint64_t at = random() % end.instructions;
    ASSERT_TRUE(run({}, 4 << 20, {at}) == end) << "stopped at " << at;
  }
}

TEST(MachineStops, DebiansKernelEndsAlikeByWayOf200RandomStops) {
  const std::string dir = DEJAVM_GUEST_DIR;
  if (!std::filesystem::exists(dir + "/vmlinuz")) GTEST_SKIP() << "no kernel in " << dir << " (tools/get-guest)";
  const BootSource source{dir + "/vmlinuz", dir + "/initrd", "console=ttyS0 cryptomgr.notests", ""};
  const End end = run(source, 256 << 20, {});
  ASSERT_EQ(end.how, RunEnd::kPowerOff);
  std::mt19937_64 random(2);
  std::vector<uint64_t> stops(200);
  for (uint64_t& at : stops) at = random() % end.instructions;
  EXPECT_TRUE(run(source, 256 << 20, stops) == end);
}

}  // namespace
}  // namespace dejavm
