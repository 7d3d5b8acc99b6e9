// The trace file: TraceWriter appends it while a machine runs, TraceReader reads it whole, cut off, or still growing.
// FORMAT.md defines each byte; the recorder and the replayer know frames only through these two.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "devices/core/result.h"
#include "replay/trace/events.h"
#include "replay/store/file_io.h"
#include "replay/trace/frame.h"
#include "replay/state/stored_state.h"
#include "replay/trace/header.h"

namespace dejavm {

// Order of calls: header(), then page()... snapshot() for the initial state, then any of event() and page()...
// snapshot(), then finish(). Without finish() the file is what a killed recorder leaves: valid up to its last frame.
// Frames are compressed and written by one thread of the writer's own, in order; the file's bytes depend on the calls
// only. After a failed write (a full disk) the incomplete frame is taken back, failed() is true, and further calls do
// nothing. A file that has no complete snapshot when the writer goes is removed.
class TraceWriter {
 public:
  static Result<std::unique_ptr<TraceWriter>> create(const std::string& path, bool force);
  static std::unique_ptr<TraceWriter> create(std::unique_ptr<ByteSink>);
  ~TraceWriter();

  void header(const TraceHeader&);
  // A page of the next snapshot's memory; pages ascend by index (Gpa / 4096). `content`: 4096 bytes, or nullptr for a
  // page that became zero.
  void page(uint64_t index, const uint8_t* content);
  void snapshot(const Snapshot&, Retired at);

  void event(const Event& e) {
    events_.append(e);
    logged(e.kind);
  }
  void access(EventKind kind, Position at, uint64_t address, unsigned size, uint64_t value) {
    events_.access(kind, at, address, size, value);
    logged(kind);
  }
  // Writes the batch at hand even if it is small, so that a reader of the growing file sees it.
  void flush_events();
  uint64_t events() const { return event_count_; }
  uint64_t exits() const { return exit_count_; }

  bool failed() const;
  std::optional<Error> error() const;
  // Waits for everything to be written; `instructions`, `events` and `exits` of the end are the caller's word.
  Result<void> finish(const TraceEnd&);
  uint64_t bytes_written() const;

 private:
  explicit TraceWriter(std::unique_ptr<ByteSink>);
  struct Frame {
    FrameHead head;
    Bytes raw;
  };
  void logged(EventKind kind) {
    ++event_count_;
    exit_count_ += is_exit(kind) ? 1 : 0;
    if (events_.out().size() >= kEventBatchBytes) flush_events();
  }
  void flush_pages();
  void enqueue(FrameKind, uint32_t count, Retired first, Retired last, Bytes raw, uint64_t first_event);
  void work();                       // the thread
  Result<void> write(Frame&, void* compressor, Bytes& scratch);

  std::unique_ptr<ByteSink> sink_;
  EventEncoder events_;
  uint64_t event_count_ = 0, exit_count_ = 0, events_framed_ = 0;
  uint32_t sequence_ = 0;
  Retired last_at_;                  // of the latest frame
  Bytes pages_;
  uint32_t page_count_ = 0;
  uint64_t last_page_ = 0;
  bool any_page_ = false;            // of the snapshot being written
  Retired pages_at_;

  mutable std::mutex mutex_;         // guards what follows
  std::condition_variable changed_;
  std::deque<Frame> queue_;
  uint64_t queued_bytes_ = 0;
  bool busy_ = false, quit_ = false;
  std::optional<Error> error_;
  uint64_t written_ = 0;
  std::vector<std::array<uint8_t, kFrameHeadBytes>> heads_;  // for the index
  bool has_snapshot_ = false;
  std::thread thread_;               // last: it uses the rest
};

struct FrameInfo {
  uint64_t offset = 0;  // of the head in the file
  FrameHead head;
};

struct Keyframe {
  uint32_t frame = 0;         // index of its snapshot frame
  uint32_t first_memory = 0;  // its memory frames are first_memory .. frame - 1
  Retired at;
  uint64_t first_event = 0;   // the number of the first event after it
};

// Every error is kBadInput (or kHost, when reading fails) and names the file, the offset of the frame, and the reason.
class TraceReader {
 public:
  enum class Check : uint8_t { kHeads, kAll };  // kAll: the checksums of all payloads, now rather than when used
  static Result<std::unique_ptr<TraceReader>> open(const std::string& path, Check = Check::kHeads);
  static Result<std::unique_ptr<TraceReader>> open(std::unique_ptr<ByteSource>, Check = Check::kHeads);
  ~TraceReader();

  const TraceHeader& header() const { return header_; }
  const Bytes& header_payload() const { return header_payload_; }
  // How the run ended; none if the recorder was interrupted or is still at it.
  const std::optional<TraceEnd>& end() const { return end_; }
  // The file is not whole. truncation() says where it ends and what of it is usable; empty for a whole one.
  bool truncated() const { return !whole_; }
  std::string truncation() const;
  const std::string& name() const { return source_->name(); }
  uint64_t file_bytes() const { return source_->size(); }
  uint64_t whole_bytes() const { return whole_bytes_; }  // up to the end of the last whole frame

  const std::vector<FrameInfo>& frames() const { return frames_; }
  const std::vector<Keyframe>& keyframes() const { return keyframes_; }  // at least one: the initial state
  uint64_t event_count() const { return event_count_; }
  // The last position that the trace knows anything of.
  Retired last_at() const { return last_at_; }

  // The payload of a frame, checked and decompressed.
  Result<Bytes> payload(uint32_t frame) const;
  Result<Snapshot> snapshot(const Keyframe&) const;
  // The pages stored with one keyframe: those changed since the keyframe before it. content: nullptr for zero. The
  // state of memory at keyframe K is the pages of keyframes 0 to K in order.
  Result<void> pages(const Keyframe&, const std::function<Result<void>(uint64_t index, const uint8_t* content)>&) const;
  Error damaged(uint32_t frame, std::string_view why) const;

 private:
  explicit TraceReader(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {}
  Result<void> check_preamble() const;
  Result<bool> load_index();  // false: there is none
  Result<void> scan(Check);
  Result<void> check_trailer(uint64_t offset);
  Result<void> add_frame(const FrameInfo&);
  Result<void> load_header_and_end();
  Error error_at(uint64_t offset, std::string_view why) const;
  Error refuse(const FrameInfo&, std::string_view why) const;
  Result<Bytes> read_stored(const FrameInfo&) const;
  Result<Bytes> read_payload(const FrameInfo&) const;

  std::unique_ptr<ByteSource> source_;
  TraceHeader header_;
  Bytes header_payload_;
  std::optional<TraceEnd> end_;
  std::vector<FrameInfo> frames_;
  std::vector<Keyframe> keyframes_;
  uint32_t pending_memory_ = 0;  // frames of kMemory at the end of frames_
  uint64_t event_count_ = 0, whole_bytes_ = 0;
  Retired last_at_;
  std::optional<uint32_t> end_frame_, index_frame_;
  bool whole_ = false;
};

// The devices' part of a trace: everything but memory. Small, and enough for replay_devices_only().
Result<void> copy_devices(const TraceReader& from, TraceWriter& to);

// Walks a trace's events in order, frame by frame.
class EventCursor {
 public:
  // Starts at the first event after a keyframe.
  EventCursor(const TraceReader&, const Keyframe&);
  // The next event, or nullptr at the end of the log or on damage (error()).
  const Event* peek();
  void pop();
  void seek(uint64_t index);  // 0 to event_count()
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
