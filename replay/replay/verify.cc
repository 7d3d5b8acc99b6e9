#include "replay/replay/verify.h"

#include <algorithm>

#include <fmt/format.h>

namespace dejavm {
namespace {

// How far the machine runs at most without asking: so long may a run go on that has already diverged.
constexpr uint64_t kMaxPoll = 20'000'000;

}  // namespace

std::optional<Retired> quiet_end(const TraceReader& trace) {
  const Keyframe& last = trace.keyframes().back();
  return last.first_event == trace.event_count() ? std::optional(last.at) : std::nullopt;
}

// nullptr: no event is left, or nothing is compared any more.
const Event* LogVerifier::next(Position at) {
  if (!open_) return nullptr;
  const Event* e = cursor_.peek();
  if (e) return e;
  if (cursor_.error()) {
    error_ = cursor_.error();
    open_ = false;
  } else if (!complete_ && (!quiet_until_ || at.retired > *quiet_until_)) {
    exhausted_ = true;
    open_ = false;
  }
  return nullptr;
}

void LogVerifier::seek(uint64_t index, uint64_t exits) {
  cursor_.seek(index);
  exits_ = exits;
  open_ = true;
  exhausted_ = false;
  matched_ = 0;
  divergence_.reset();
  error_.reset();
}

void LogVerifier::matched() {
  const Event* e = cursor_.peek();
  exits_ += is_exit(e->kind) ? 1 : 0;
  history_[matched_++ % kHistory] = *e;
  cursor_.pop();
}

bool LogVerifier::verify(const Event& actual) {
  const Event* e = next(actual.at);
  if (e && *e == actual) {
    matched();
    return true;
  }
  if (open_)
    diverge(actual.at, fmt::format("expected {}\nhappened {}", e ? describe(*e) : std::string("the end of the log"),
                                   describe(actual)));
  return false;
}

void LogVerifier::diverge(Position at, const std::string& what) {
  if (!open_) return;
  open_ = false;
  std::string text = fmt::format("the replay differs from the log at event {}, instruction {} of vCPU {}\n{}",
                                 cursor_.index(), at.retired.value, at.vcpu, what);
  if (matched_) text += "\nevents before it, as logged and replayed:";
  for (uint64_t n = std::min(matched_, kHistory); n > 0; --n)
    text += fmt::format("\n  {} {}", cursor_.index() - n, describe(history_[(matched_ - n) % kHistory]));
  if (note_) text += note_();
  divergence_ = Divergence{cursor_.index(), at, std::move(text)};
}

const Event* LogVerifier::due(Position at, EventKind kind) {
  const Event* e = next(at);
  return e && e->kind == kind && e->at == at ? e : nullptr;
}

void LogVerifier::at_boundary(Position at) {
  const Event* e = next(at);
  if (e && e->at.retired < at.retired)
    diverge(at, fmt::format("expected {}\nnothing happened: the machine is at instruction {}", describe(*e),
                            at.retired.value));
}

void LogVerifier::finish(Position at, bool whole_log) {
  at_boundary(at);
  const Event* e = whole_log ? next(at) : nullptr;
  if (e) diverge(at, fmt::format("expected {}\nhappened the end of the run", describe(*e)));
}

// The batch at hand bounds how far the machine may run without asking again, so that a missing event is noticed soon.
Retired LogVerifier::next_poll(Position at) {
  const Event* first = next(at);
  if (!first) return stop() ? Retired{at.retired.value + 1} : kForever;
  const bool input = is_taken(first->kind);
  if (input) return std::max(first->at.retired, at.retired);
  const Event* ahead = cursor_.next_input_or_last();
  const bool ahead_is_input = is_taken(ahead->kind);
  const uint64_t due = ahead->at.retired.value + (ahead_is_input ? 0 : 1);
  return {std::clamp(due, at.retired.value + 1, at.retired.value + kMaxPoll)};
}

Retired ReplayInputs::next_poll(Position at) {
  if (progress_ && at.retired.value >= next_progress_) {
    next_progress_ = at.retired.value + kMaxPoll;
    progress_(at);
  }
  return log_.next_poll(at);
}

Input ReplayInputs::take(Position at, Nanos) {
  log_.at_boundary(at);
  if (log_.stop()) return {Input::Kind::kStop, {}};
  while (log_.due(at, EventKind::kControl)) log_.matched();
  if (const Event* e = log_.due(at, EventKind::kConsole)) {
    Input input{Input::Kind::kConsole, e->data};
    log_.matched();
    return input;
  }
  if (log_.due(at, EventKind::kStop)) {
    log_.matched();
    return {Input::Kind::kStop, {}};
  }
  // due() may have found that the log is at its end, or damaged.
  return {log_.stop() ? Input::Kind::kStop : Input::Kind::kNone, {}};
}

Nanos ReplayInputs::idle(Position at, Nanos now, Nanos next_event) {
  const Event* e = log_.due(at, EventKind::kIdle);
  const Nanos to = e ? Nanos{e->value} : next_event;
  // An idle that gains no time is logged only when nothing will ever happen.
  const bool sound = e && to <= next_event && (to > now || next_event == kNever);
  const Event actual{.kind = EventKind::kIdle, .at = at, .value = to.value, .now = now, .next_event = next_event};
  if (log_.verify(actual) && sound) return to;
  log_.diverge(at, fmt::format("expected a skip of time that leads on\nhappened {}", describe(actual)));
  return next_event == kNever ? now : next_event;
}

}  // namespace dejavm
