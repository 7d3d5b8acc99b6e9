// MSRs that the vCPU holds itself.
#include "tests/vmm/soft/system/machine.h"

namespace dejavm::soft {
namespace {

// Systems for AMD's processors look at these without asking CPUID: there is no bit for them.
TEST(Msr, PerformanceCountersReadZeroAndForgetWhatIsWritten) {
  Machine t(Mode::kLong);
  for (uint32_t index = 0xc0010000; index < 0xc0010008; ++index) {
    t.c.r[kRcx] = index;
    t.c.r[kRax] = t.c.r[kRdx] = 0xffffffff;
    EXPECT_EQ(t.outcome("\x0f\x30"sv), "ok") << index;  // wrmsr
    EXPECT_EQ(t.outcome("\x0f\x32"sv), "ok") << index;  // rdmsr
    EXPECT_EQ(t.c.r[kRax] | t.c.r[kRdx], 0u) << index;
  }
  EXPECT_TRUE(t.exits.log.empty());
}

// What earlier builds recorded goes on as it was.
TEST(Msr, InMachinesOfRevision1TheCountersAreTheBoardsToRefuse) {
  Machine t(Mode::kLong);
  t.c.revision = 1;
  t.c.r[kRcx] = 0xc0010004;
  EXPECT_EQ(t.outcome("\x0f\x32"sv), "ok");  // the board of this test has every MSR
  ASSERT_EQ(t.exits.log.size(), 1u);
  EXPECT_EQ(t.exits.log[0].address, 0xc0010004u);
}

}  // namespace
}  // namespace dejavm::soft
