// Guests that stop abnormally: each ends the run, in one way and with a reason.
#include <gtest/gtest.h>

#include "replay/record/recorder.h"
#include "vmm/machine/host.h"

namespace dejavm {
namespace {

// The built-in guest, its timer running, goes on with `code`.
RunSummary run(const std::vector<uint8_t>& code, bool strict = false) {
  MachineConfig config;
  config.memory_bytes = 4 << 20;
  config.strict = strict;
  auto machine = Machine::create(config, "deterministic", nullptr).take();
  CHECK(machine->boot({}).ok());
  NoConsoleInputs none;
  CHECK(machine->run({1'000'000}, none, machine->board()) == RunEnd::kUntil);
  VcpuState s;
  machine->engine().get_state(0, s);
  machine->write_memory(Gpa{s.rip}, code);  // mapped onto itself
  return run_plain(*machine, none, {100'000'000}, false);
}

TEST(MachineEnds, AHaltWithInterruptsOffIsForEver) {
  const RunSummary s = run({0xfa, 0xf4});  // cli; hlt
  EXPECT_EQ(s.end, RunEnd::kHaltedForever);
  EXPECT_NE(s.detail.find("interrupts disabled"), std::string::npos) << s.detail;
}

TEST(MachineEnds, SoItIsWithAnInterruptPending) {
  // cli; mov ecx, 20'000'000; loop .; hlt: the timer's interrupt comes while nobody takes it
  EXPECT_EQ(run({0xfa, 0xb9, 0x00, 0x2d, 0x31, 0x01, 0xe2, 0xfe, 0xf4}).end, RunEnd::kHaltedForever);
}

TEST(MachineEnds, AHaltThatNothingInterruptsIsForEver) {
  // mov al, 0xff; out 0x21, al; sti; hlt; jmp .-1: the timer ticks, masked
  EXPECT_EQ(run({0xb0, 0xff, 0xe6, 0x21, 0xfb, 0xf4, 0xeb, 0xfd}).end, RunEnd::kHaltedForever);
}

TEST(MachineEnds, AnInstructionOutsideTheModelIsNamedWhenStrict) {
  const RunSummary s = run({0xc5, 0xf8, 0x77}, true);
  EXPECT_EQ(s.end, RunEnd::kUnimplemented);
  EXPECT_NE(s.detail.find("c5 f8 77"), std::string::npos) << s.detail;
  EXPECT_NE(s.detail.find("vzeroupper"), std::string::npos) << s.detail;
}

TEST(MachineEnds, AndIsAnUndefinedOpcodeElse) {
  const RunSummary s = run({0xc5, 0xf8, 0x77});  // the guest has no handler for #UD, #GP or #DF
  EXPECT_EQ(s.end, RunEnd::kTripleFault);
  EXPECT_NE(s.detail.find("rip 0x"), std::string::npos) << s.detail;
}

TEST(MachineEnds, AResetEndsAMachineWithoutFirmware) {
  EXPECT_EQ(run({0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe}).end, RunEnd::kReset);  // the keyboard controller's pulse
  EXPECT_EQ(run({0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xeb, 0xfe}).end, RunEnd::kReset);  // port 0xcf9
}

TEST(MachineEnds, ALoopForEverEndsAtTheLimit) { EXPECT_EQ(run({0xeb, 0xfe}).end, RunEnd::kUntil); }

}  // namespace
}  // namespace dejavm
