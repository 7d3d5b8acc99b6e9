// Everything that comes into a machine from outside, and the only way in (law 5): the run loop asks at instruction
// boundaries. Live inputs (vmm/host) answer from the console and real time; the recorder decorates them and logs each
// answer; the replayer answers from the log. Answers must not depend on when, in host time, they are asked for in
// replay.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/engine.h"

namespace dejavm {

struct Input {
  enum class Kind : uint8_t { kNone = 0, kConsole = 1, kStop = 2, kControl = 3 };
  // kStop: the user ended the run. kControl: somebody wants the machine to stand still here: run() returns kUntil
  Kind kind = Kind::kNone;
  std::vector<uint8_t> data;  // kConsole: bytes for the UART's receiver; kControl: the request, as text
};

class Inputs {
 public:
  virtual ~Inputs() = default;
  // The run loop returns from the engine at this position at the latest to call take(). Live: a poll interval ahead.
  // Replay: exactly the next logged input's position. kForever: none will come.
  virtual Retired next_poll(Position at) = 0;
  // The input to apply at this boundary, or kNone. Called repeatedly until kNone.
  virtual Input take(Position at, Nanos now) = 0;
  // The vCPU is halted; nothing happens before next_event (kNever: nothing will happen at all without an input).
  // Returns the virtual time to skip to, now < result <= next_event; an input is then asked for by take(). A live
  // source without input returns next_event at once (or after waiting in real time, for interactive consoles). With
  // next_event == kNever and no input to come: returns `now`, and the run ends as "halted for ever".
  virtual Nanos idle(Position at, Nanos now, Nanos next_event) = 0;
};

// Where what the guest prints goes. Never influences the machine.
class Console {
 public:
  virtual ~Console() = default;
  virtual void serial(std::span<const uint8_t> bytes) = 0;  // COM1
  virtual void debug(uint8_t byte) { (void)byte; }          // ports 0xe9 and 0x402
};

}  // namespace dejavm
