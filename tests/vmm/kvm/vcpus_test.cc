// Several vCPUs from one engine to another, in the middle of what they do to each other: tests/guests/smp_guest.S
// prints a letter for each thing that it finds as it should be.
#include "tests/replay/folder.h"
#include "tests/vmm/kvm/kvm_fixture.h"

namespace dejavm::kvm {
namespace {

constexpr const char* kAllRight = "AXFHNBGSLKPQCVI\n";

class SeveralVcpus : public WithKvm {
 protected:
  std::unique_ptr<Machine> booted(std::string_view engine) {
    MachineConfig config;
    config.memory_bytes = 4 << 20;
    config.vcpus = 4;
    auto machine = Machine::create(config, engine, &console_);
    EXPECT_TRUE(machine.ok()) << machine.error().message;
    BootSource source;
    source.kernel = DEJAVM_SMP_GUEST;
    const auto loaded = (*machine)->boot(source);
    EXPECT_TRUE(loaded.ok()) << loaded.error().message;
    return machine.take();
  }
  RunEnd run_until_letters(Machine& m, size_t count) {
    return run_until(m, [this, count] { return console_.text.size() >= count; });
  }
  void ends_right(Machine& m) {
    EXPECT_EQ(run(m), RunEnd::kPowerOff) << m.detail();
    EXPECT_EQ(console_.text, kAllRight);
  }

  Text console_;
};

TEST_F(SeveralVcpus, GoOnFromASnapshotOnEitherEngine) {
  const Folder folder;
  constexpr std::pair<const char*, const char*> kWays[] = {
      {"kvm", "kvm"}, {"kvm", "deterministic"}, {"deterministic", "kvm"}};
  for (const auto& [first, second] : kWays) {
    for (size_t letters : {1, 6, 11}) {
      SCOPED_TRACE(std::string(first) + " to " + second + " at letter " + std::to_string(letters));
      console_.text.clear();
      auto begun = booted(first);
      ASSERT_EQ(run_until_letters(*begun, letters), RunEnd::kUntil) << begun->detail();
      auto restored = saved_and_restored(*begun, folder / "s.dvs", &console_, second);
      ASSERT_TRUE(restored.ok()) << restored.error().message;
      EXPECT_EQ(restored->machine->engine().name(), second);
      ends_right(*restored->machine);
    }
  }
}

TEST_F(SeveralVcpus, ChangeTheirEngineAtWork) {
  auto m = booted("deterministic");
  size_t letters = 2;
  for (const char* engine : {"kvm", "deterministic", "kvm", "kvm-step", "kvm"}) {
    if (m->engine().name() == "kvm-step") {  // too slow for a letter
      ASSERT_EQ(run(*m, m->position().retired + 2'000), RunEnd::kUntil) << m->detail();
    } else {
      ASSERT_EQ(run_until_letters(*m, letters), RunEnd::kUntil) << m->detail();
      letters += 2;
    }
    const auto switched = m->switch_engine(engine);
    ASSERT_TRUE(switched.ok()) << switched.error().message;
  }
  ends_right(*m);
}

}  // namespace
}  // namespace dejavm::kvm
