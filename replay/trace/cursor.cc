#include <fmt/format.h>

#include "replay/trace/cursor.h"
#include "replay/trace/reader.h"

namespace dejavm {

EventCursor::EventCursor(const TraceReader& reader, const Keyframe& k)
    : reader_(reader), frame_(k.frame), index_(k.first_event) {}

const Event* EventCursor::peek() {
  if (pos_ == batch_.size()) load();
  return pos_ < batch_.size() ? &batch_[pos_] : nullptr;
}

void EventCursor::pop() {
  CHECK(pos_ < batch_.size());
  ++pos_;
  ++index_;
}

void EventCursor::seek(uint64_t index) {
  uint64_t first = index_ - pos_;
  if (error_ || batch_.empty() || index < first || index > first + batch_.size()) {
    const auto& frames = reader_.frames();
    uint32_t found = 0;
    for (uint32_t f = 0; f < frames.size() && frames[f].head.first_event <= index; ++f)
      if (frames[f].head.kind == FrameKind::kEvents) found = f;
    if (found == 0) return;  // no events
    error_.reset();
    frame_ = found - 1;
    load();
    first = frames[found].head.first_event;
  }
  pos_ = std::min<size_t>(index - first, batch_.size());
  index_ = first + pos_;
  next_input_ = 0;
}

const Event* EventCursor::next_input_or_last() {
  if (!peek()) return nullptr;
  while (next_input_ < inputs_.size() && inputs_[next_input_] < pos_) ++next_input_;
  return next_input_ < inputs_.size() ? &batch_[inputs_[next_input_]] : &batch_.back();
}

void EventCursor::load() {
  const auto& frames = reader_.frames();
  batch_.clear();
  inputs_.clear();
  pos_ = next_input_ = 0;
  if (error_) return;
  do ++frame_;
  while (frame_ < frames.size() && frames[frame_].head.kind != FrameKind::kEvents);
  if (frame_ >= frames.size()) {
    frame_ = static_cast<uint32_t>(frames.size());
    return;
  }
  const FrameHead& head = frames[frame_].head;
  auto content = reader_.payload(frame_);
  if (!content) {
    error_ = content.error();
    return;
  }
  EventDecoder decoder(*content, reader_.version());
  batch_.reserve(head.count);
  while (decoder.next(batch_.emplace_back())) {
    const EventKind kind = batch_.back().kind;
    if (is_taken(kind)) inputs_.push_back(static_cast<uint32_t>(batch_.size() - 1));
  }
  batch_.pop_back();
  std::string why = decoder.error();
  if (why.empty() && batch_.size() != head.count)
    why = fmt::format("{} events instead of {}", batch_.size(), head.count);
  if (why.empty() &&
      (batch_.front().at.retired.value != head.first_retired || batch_.back().at.retired.value != head.last_retired))
    why = "the positions of its events are not those in its head";
  if (why.empty()) return;
  error_ = reader_.damaged(frame_, why);
  batch_.clear();
  inputs_.clear();
}

}  // namespace dejavm
