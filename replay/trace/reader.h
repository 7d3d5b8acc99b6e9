// Reading a trace file that is whole, cut off, or still growing; FORMAT.md defines each byte.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/result.h"
#include "replay/state/stored_state.h"
#include "replay/store/file_io.h"
#include "replay/trace/disk_pieces.h"
#include "replay/trace/frame.h"
#include "replay/trace/header.h"

namespace dejavm {

struct FrameInfo {
  uint64_t offset = 0;  // of the head in the file
  FrameHead head;
};

struct Keyframe {
  uint32_t frame = 0;         // index of its snapshot frame
  uint32_t first_memory = 0;  // its memory frames are first_memory .. frame - 1
  Retired at;
  uint64_t first_event = 0;  // the number of the first event after it
};

// Every error is kBadInput (or kHost, when reading fails) and names the file, the offset of the frame, and the reason.
class TraceReader {
 public:
  enum class Check : uint8_t { kHeads, kAll };  // kAll: the checksums of all payloads, now rather than when used
  static Result<std::unique_ptr<TraceReader>> open(const std::string& path, Check = Check::kHeads);
  static Result<std::unique_ptr<TraceReader>> open(std::unique_ptr<ByteSource>, Check = Check::kHeads);
  ~TraceReader();

  uint32_t version() const { return version_; }  // of the format
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
  // Where the images of disks are; found at the first call.
  Result<std::shared_ptr<const DiskPieces>> disk_pieces() const;
  Error damaged(uint32_t frame, std::string_view why) const;

 private:
  explicit TraceReader(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {}
  Result<void> check_preamble();
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
  uint32_t version_ = 0;
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
  mutable std::mutex disk_pieces_mutex_;
  mutable std::shared_ptr<const DiskPieces> disk_pieces_;
};

}  // namespace dejavm
