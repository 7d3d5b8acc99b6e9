// The replaying side of the two seams: what the machine does is compared with the log as it happens.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "replay/trace/cursor.h"
#include "replay/trace/exit_decorator.h"
#include "replay/trace/reader.h"
#include "vmm/board/inputs.h"
#include "vmm/engine.h"

namespace dejavm {

// The first difference between a replay and its log.
struct Divergence {
  uint64_t event = 0;   // its number in the log
  Position at;          // where the machine was
  std::string message;  // several lines: what was expected, what happened, and the events before
};

// A log that was cut off after a keyframe: it is known that nothing happened between the last event and there.
std::optional<Retired> quiet_end(const TraceReader&);

// The place in the log that the machine has reached. After the first difference nothing is compared any more and
// stop() is true: the run ends at the next boundary at which inputs are asked for.
class LogVerifier {
 public:
  LogVerifier(const TraceReader& reader, const Keyframe& from)
      : cursor_(reader, from), complete_(reader.end().has_value()), quiet_until_(quiet_end(reader)) {}

  // An exit happened. True if it is the next event of the log.
  bool verify(const Event& actual);
  // The same for the accesses that make up most of a log; no Event is built unless it differs.
  void verify_access(EventKind kind, Position at, uint64_t address, unsigned size, uint64_t value) {
    const Event* e = open_ ? cursor_.peek() : nullptr;
    if (e && e->kind == kind && e->at == at && e->address == address && e->size == size && e->value == value)
      return matched();
    verify({.kind = kind, .size = static_cast<uint8_t>(size), .at = at, .address = address, .value = value});
  }
  // The next event if it is due at this boundary and of this kind.
  const Event* due(Position at, EventKind kind);
  void matched();
  // The machine stands at a boundary; events before it must have happened.
  void at_boundary(Position at);
  // The next event, wherever it is; nullptr: none is left, or nothing is compared any more.
  const Event* ahead(Position at) { return next(at); }
  // What is said besides of a divergence.
  void set_note(std::function<std::string()> note) { note_ = std::move(note); }
  // Something else differs.
  void diverge(Position at, const std::string& what);
  // The run ended; nothing may be left in the log before this position.
  void finish(Position at, bool whole_log);

  Retired next_poll(Position at);
  bool stop() const { return !open_ && (divergence_ || exhausted_ || error_); }
  // Goes on at another event, of which so many before it were exits.
  void seek(uint64_t index, uint64_t exits);
  bool exhausted() const { return exhausted_; }
  uint64_t index() const { return cursor_.index(); }
  uint64_t exits() const { return exits_; }  // matched so far
  const std::optional<Divergence>& divergence() const { return divergence_; }
  const std::optional<Error>& error() const { return error_; }  // the log itself is damaged

 private:
  const Event* next(Position at);
  EventCursor cursor_;
  const bool complete_;  // the log ends with the run; else it was cut off and running on past it is no difference
  const std::optional<Retired> quiet_until_;  // of a log that was cut off
  bool open_ = true;                          // still comparing
  bool exhausted_ = false;
  uint64_t exits_ = 0;
  static constexpr uint64_t kHistory = 8;
  std::array<Event, kHistory> history_;  // the latest matched: a ring
  uint64_t matched_ = 0;
  std::optional<Divergence> divergence_;
  std::function<std::string()> note_;
  std::optional<Error> error_;
};

// Runs the real board and compares each exit, operands and answer, with the log.
class VerifyingExits final : public ExitDecorator<VerifyingExits> {
 public:
  VerifyingExits(ExitHandler& to, LogVerifier& log) : ExitDecorator(&to), log_(log) {}
  void access(EventKind kind, Position at, uint64_t address, unsigned size, uint64_t value) {
    log_.verify_access(kind, at, address, size, value);
  }
  void event(const Event& e) { log_.verify(e); }

 private:
  friend ExitDecorator;
  LogVerifier& log_;
};

// Answers from the log, and from nothing else.
class ReplayInputs final : public Inputs {
 public:
  explicit ReplayInputs(LogVerifier& log, std::function<void(Position)> progress = {})
      : log_(log), progress_(std::move(progress)) {}
  Retired next_poll(Position at) override;
  Input take(Position at, Nanos now) override;
  Nanos idle(Position at, Nanos now, Nanos next_event) override;

 private:
  LogVerifier& log_;
  std::function<void(Position)> progress_;
  uint64_t next_progress_ = 0;
};

}  // namespace dejavm
