// Writing a trace file while a machine runs; FORMAT.md defines each byte.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "devices/core/result.h"
#include "replay/state/stored_state.h"
#include "replay/store/file_io.h"
#include "replay/trace/events.h"
#include "replay/trace/frame.h"
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
  // A piece of a disk's image, before the first event that may come of it (disk_pieces.h). `content`: all of it.
  void block(unsigned disk, uint64_t piece, std::span<const uint8_t> content);
  // Writes the batch at hand even if it is small, so that a reader of the growing file sees it.
  void flush_events();
  uint64_t events() const { return event_count_; }
  uint64_t exits() const { return exit_count_; }

  bool failed() const;
  std::optional<Error> error() const;
  // Waits for everything to be written; `instructions`, `events` and `exits` of the end are the caller's word.
  Result<void> finish(const TraceEnd&);
  // Of a trace without an end: waits for what there is to be written.
  Result<void> close();
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
  void flush_blocks();
  void enqueue(FrameKind, uint32_t count, Retired first, Retired last, Bytes raw, uint64_t first_event);
  void work();  // the thread
  Result<void> write(Frame&, void* compressor, Bytes& scratch);

  std::unique_ptr<ByteSink> sink_;
  EventEncoder events_;
  uint64_t event_count_ = 0, exit_count_ = 0, events_framed_ = 0;
  uint32_t sequence_ = 0;
  Retired last_at_;  // of the latest frame
  Bytes blocks_;
  uint32_t block_count_ = 0;
  Bytes pages_;
  uint32_t page_count_ = 0;
  uint64_t last_page_ = 0;
  bool any_page_ = false;  // of the snapshot being written
  Retired pages_at_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Frame> queue_;
  uint64_t queued_bytes_ = 0;
  bool busy_ = false, quit_ = false;
  std::optional<Error> error_;
  uint64_t written_ = 0;
  std::vector<std::array<uint8_t, kFrameHeadBytes>> heads_;  // for the index
  bool has_snapshot_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace dejavm
