// Who called whom: stacks made by hand. Real ones: tests/tools/minimise_test.py, debian_races_test.py.
#include "replay/guest/backtrace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/replay/guest/fake_kernel.h"

namespace dejavm {
namespace {

using testing::ElementsAre;
constexpr unsigned kRsp = 4, kRbp = 5;
constexpr uint64_t kStack = 0x210000, kCode = 0x220000;

struct Stack : Guest {
  Stack() : Guest(Blob().bytes()) {
    vcpu.segment[kCs].attributes = 0xa9b;
    vcpu.segment[kCs].base = 0;
    vcpu.rip = kImage + kCode;
    vcpu.gpr[kRsp] = kImage + kStack;
    put(kCode + 0x10, uint8_t{0xe8});     // call, of 5 bytes
    put(kCode + 0x30, uint16_t{0xd0ff});  // call rax
    put(kCode + 0x50, uint16_t{0xe0ff});  // jmp rax
  }
  static constexpr uint64_t kAfterCall = kImage + kCode + 0x15, kAfterCallRax = kImage + kCode + 0x32,
                            kAfterJump = kImage + kCode + 0x52;
  void word(uint64_t at, uint64_t value) { put(kStack + at, value); }
  Backtrace trace(size_t at_most = 10) const { return backtrace(*memory, vcpu, at_most); }
};

TEST(Backtrace, GoesByFramePointers) {
  Stack stack;
  stack.vcpu.gpr[kRbp] = kImage + kStack + 0x20;
  stack.word(0x20, kImage + kStack + 0x40);
  stack.word(0x28, Stack::kAfterCall);
  stack.word(0x40, 0);
  stack.word(0x48, Stack::kAfterCallRax);
  EXPECT_THAT(stack.trace().addresses, ElementsAre(kImage + kCode, Stack::kAfterCall, Stack::kAfterCallRax));
  EXPECT_FALSE(stack.trace().guessed);
  EXPECT_EQ(stack.trace(1).addresses.size(), 2u);
  stack.word(0x40, kImage + kStack + 0x20);
  EXPECT_EQ(stack.trace().addresses.size(), 3u) << "a frame below the last is none";
  stack.word(0x48, Stack::kAfterJump);
  EXPECT_EQ(stack.trace().addresses.size(), 2u) << "what follows no call was not called from there";
}

TEST(Backtrace, WithoutFramePointersLooksForWhatFollowsCalls) {
  Stack stack;
  stack.vcpu.gpr[kRbp] = 7;
  stack.word(0x00, 0x1234);
  stack.word(0x08, Stack::kAfterCall);
  stack.word(0x10, Stack::kAfterJump);
  stack.word(0x18, Stack::kAfterCallRax);
  stack.word(0x2000, Stack::kAfterCall);
  EXPECT_THAT(stack.trace().addresses, ElementsAre(kImage + kCode, Stack::kAfterCall, Stack::kAfterCallRax));
  EXPECT_TRUE(stack.trace().guessed);
  stack.vcpu.gpr[kRsp] = 0x10;
  EXPECT_THAT(stack.trace().addresses, ElementsAre(kImage + kCode));
  EXPECT_FALSE(stack.trace().guessed) << "there is no stack";
}

TEST(Backtrace, TakesWordsOf32Bits) {
  Stack stack;
  stack.vcpu = reset_vcpu_state();
  stack.vcpu.cr0 = 0x11;
  stack.vcpu.segment[kCs].base = 0;
  stack.vcpu.segment[kCs].attributes = 0xc9b;
  stack.vcpu.segment[kSs].base = 0x1000;
  stack.vcpu.rip = kCode;
  stack.vcpu.gpr[kRsp] = kStack - 0x1000;
  stack.vcpu.gpr[kRbp] = kStack - 0x1000 + 0x10;
  stack.put(kStack + 0x10, static_cast<uint32_t>(0));
  stack.put(kStack + 0x14, static_cast<uint32_t>(kCode + 0x15));
  EXPECT_THAT(stack.trace().addresses, ElementsAre(kCode, kCode + 0x15));
}

}  // namespace
}  // namespace dejavm
