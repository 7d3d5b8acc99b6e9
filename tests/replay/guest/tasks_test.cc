// The guest's task by its kernel's BTF: a blob made by hand, and hostile ones. A real one: tests/tools/virtio_test.sh.
#include <gtest/gtest.h>

#include <random>

#include "replay/guest/tasks.h"
#include "tests/replay/guest/fake_kernel.h"

namespace dejavm {
namespace {

TEST(GuestTasks, TheTaskIsTheOneThatTheKernelNames) {
  for (const bool bits : {false, true}) {
    Blob blob;
    blob.all_kinds();
    blob.task(bits);
    Guest guest(blob.bytes());
    const auto tasks = GuestTasks::find(*guest.memory, guest.kernel);
    ASSERT_TRUE(tasks.ok()) << tasks.error().message;
    for (const bool in_kernel : {true, false}) {
      if (!in_kernel) guest.vcpu.kernel_gs_base = std::exchange(guest.vcpu.segment[kGs].base, 0x1000);
      const auto task = tasks->current(*guest.memory, guest.vcpu);
      ASSERT_TRUE(task.has_value());
      EXPECT_EQ(task->pid, 42u);
      EXPECT_EQ(task->process, 40u);
      EXPECT_EQ(task->name, "a/b?c");
    }
    guest.put(kOwn + kCurrent, uint64_t{0x1000});
    EXPECT_FALSE(tasks->current(*guest.memory, guest.vcpu)) << "a pointer into a process";
    guest.put(kOwn + kCurrent, kImage + (uint64_t{4} << 20));
    EXPECT_FALSE(tasks->current(*guest.memory, guest.vcpu)) << "a pointer beyond memory";
    guest.vcpu.kernel_gs_base = 0;
    EXPECT_FALSE(tasks->current(*guest.memory, guest.vcpu)) << "no data of the vCPU's own";
  }
}

TEST(GuestTasks, WhatIsMissingIsNamed) {
  const auto why = [](const GuestMemory& memory, const GuestKernel& kernel) {
    const auto found = GuestTasks::find(memory, kernel);
    return found.ok() ? std::string() : found.error().message;
  };
  Blob nameless;
  nameless.task(false, false);
  Guest guest(nameless.bytes());
  EXPECT_NE(why(*guest.memory, guest.kernel).find("no member 'comm'"), std::string::npos);
  guest.kernel.symbols[0].name = "other";
  EXPECT_NE(why(*guest.memory, guest.kernel).find("current_task"), std::string::npos);
  guest.kernel.symbols[2].address = guest.kernel.symbols[1].address - 1;
  EXPECT_NE(why(*guest.memory, guest.kernel).find("no size"), std::string::npos);
  guest.kernel.symbols[2].address = kImage + (uint64_t{8} << 20);
  EXPECT_NE(why(*guest.memory, guest.kernel).find("not in memory"), std::string::npos);
  guest.kernel.symbols.pop_back();
  EXPECT_NE(why(*guest.memory, guest.kernel).find("CONFIG_DEBUG_INFO_BTF"), std::string::npos);
  Guest empty(std::vector<uint8_t>(100));
  EXPECT_NE(why(*empty.memory, empty.kernel).find("no BTF"), std::string::npos);
}

TEST(GuestTasks, HostileTypesEndInAnAnswer) {
  Blob blob;
  blob.all_kinds();
  blob.task(true);
  const std::vector<uint8_t> good = blob.bytes();
  std::mt19937_64 random(1);
  for (unsigned n = 0; n < 3000; ++n) {
    std::vector<uint8_t> bytes = good;
    for (unsigned k = 0; k < 1 + n % 4; ++k) bytes[4 + random() % (bytes.size() - 4)] = static_cast<uint8_t>(random());
    if (n % 5 == 0) bytes.resize(24 + random() % (bytes.size() - 24));
    Guest guest(bytes);
    if (const auto tasks = GuestTasks::find(*guest.memory, guest.kernel))
      (void)tasks->current(*guest.memory, guest.vcpu);
  }
}

}  // namespace
}  // namespace dejavm
