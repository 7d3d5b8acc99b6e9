// Tests of the hardware engine: on a machine whose KVM is whole, natural or in tools/kvm-lab. Elsewhere they skip and
// say so.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

#include "vmm/kvm/kvm_probe.h"

namespace dejavm::kvm {

class WithKvm : public ::testing::Test {
 protected:
  void SetUp() override {
    static const Result<KvmProbe> probe = probe_kvm();
    if (!probe) GTEST_SKIP() << probe.error().message;
    const bool in_lab = std::getenv("DEJAVM_KVM_LAB") != nullptr;  // emulated, and slow while the host is busy
    if (in_lab ? !probe->right() : !probe->whole())
      GTEST_SKIP() << "this machine's KVM is not whole ('dejavm host' tells): tools/kvm-lab runs this test";
  }
};

}  // namespace dejavm::kvm
