// Several vCPUs in one engine and devices beside them: nobody executes what another has overwritten. Each vCPU's fast
// caches promise something about memory that all of them, and devices, write to.
#include "tests/vmm/soft/engine/guest.h"

namespace dejavm::soft {
namespace {

constexpr uint64_t kFunction = 0x120000, kPatcher = 0x110000;
// A loop of calls of the function, which returns a number in EAX; EBX counts those that are not what ECX says.
constexpr std::string_view kCaller{"\xe8\xfb\xff\x01\x00\x39\xc8\x74\x02\xff\xc3\xeb\xf3", 13};
constexpr std::string_view kReturns1{"\xb8\x01\x00\x00\x00\xc3", 6};
// mov dword [rdi], esi; mov eax, [rdi]; jmp to itself
constexpr std::string_view kStore{"\x89\x37\x8b\x07\xeb\xfa", 6};

class Two : public testing::TestWithParam<bool> {
 protected:
  Two() : guest(true, {.on = GetParam(), .threshold = 2}, "dejavm-v1", 2) {
    guest.code(kCaller);
    guest.code(kReturns1, kFunction);
    guest.code(kStore, kPatcher);
    VcpuState s = guest.state();
    s.gpr[kRcx] = 1;
    guest.engine->set_state(0, s);
    s.rip = kPatcher;
    s.gpr[kRdi] = kFunction + 0x800;  // in the function's page, and in no instruction
    s.gpr[kRsp] = Guest::kStack + 0x1000;
    guest.engine->set_state(1, s);
  }
  // So many instructions by one of them, from where the machine is.
  void run(uint32_t vcpu, uint64_t count) {
    guest.control.from = {at};
    guest.control.until = {at + count};
    ASSERT_EQ(guest.engine->run(vcpu, guest.control, guest.exits), StopReason::kLimit);
    at += count;
    ASSERT_EQ(guest.engine->registers(vcpu).retired, at);
  }
  VcpuState state(uint32_t vcpu) {
    VcpuState s;
    guest.engine->get_state(vcpu, s);
    return s;
  }
  void caller_wants(uint32_t number) {
    VcpuState s = state(0);
    s.gpr[kRcx] = number;
    s.gpr[kRbx] = 0;
    s.rip = Guest::kCode;
    guest.engine->set_state(0, s);
  }
  Guest guest;
  uint64_t at = 0;
};

TEST_P(Two, APatchByAnotherVcpuIsExecutedAtOnce) {
  run(1, 30);  // its fast entry for the page is made while there is no code in it
  run(0, 500);
  EXPECT_EQ(state(0).gpr[kRbx], 0u);
  for (uint32_t number = 2; number < 40; ++number) {
    VcpuState patcher = state(1);
    patcher.gpr[kRdi] = kFunction + 1;
    patcher.gpr[kRsi] = number;
    patcher.rip = kPatcher;
    guest.engine->set_state(1, patcher);
    run(1, 6);
    caller_wants(number);
    run(0, 300);
    ASSERT_EQ(state(0).gpr[kRbx], 0u) << "old code ran after patch " << number;
  }
}

// The patcher's fast entry for the page is alive when the caller makes code of it: without help from set_state.
TEST_P(Two, AFastEntryFromBeforeThereWasCodeIsDropped) {
  VcpuState s = state(1);
  s.gpr[kRdi] = kFunction + 1;
  s.gpr[kRsi] = 1;
  guest.engine->set_state(1, s);
  run(1, 30);
  run(0, 500);  // the function is decoded, and hot
  // add esi, 1 before each store: the patcher goes on alone, and so must the caller's expectation.
  guest.code({"\xff\xc6\x89\x37\x90\xeb\xf9", 7}, kPatcher);
  for (int round = 0; round < 20; ++round) {
    run(1, 40);
    run(0, 30);
    EXPECT_EQ(guest.read<uint32_t>(kFunction + 1), state(1).gpr[kRsi]);
    run(0, 40);
    EXPECT_EQ(state(0).gpr[kRax], state(1).gpr[kRsi]) << "round " << round;
  }
}

TEST_P(Two, APatchByADeviceIsExecutedAtOnce) {
  run(0, 500);
  for (uint32_t number = 2; number < 40; ++number) {
    CHECK(guest.memory->write(Gpa{kFunction + 1}, &number, sizeof number));
    guest.engine->dma_written(Gpa{kFunction + 1}, sizeof number);
    run(0, 40);
    ASSERT_EQ(state(0).gpr[kRax], number);
  }
}

TEST_P(Two, ADevicesStoreIsAHitOfADebugPoint) {
  DebugPoints points;
  points.data.push_back({.start = kFunction + 2, .len_bytes = 4, .write = true});
  ASSERT_TRUE(guest.engine->set_debug_points(0, &points));
  run(0, 50);
  guest.engine->dma_written(Gpa{kFunction + 6}, 100);
  guest.engine->dma_written(Gpa{kFunction - 6}, 8);
  EXPECT_FALSE(points.hit);
  guest.engine->dma_written(Gpa{kFunction + 4}, 8);
  ASSERT_TRUE(points.hit);
  EXPECT_EQ(points.hit->address, kFunction + 4);
  EXPECT_EQ(points.hit->at, Retired{at});
  guest.control.from = {at};
  guest.control.until = {at + 10};
  EXPECT_EQ(guest.engine->run(0, guest.control, guest.exits), StopReason::kBreak);
  EXPECT_EQ(guest.engine->registers(0).retired, at);
}

INSTANTIATE_TEST_SUITE_P(Engines, Two, testing::Values(false, true),
                         [](const auto& p) { return p.param ? "Translated" : "Blocks"; });

}  // namespace
}  // namespace dejavm::soft
