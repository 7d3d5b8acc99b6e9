// The machine on the hardware engine: the built-in guest from its start to its end, and across engines through
// snapshots.
#include <algorithm>
#include <string>

#include "replay/record/recorder.h"
#include "replay/replay/replayer.h"
#include "replay/snapshot/restore_snapshot.h"
#include "replay/snapshot/saver.h"
#include "tests/replay/folder.h"
#include "tests/vmm/kvm/kvm_fixture.h"
#include "vmm/machine/host.h"
#include "vmm/machine/machine.h"

namespace dejavm::kvm {
namespace {

MachineConfig small() {
  MachineConfig c;
  c.memory_bytes = 32 << 20;
  c.seed = 7;
  return c;
}

std::unique_ptr<Machine> booted(std::string_view engine, Console* console) {
  auto machine = Machine::create(small(), engine, console);
  EXPECT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_TRUE((*machine)->boot({}).ok());
  return machine.take();
}

// The checksums that the guest prints between its ticks: a computation, the same whenever the ticks come.
std::string sums(const std::string& text) {
  std::string out;
  for (size_t at = 0; (at = text.find(" sum ", at)) != std::string::npos; at += 5) out += text.substr(at + 5, 10) + " ";
  return out;
}

RunEnd run_until_sums(Machine& m, const Text& console, size_t count) {
  return run_until(m, [&] { return sums(console.text).size() / 11 >= count; });
}

const std::string& right_sums() {
  static const std::string right = [] {
    Text console;
    EXPECT_EQ(run(*booted("deterministic", &console)), RunEnd::kPowerOff);
    return sums(console.text);
  }();
  return right;
}

void is_right(const Text& console) {
  const std::string got = sums(console.text);
  EXPECT_GT(got.size(), 10u) << console.text;
  // It ends at a number of ticks, of which a slow machine misses some.
  EXPECT_EQ(got, right_sums().substr(0, got.size())) << console.text;
  EXPECT_NE(console.text.find("powering off"), std::string::npos) << console.text;
}

using KvmMachine = WithKvm;

TEST_F(KvmMachine, RunsTheBuiltInGuestToItsEnd) {
  Text console;
  auto m = booted("kvm", &console);
  EXPECT_EQ(run(*m), RunEnd::kPowerOff) << m->detail();
  EXPECT_EQ(m->engine().name(), "kvm");
  is_right(console);
}

// Saved on one engine, restored on the other and on the same, at moments spread over the run; and back again.
TEST_F(KvmMachine, ASnapshotGoesOnOnEitherEngine) {
  const Folder folder;
  for (const char* first : {"kvm", "deterministic"}) {
    for (const char* second : {"kvm", "deterministic"}) {
      for (size_t moment : {2, 5}) {
        SCOPED_TRACE(std::string(first) + " to " + second + " at checksum " + std::to_string(moment));
        Text before, after, back;
        const std::string file = folder / "a.dvs", again = folder / "b.dvs";
        auto begun = booted(first, &before);
        ASSERT_EQ(run_until_sums(*begun, before, moment), RunEnd::kUntil) << begun->detail();
        auto restored = saved_and_restored(*begun, file, &after, second);
        ASSERT_TRUE(restored.ok()) << restored.error().message;
        Machine& m = *restored->machine;
        EXPECT_EQ(m.engine().name(), second);
        ASSERT_EQ(run_until_sums(m, after, 2), RunEnd::kUntil) << m.detail();
        auto once_more = saved_and_restored(m, again, &back, first);
        ASSERT_TRUE(once_more.ok()) << once_more.error().message;
        EXPECT_EQ(run(*once_more->machine), RunEnd::kPowerOff) << once_more->machine->detail();
        Text all;
        all.text = before.text + after.text + back.text;
        is_right(all);
      }
    }
  }
}

// Fast until the interesting moment, then recorded: the recording replays.
TEST_F(KvmMachine, SwitchedInTheMiddleAndRecordedFromThere) {
  const Folder folder;
  Text console, again;
  auto m = booted("kvm", &console);
  ASSERT_EQ(run_until_sums(*m, console, 2), RunEnd::kUntil) << m->detail();
  const std::string file = folder / "t.dvt";
  {
    ASSERT_TRUE(m->switch_engine("deterministic").ok());
    EXPECT_EQ(m->engine().name(), "deterministic");
    auto writer = TraceWriter::create(file, false);
    ASSERT_TRUE(writer.ok());
    NoConsoleInputs inputs;
    auto recorded = record(*m, inputs, **writer, {.keyframe_interval = 2'000'000});
    ASSERT_TRUE(recorded.ok()) << recorded.error().message;
    EXPECT_EQ(recorded->end, RunEnd::kPowerOff);
  }
  is_right(console);
  auto trace = TraceReader::open(file, TraceReader::Check::kAll);
  ASSERT_TRUE(trace.ok());
  auto replayed = replay(**trace, &again, {});
  ASSERT_TRUE(replayed.ok()) << replayed.error().message;
  EXPECT_TRUE(console.text.ends_with(again.text));
}

TEST_F(KvmMachine, SwitchesBackAndForth) {
  Text console;
  auto m = booted("deterministic", &console);
  size_t count = 1;
  for (const char* engine : {"kvm", "kvm-step", "deterministic", "kvm", "deterministic"}) {
    ASSERT_EQ(run_until_sums(*m, console, std::string_view(m->engine().name()) == "kvm-step" ? 0 : count++),
              RunEnd::kUntil)
        << m->detail();
    const auto switched = m->switch_engine(engine);
    ASSERT_TRUE(switched.ok()) << switched.error().message;
    if (m->engine().name() == "kvm-step") {  // too slow for a whole checksum
      ASSERT_EQ(run(*m, m->position().retired + 2'000), RunEnd::kUntil) << m->detail();
    }
  }
  EXPECT_FALSE(m->switch_engine("none").ok());
  EXPECT_EQ(m->engine().name(), "deterministic");
  EXPECT_EQ(run(*m), RunEnd::kPowerOff) << m->detail();
  is_right(console);
}

// A guest that uses what this KVM lacks is refused by the feature's name.
TEST_F(KvmMachine, AMissingFeatureIsNamed) {
  const KvmProbe probe = *probe_kvm();
  if (std::find(probe.missing.begin(), probe.missing.end(), "pcid") == probe.missing.end())
    GTEST_SKIP() << "this KVM has PCIDs";
  auto m = booted("kvm", nullptr);
  VcpuState s;
  m->engine().get_state(0, s);
  s.cr4 |= 1 << 17;
  m->engine().set_state(0, s);
  EXPECT_EQ(run(*m), RunEnd::kEngineError);
  EXPECT_NE(m->detail().find("pcid"), std::string::npos) << m->detail();
  EXPECT_NE(m->detail().find("rip 0x"), std::string::npos) << m->detail();
}

}  // namespace
}  // namespace dejavm::kvm
