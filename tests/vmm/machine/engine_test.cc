// Changing the engine of a machine, on every host: the deterministic one for another of its kind.
#include <gtest/gtest.h>

#include "vmm/machine/host.h"
#include "vmm/machine/machine.h"

namespace dejavm {
namespace {

TEST(SwitchEngine, TheMachineGoesOnUnderAnotherAsItWouldHave) {
  MachineConfig config;
  config.memory_bytes = 32 << 20;
  auto plain = Machine::create(config, "deterministic", nullptr).take();
  auto switched = Machine::create(config, "deterministic", nullptr).take();
  NoConsoleInputs inputs;
  for (Machine* machine : {plain.get(), switched.get()}) {
    ASSERT_TRUE(machine->boot({}).ok());
    ASSERT_EQ(machine->run({1'000'000}, inputs, machine->board()), RunEnd::kUntil);
  }
  const Engine* const before = &switched->engine();
  ASSERT_TRUE(switched->switch_engine("deterministic").ok());
  EXPECT_NE(&switched->engine(), before);
  EXPECT_EQ(switched->position().retired.value, 1'000'000u);

  const auto refused = switched->switch_engine("none");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("none"), std::string::npos) << refused.error().message;
  for (Machine* machine : {plain.get(), switched.get()})
    EXPECT_EQ(machine->run(kForever, inputs, machine->board()), RunEnd::kPowerOff);
  EXPECT_EQ(switched->position().retired.value, plain->position().retired.value);
  EXPECT_EQ(switched->now().value, plain->now().value);
}

}  // namespace
}  // namespace dejavm
