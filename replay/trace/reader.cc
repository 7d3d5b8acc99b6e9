#include <zstd.h>

#include <algorithm>

#include <fmt/format.h>

#include "replay/trace/reader.h"

namespace dejavm {

TraceReader::~TraceReader() = default;

Result<std::unique_ptr<TraceReader>> TraceReader::open(const std::string& path, Check check) {
  auto source = open_file(path);
  if (!source) return source.error();
  return open(source.take(), check);
}

Result<std::unique_ptr<TraceReader>> TraceReader::open(std::unique_ptr<ByteSource> source, Check check) {
  std::unique_ptr<TraceReader> r(new TraceReader(std::move(source)));
  if (auto done = r->check_preamble(); !done) return done.error();
  bool indexed = false;
  if (check == Check::kHeads) {
    auto found = r->load_index();
    if (!found) return found.error();
    indexed = *found;
  }
  if (!indexed)
    if (auto done = r->scan(check); !done) return done.error();
  if (auto done = r->load_header_and_end(); !done) return done.error();
  return r;
}

Error TraceReader::error_at(uint64_t offset, std::string_view why) const {
  return {ErrorKind::kBadInput, fmt::format("{}: at byte {}: {}", source_->name(), offset, why)};
}
Error TraceReader::refuse(const FrameInfo& f, std::string_view why) const {
  return error_at(f.offset, fmt::format("frame {} ({}): {}", f.head.sequence, name_of(f.head.kind), why));
}
Error TraceReader::damaged(uint32_t frame, std::string_view why) const { return refuse(frames_[frame], why); }

Result<void> TraceReader::check_preamble() {
  std::array<uint8_t, kPreambleBytes> have{};
  const size_t len = static_cast<size_t>(std::min<uint64_t>(kPreambleBytes, source_->size()));
  if (auto done = source_->read_at(0, std::span(have).first(len)); !done) return done;
  const size_t magic = std::min(len, kTraceMagic.size());
  if (len == 0) return error_at(0, "the file is empty");
  if (!std::equal(have.begin(), have.begin() + static_cast<ptrdiff_t>(magic), kTraceMagic.begin()))
    return error_at(0, "this is not a trace of dejavm");
  if (len < kPreambleBytes) return error_at(len, "the recording was cut off before its initial state was complete");
  version_ = load_le<uint32_t>(have.data() + 8);
  if (version_ < kOldestTraceVersion || version_ > kTraceVersion)
    return error_at(8,
                    fmt::format("trace version {}; this build reads versions {} to {}{}", version_, kOldestTraceVersion,
                                kTraceVersion, version_ > kTraceVersion ? ": a newer dejavm is needed" : ""));
  if (load_le<uint32_t>(have.data() + 12) != 0) return error_at(12, "unknown flags");
  return {};
}

Result<bool> TraceReader::load_index() {
  const uint64_t size = source_->size();
  if (size < kPreambleBytes + kFrameHeadBytes + kTrailerBytes) return false;
  std::array<uint8_t, kTrailerBytes> trailer;
  if (auto done = source_->read_at(size - kTrailerBytes, trailer); !done) return done.error();
  if (!std::equal(kTrailerMagic.begin(), kTrailerMagic.end(), trailer.begin() + 8)) return false;
  const uint64_t index_at = load_le<uint64_t>(trailer.data());
  if (index_at < kPreambleBytes || index_at > size - kTrailerBytes - kFrameHeadBytes)
    return error_at(size - kTrailerBytes, "the index is said to lie outside the file");
  std::array<uint8_t, kFrameHeadBytes> bytes;
  if (auto done = source_->read_at(index_at, bytes); !done) return done.error();
  FrameInfo index{index_at, {}};
  if (const std::string why = load_frame_head(bytes, index.head); !why.empty()) return error_at(index_at, why);
  const FrameHead& h = index.head;
  if (h.kind != FrameKind::kIndex || index_at + kFrameHeadBytes + h.stored_bytes + kTrailerBytes != size)
    return error_at(index_at, "this is not the index that the trailer announces");
  if (h.raw_bytes != uint64_t{h.count} * kFrameHeadBytes || h.raw_bytes > index_at)
    return error_at(index_at, "the index's size does not fit the file");
  auto heads = read_payload(index);
  if (!heads) return heads.error();
  uint64_t offset = kPreambleBytes;
  for (uint32_t i = 0; i < h.count; ++i) {
    FrameInfo f{offset, {}};
    const std::span<const uint8_t, kFrameHeadBytes> one(heads->data() + size_t{i} * kFrameHeadBytes, kFrameHeadBytes);
    if (const std::string why = load_frame_head(one, f.head); !why.empty())
      return error_at(index_at, fmt::format("index entry {}: {}", i, why));
    if (auto done = add_frame(f); !done) return done.error();
    offset += kFrameHeadBytes + f.head.stored_bytes;
  }
  if (offset != index_at) return error_at(index_at, "the index does not end where the frames do");
  if (auto done = add_frame(index); !done) return done.error();
  whole_bytes_ = size;
  whole_ = true;
  return true;
}

Result<void> TraceReader::scan(Check check) {
  const uint64_t size = source_->size();
  uint64_t offset = kPreambleBytes;
  while (!index_frame_ && size - offset >= kFrameHeadBytes) {
    std::array<uint8_t, kFrameHeadBytes> bytes;
    if (auto done = source_->read_at(offset, bytes); !done) return done;
    FrameInfo f{offset, {}};
    if (const std::string why = load_frame_head(bytes, f.head); !why.empty()) return error_at(offset, why);
    if (f.head.stored_bytes > size - offset - kFrameHeadBytes) break;  // cut off within this frame
    if (auto done = add_frame(f); !done) return done;
    if (check == Check::kAll)
      if (auto stored = read_stored(f); !stored) return stored.error();
    offset += kFrameHeadBytes + f.head.stored_bytes;
  }
  whole_bytes_ = offset;
  return index_frame_ ? check_trailer(offset) : Result<void>{};
}

// What follows the index frame: the trailer, or a part of it. Also compares the index with the frames.
Result<void> TraceReader::check_trailer(uint64_t offset) {
  const FrameInfo& index = frames_[*index_frame_];
  auto heads = read_payload(index);
  if (!heads) return heads.error();
  Bytes expected;
  for (uint32_t i = 0; i < *index_frame_; ++i) {
    expected.resize(expected.size() + kFrameHeadBytes);
    store_frame_head(frames_[i].head, std::span<uint8_t, kFrameHeadBytes>(
                                          expected.data() + expected.size() - kFrameHeadBytes, kFrameHeadBytes));
  }
  if (*heads != expected) return error_at(index.offset, "the index differs from the frames");
  const auto trailer = make_trailer(index.offset);
  const uint64_t left = source_->size() - offset;
  std::array<uint8_t, kTrailerBytes> have{};
  const size_t len = static_cast<size_t>(std::min<uint64_t>(left, kTrailerBytes));
  if (auto done = source_->read_at(offset, std::span(have).first(len)); !done) return done;
  if (!std::equal(have.begin(), have.begin() + static_cast<ptrdiff_t>(len), trailer.begin()))
    return error_at(offset, "the trailer is damaged");
  if (left > kTrailerBytes) return error_at(offset + kTrailerBytes, "bytes after the end of the trace");
  whole_ = len == kTrailerBytes;
  if (whole_) whole_bytes_ = source_->size();
  return {};
}

// The grammar of frames: header (memory* snapshot) (events | blocks | memory* snapshot)* [end [index]].
Result<void> TraceReader::add_frame(const FrameInfo& f) {
  const uint32_t number = static_cast<uint32_t>(frames_.size());
  const FrameHead& h = f.head;
  auto refuse = [&](std::string_view why) {
    return error_at(f.offset, fmt::format("frame {} ({}): {}", number, name_of(h.kind), why));
  };
  if (h.sequence != number) return refuse(fmt::format("has the number {}", h.sequence));
  if ((number == 0) != (h.kind == FrameKind::kHeader)) return refuse("the header must come first, and once");
  if (index_frame_ || (end_frame_ && h.kind != FrameKind::kIndex)) return refuse("comes after the end");
  if (h.first_event != event_count_)
    return refuse(fmt::format("begins at event {} instead of {}", h.first_event, event_count_));
  if (h.first_retired > h.last_retired) return refuse("ends before it begins");
  const bool counted = h.kind == FrameKind::kEvents || h.kind == FrameKind::kBlocks || h.kind == FrameKind::kMemory ||
                       h.kind == FrameKind::kIndex;
  if (counted != (h.count != 0)) return refuse(fmt::format("count of {}", h.count));
  switch (h.kind) {
    case FrameKind::kHeader: break;
    case FrameKind::kMemory:
      if (h.count > kPagesPerFrame) return refuse(fmt::format("{} pages", h.count));
      ++pending_memory_;
      break;
    case FrameKind::kSnapshot:
      if (!keyframes_.empty() && h.first_retired <= keyframes_.back().at.value)
        return refuse("is not after the snapshot before it");
      keyframes_.push_back({number, number - pending_memory_, {h.first_retired}, h.first_event});
      pending_memory_ = 0;
      break;
    case FrameKind::kEvents:
      if (pending_memory_ || keyframes_.empty()) return refuse("events before a snapshot is complete");
      event_count_ += h.count;
      break;
    case FrameKind::kBlocks:
      if (pending_memory_ || keyframes_.empty()) return refuse("blocks before a snapshot is complete");
      break;
    case FrameKind::kEnd:
      if (pending_memory_ || keyframes_.empty()) return refuse("the end before a snapshot is complete");
      end_frame_ = number;
      break;
    case FrameKind::kIndex:
      if (!end_frame_) return refuse("an index without an end");
      index_frame_ = number;
      break;
  }
  if (h.kind == FrameKind::kEvents || h.kind == FrameKind::kSnapshot || h.kind == FrameKind::kEnd)
    last_at_ = std::max(last_at_, Retired{h.last_retired});
  frames_.push_back(f);
  return {};
}

Result<void> TraceReader::load_header_and_end() {
  if (keyframes_.empty())
    return error_at(whole_bytes_, "the recording was cut off before its initial state was complete");
  auto content = payload(0);
  if (!content) return content.error();
  header_payload_ = content.take();
  auto header = decode_header(header_payload_);
  if (!header) return damaged(0, header.error().message);
  header_ = header.take();
  if (!end_frame_) return {};
  content = payload(*end_frame_);
  if (!content) return content.error();
  auto end = decode_end(*content);
  if (!end) return damaged(*end_frame_, end.error().message);
  if (end->events != event_count_)
    return damaged(*end_frame_, fmt::format("counts {} events instead of {}", end->events, event_count_));
  const uint64_t at = frames_[*end_frame_].head.first_retired;
  if (end->instructions != at || end->instructions < keyframes_.back().at.value)
    return damaged(*end_frame_, fmt::format("ends at instruction {}, its head says {}", end->instructions, at));
  end_ = end.take();
  return {};
}

std::string TraceReader::truncation() const {
  if (whole_) return {};
  if (end_)
    return fmt::format("the trace is complete up to byte {} of {}; only its index is cut off", whole_bytes_,
                       file_bytes());
  return fmt::format("the recording was interrupted: whole up to byte {} of {}, {} events, instruction {}",
                     whole_bytes_, file_bytes(), event_count_, last_at_.value);
}

// Head and payload as they are in the file. The head is read again and compared: it may have been taken from the index.
Result<Bytes> TraceReader::read_stored(const FrameInfo& f) const {
  Bytes stored(kFrameHeadBytes + size_t{f.head.stored_bytes});
  if (auto done = source_->read_at(f.offset, stored); !done) return done.error();
  std::array<uint8_t, kFrameHeadBytes> head;
  store_frame_head(f.head, head);
  if (!std::equal(head.begin(), head.end(), stored.begin())) return refuse(f, "its head differs from the index");
  if (payload_hash(f.head.sequence, std::span(stored).subspan(kFrameHeadBytes)) != f.head.payload_hash)
    return refuse(f, "its content is damaged (checksum)");
  return stored;
}

Result<Bytes> TraceReader::read_payload(const FrameInfo& f) const {
  auto read = read_stored(f);
  if (!read || !f.head.compressed) {
    if (read) read->erase(read->begin(), read->begin() + kFrameHeadBytes);
    return read;
  }
  const auto body = std::span<const uint8_t>(*read).subspan(kFrameHeadBytes);
  Bytes raw(f.head.raw_bytes);
  const size_t n = ZSTD_decompress(raw.data(), raw.size(), body.data(), body.size());
  if (ZSTD_isError(n) || n != raw.size())
    return refuse(f, "its content does not decompress to the length that it states");
  return raw;
}

Result<Bytes> TraceReader::payload(uint32_t frame) const { return read_payload(frames_[frame]); }

Result<std::shared_ptr<const DiskPieces>> TraceReader::disk_pieces() const {
  const std::lock_guard lock(disk_pieces_mutex_);
  if (disk_pieces_ == nullptr) {
    auto found = find_disk_pieces(*this);
    if (!found) return found.error();
    disk_pieces_ = std::make_shared<const DiskPieces>(found.take());
  }
  return disk_pieces_;
}

Result<Snapshot> TraceReader::snapshot(const Keyframe& k) const {
  auto content = payload(k.frame);
  if (!content) return content.error();
  auto s = decode_snapshot(*content);
  if (!s) return damaged(k.frame, s.error().message);
  uint64_t pages = 0;
  for (uint32_t i = k.first_memory; i < k.frame; ++i) pages += frames_[i].head.count;
  if (s->pages != pages)
    return damaged(k.frame, fmt::format("states {} pages of memory; {} precede it", s->pages, pages));
  return s;
}

Result<void> TraceReader::pages(const Keyframe& k,
                                const std::function<Result<void>(uint64_t, const uint8_t*)>& use) const {
  uint64_t next_allowed = 0;  // pages ascend over all frames of a snapshot
  for (uint32_t i = k.first_memory; i < k.frame; ++i) {
    auto content = payload(i);
    if (!content) return content.error();
    size_t pos = 0;
    uint64_t index = ~uint64_t{0};
    for (uint32_t n = 0; n < frames_[i].head.count; ++n) {
      uint64_t v;
      if (!get_varint(*content, pos, v)) return damaged(i, fmt::format("page {} is cut off", n));
      index += v >> 1;
      if (index < next_allowed || index >= uint64_t{1} << 52)
        return damaged(i, fmt::format("page {} is out of order", n));
      next_allowed = index + 1;
      const bool zero = v & 1;
      if (!zero && content->size() - pos < 4096) return damaged(i, fmt::format("page {} is cut off", n));
      if (auto done = use(index, zero ? nullptr : content->data() + pos); !done) return done;
      if (!zero) pos += 4096;
    }
    if (pos != content->size()) return damaged(i, "bytes after the last page");
  }
  return {};
}

}  // namespace dejavm
