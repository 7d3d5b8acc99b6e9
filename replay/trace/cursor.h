// A trace's events, one after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "replay/trace/events.h"
#include "replay/trace/reader.h"

namespace dejavm {

// Walks a trace's events in order, frame by frame.
class EventCursor {
 public:
  // Starts at the first event after a keyframe.
  EventCursor(const TraceReader&, const Keyframe&);
  // The next event, or nullptr at the end of the log or on damage (error()).
  const Event* peek();
  void pop();
  void seek(uint64_t index);                 // 0 to event_count()
  uint64_t index() const { return index_; }  // of the event that peek() shows
  const std::optional<Error>& error() const { return error_; }
  // Of the events already decoded, from the one that peek() shows on: the first input that the run loop asks for, or
  // else the last one. nullptr at the end.
  const Event* next_input_or_last();

 private:
  void load();
  const TraceReader& reader_;
  uint32_t frame_;
  uint64_t index_;
  std::vector<Event> batch_;
  std::vector<uint32_t> inputs_;  // which of batch_ are kConsole or kStop
  size_t pos_ = 0, next_input_ = 0;
  std::optional<Error> error_;
};

}  // namespace dejavm
