// A target without a machine, and a wire that is a string: for tests and fuzzing of gdb sessions.
#pragma once

#include <algorithm>
#include <string>

#include "replay/gdb/session.h"

namespace dejavm::gdb {

// 256 bytes of memory at 0x1000. Each step adds one to RIP; the one at 0x1018 writes to 0x1080.
struct FakeTarget final : Target {
  VcpuState vcpu = reset_vcpu_state();
  std::vector<uint8_t> memory = std::vector<uint8_t>(256);
  uint64_t position = 0;
  bool endless = false;
  uint32_t count = 1, acting = 0;
  Who asked{};

  FakeTarget() {
    for (size_t n = 0; n < memory.size(); ++n) memory[n] = static_cast<uint8_t>(n);
  }
  uint32_t vcpus() const override { return count; }
  uint32_t current() const override { return acting; }
  VcpuState state(uint32_t n) override {
    VcpuState s = vcpu;
    s.gpr[0] = n;
    return s;
  }
  Result<void> set_state(uint32_t, const VcpuState& s) override {
    vcpu = s;
    return {};
  }
  size_t read(uint32_t, uint64_t address, std::span<uint8_t> to) override {
    if (address - 0x1000 >= memory.size()) return 0;
    const size_t from = address - 0x1000, n = std::min(to.size(), memory.size() - from);
    std::copy_n(memory.begin() + static_cast<std::ptrdiff_t>(from), n, to.begin());
    return n;
  }
  Result<void> write(uint32_t, uint64_t address, std::span<const uint8_t> from) override {
    if (address - 0x1000 > memory.size() || from.size() > memory.size() - (address - 0x1000))
      return Error{ErrorKind::kHost, "no memory there"};
    std::copy(from.begin(), from.end(), memory.begin() + static_cast<std::ptrdiff_t>(address - 0x1000));
    return {};
  }
  bool reversible() const override { return true; }
  Result<Stop> resume(How how, Who who, const DebugPoints& points, const std::function<bool()>& wanted) override {
    acting = who.vcpu;
    asked = who;
    if (endless) {
      for (int n = 0; n < 1000; ++n)
        if (wanted()) return Stop{Why::kInterrupted, {}};
      return Stop{Why::kEnd, {}};
    }
    const bool back = how == How::kStepBack || how == How::kContinueBack,
               step = how == How::kStep || how == How::kStepBack;
    for (int n = 0; n < 256; ++n) {
      if (back && position == 0) return Stop{Why::kBegin, {}};
      position = back ? position - 1 : position + 1;
      vcpu.rip = 0x1000 + position;
      if (step) return Stop{Why::kStepped, {}};
      for (const uint64_t code : points.code)
        if (code == vcpu.rip)
          return Stop{Why::kHit, DebugPoints::Hit{DebugPoints::Kind::kCode, code, Retired{position}}};
      for (const auto& d : points.data)
        if (vcpu.rip == 0x1018 && !back && d.write && 0x1080 - d.start < d.len_bytes)
          return Stop{Why::kHit, DebugPoints::Hit{DebugPoints::Kind::kWrite, 0x1080, Retired{position}}};
    }
    return Stop{Why::kEnd, {}};
  }
  std::string monitor(std::string_view command) override { return std::string(command) + "\n"; }
};

struct FakeWire final : Wire {
  explicit FakeWire(std::string text, size_t piece = 64) : sent(std::move(text)), piece_(piece) {}
  std::vector<uint8_t> receive(bool) override {
    const size_t n = std::min(piece_, sent.size() - at_);
    std::vector<uint8_t> out(sent.begin() + static_cast<std::ptrdiff_t>(at_),
                             sent.begin() + static_cast<std::ptrdiff_t>(at_ + n));
    at_ += n;
    return out;
  }
  void send(std::string_view text) override {
    if (received.size() < 1 << 20) received += text;
  }
  bool closed() const override { return at_ >= sent.size(); }
  std::string sent, received;

 private:
  size_t piece_, at_ = 0;
};

}  // namespace dejavm::gdb
