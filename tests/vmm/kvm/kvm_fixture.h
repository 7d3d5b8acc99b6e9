// Tests of the hardware engine: on a machine whose KVM is whole, natural or in tools/kvm-lab. Elsewhere they skip and
// say so.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

#include "replay/snapshot/restore_snapshot.h"
#include "replay/snapshot/saver.h"
#include "vmm/kvm/kvm_probe.h"
#include "vmm/machine/host.h"
#include "vmm/machine/machine.h"

namespace dejavm::kvm {

class Text final : public Console {
 public:
  void serial(std::span<const uint8_t> bytes) override { text.append(bytes.begin(), bytes.end()); }
  void debug(uint8_t) override {}
  std::string text;
};

// Ends a run once this holds, of what the guest has printed, say; time tells little of how far it is.
class Until final : public NoConsoleInputs {
 public:
  explicit Until(std::function<bool()> holds) : holds_(std::move(holds)) {}
  Retired next_poll(Position at) override { return at.retired + 20'000; }
  Input take(Position at, Nanos now) override {
    if (holds_()) return {Input::Kind::kControl, {}};
    return NoConsoleInputs::take(at, now);
  }

 private:
  std::function<bool()> holds_;
};

inline RunEnd run_until(Machine& m, std::function<bool()> holds) {
  Until inputs(std::move(holds));
  return m.run(kForever, inputs, m.board());
}

inline RunEnd run(Machine& m, Retired until = kForever) {
  NoConsoleInputs inputs;
  return m.run(until, inputs, m.board());
}

// As another process would go on with the machine.
inline Result<RestoredFile> saved_and_restored(Machine& m, const std::string& file, Console* console,
                                               std::string_view engine) {
  SnapshotHead about;
  about.writer = "test";
  Saver saver(m, about);
  if (auto started = saver.start(file, {.force = true}); !started) return started.error();
  if (auto saved = saver.wait(); !*saved) return saved->error();
  return restore_file(file, console, {.engine = std::string(engine), .verify = true});
}

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
