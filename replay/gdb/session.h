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

// What is debugged: one vCPU and its memory.
class Target {
 public:
  enum class How : uint8_t { kStep, kContinue, kStepBack, kContinueBack };
  enum class Why : uint8_t { kStepped, kHit, kInterrupted, kBegin, kEnd, kExited };
  struct Stop {
    Why why = Why::kStepped;
    std::optional<DebugPoints::Hit> hit{};
  };
  virtual ~Target() = default;
  virtual VcpuState state() = 0;
  // Errors: it is a recording, or no state that a vCPU can have.
  virtual Result<void> set_state(const VcpuState&) = 0;
  // Linear addresses. How many bytes could be read, from the first on.
  virtual size_t read(uint64_t address, std::span<uint8_t> to) = 0;
  virtual Result<void> write(uint64_t address, std::span<const uint8_t> from) = 0;
  virtual bool reversible() const = 0;
  // Until a hit, the end, or `wanted`.
  virtual Result<Stop> resume(How, const DebugPoints&, const std::function<bool()>& wanted) = 0;
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
