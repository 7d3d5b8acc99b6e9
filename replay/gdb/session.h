// One gdb's session: answers packets of the remote serial protocol (GDB manual, appendix E) about a Target. Knows no
// sockets: bytes come in by a Wire.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/result.h"
#include "replay/gdb/packets.h"
#include "vmm/engine.h"

namespace dejavm::gdb {

// What is debugged: vCPUs, which gdb knows as threads, and their memory.
class Target {
 public:
  enum class How : uint8_t { kStep, kContinue, kStepBack, kContinueBack };
  enum class Why : uint8_t { kStepped, kHit, kInterrupted, kBegin, kEnd, kExited };
  struct Stop {
    Why why = Why::kStepped;
    std::optional<DebugPoints::Hit> hit{};
  };
  virtual ~Target() = default;
  virtual uint32_t vcpus() const { return 1; }
  virtual uint32_t current() const { return 0; }  // the vCPU that ran last
  // For `info threads`: what it does.
  virtual std::string about(uint32_t vcpu) { return "vCPU " + std::to_string(vcpu); }
  virtual VcpuState state(uint32_t vcpu) = 0;
  // Errors: it is a recording, or no state that a vCPU can have.
  virtual Result<void> set_state(uint32_t vcpu, const VcpuState&) = 0;
  // Linear addresses, as this vCPU's page tables have them. How many bytes could be read, from the first on.
  virtual size_t read(uint32_t vcpu, uint64_t address, std::span<uint8_t> to) = 0;
  virtual Result<void> write(uint32_t vcpu, uint64_t address, std::span<const uint8_t> from) = 0;
  virtual bool reversible() const = 0;
  // Which vCPU a step is of, and whether the others are held meanwhile; those of a recording do what they did.
  struct Who {
    uint32_t vcpu = 0;
    bool alone = false;
  };
  // Until a hit, the end, or `wanted`.
  virtual Result<Stop> resume(How, Who, const DebugPoints&, const std::function<bool()>& wanted) = 0;
  // The answer to gdb's `monitor COMMAND`, lines.
  virtual std::string monitor(std::string_view command) = 0;
};

class Wire {
 public:
  virtual ~Wire() = default;
  // Waits for bytes; without `wait`, takes what is there. Empty: there is nothing, or (closed()) there will never be.
  virtual std::vector<uint8_t> receive(bool wait) = 0;
  virtual void send(std::string_view) = 0;
  virtual bool closed() const = 0;
  virtual int fd() const { return -1; }  // that becomes readable when there is something
};

enum class Farewell : uint8_t { kDetach, kKill, kClosed };
// Until gdb detaches, kills, or hangs up.
Farewell serve(Wire&, Target&);

}  // namespace dejavm::gdb
