#include <zstd.h>

#include <algorithm>

#include "replay/trace/writer.h"

namespace dejavm {
namespace {

// Compression levels are part of what makes a file's bytes a function of the run. RAM pages are many and the machine
// waits for nobody: the fastest level. The rest is small and worth more.
int level_of(FrameKind kind) { return kind == FrameKind::kMemory ? 1 : kind == FrameKind::kEvents ? 6 : 3; }

// How far the machine may run ahead of the writing thread.
constexpr uint64_t kMaxQueuedBytes = 16 << 20;

}  // namespace

Result<std::unique_ptr<TraceWriter>> TraceWriter::create(const std::string& path, bool force) {
  auto sink = create_file(path, force);
  if (!sink) return sink.error();
  return create(sink.take());
}

std::unique_ptr<TraceWriter> TraceWriter::create(std::unique_ptr<ByteSink> sink) {
  return std::unique_ptr<TraceWriter>(new TraceWriter(std::move(sink)));
}

TraceWriter::TraceWriter(std::unique_ptr<ByteSink> sink) : sink_(std::move(sink)) {
  const auto preamble = make_preamble();
  if (auto done = sink_->append(preamble); !done) error_ = done.error();
  written_ = kPreambleBytes;
  thread_ = std::thread([this] { work(); });
}

TraceWriter::~TraceWriter() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (!has_snapshot_) sink_->discard();
}

void TraceWriter::header(const TraceHeader& h) { enqueue(FrameKind::kHeader, 0, {0}, {0}, encode_header(h), 0); }

void TraceWriter::page(uint64_t index, const uint8_t* content) {
  if (!any_page_) flush_events();
  CHECK(!any_page_ || index > last_page_);
  // Within a frame: the distance to the page before (to -1 for the first), and whether it is zero.
  const uint64_t previous = page_count_ == 0 ? ~uint64_t{0} : last_page_;
  put_varint(pages_, (index - previous) << 1 | (content ? 0 : 1));
  if (content) pages_.insert(pages_.end(), content, content + 4096);
  last_page_ = index;
  any_page_ = true;
  if (++page_count_ == kPagesPerFrame) flush_pages();
}

void TraceWriter::flush_pages() {
  if (page_count_ == 0) return;
  const uint32_t count = std::exchange(page_count_, 0);
  Bytes raw = std::exchange(pages_, {});
  pages_.reserve(raw.size());
  enqueue(FrameKind::kMemory, count, last_at_, last_at_, std::move(raw), event_count_);
}

void TraceWriter::snapshot(const Snapshot& s, Retired at) {
  flush_events();
  flush_pages();
  any_page_ = false;
  last_at_ = at;
  enqueue(FrameKind::kSnapshot, 0, at, at, encode_snapshot(s), event_count_);
}

void TraceWriter::block(unsigned disk, uint64_t piece, std::span<const uint8_t> content) {
  const bool zero = std::ranges::all_of(content, [](uint8_t byte) { return byte == 0; });
  put_varint(blocks_, disk);
  put_varint(blocks_, piece);
  put_varint(blocks_, zero ? 0 : content.size());
  if (!zero) blocks_.insert(blocks_.end(), content.begin(), content.end());
  ++block_count_;
  if (blocks_.size() >= kBlockBatchBytes) flush_events();
}

void TraceWriter::flush_blocks() {
  if (block_count_ == 0) return;
  const uint32_t count = std::exchange(block_count_, 0);
  enqueue(FrameKind::kBlocks, count, last_at_, last_at_, std::exchange(blocks_, {}), events_framed_);
}

void TraceWriter::flush_events() {
  flush_blocks();
  const uint32_t count = events_.count();
  if (count == 0) return;
  const Retired first{events_.first_retired()}, last{events_.last_retired()};
  Bytes raw = events_.take();
  last_at_ = last;
  enqueue(FrameKind::kEvents, count, first, last, std::move(raw), events_framed_);
  events_framed_ = event_count_;
}

void TraceWriter::enqueue(FrameKind kind, uint32_t count, Retired first, Retired last, Bytes raw,
                          uint64_t first_event) {
  Frame f;
  f.head.kind = kind;
  f.head.sequence = sequence_++;
  f.head.raw_bytes = static_cast<uint32_t>(raw.size());
  f.head.count = count;
  f.head.first_event = first_event;
  f.head.first_retired = first.value;
  f.head.last_retired = last.value;
  f.raw = std::move(raw);
  CHECK(f.raw.size() <= max_raw_bytes(kind));
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || queued_bytes_ == 0 || queued_bytes_ + f.raw.size() <= kMaxQueuedBytes; });
  if (error_) return;
  queued_bytes_ += f.raw.size();
  queue_.push_back(std::move(f));
  changed_.notify_all();
}

void TraceWriter::work() {
  ZSTD_CCtx* const compressor = ZSTD_createCCtx();
  CHECK(compressor != nullptr);
  Bytes scratch;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return quit_ || !queue_.empty(); });
    if (queue_.empty()) break;
    if (error_) {
      queue_.clear();
      queued_bytes_ = 0;
      changed_.notify_all();
      continue;
    }
    Frame frame = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    auto done = write(frame, compressor, scratch);
    lock.lock();
    busy_ = false;
    queued_bytes_ -= frame.raw.size();
    if (!done) error_ = done.error();
    changed_.notify_all();
  }
  ZSTD_freeCCtx(compressor);
}

// Runs on the thread; written_ and heads_ are read elsewhere under the lock only.
Result<void> TraceWriter::write(Frame& f, void* compressor, Bytes& scratch) {
  scratch.resize(kFrameHeadBytes + ZSTD_compressBound(f.raw.size()));
  auto* const context = static_cast<ZSTD_CCtx*>(compressor);
  const size_t n = ZSTD_compressCCtx(context, scratch.data() + kFrameHeadBytes, scratch.size() - kFrameHeadBytes,
                                     f.raw.data(), f.raw.size(), level_of(f.head.kind));
  CHECK(!ZSTD_isError(n));
  f.head.compressed = n < f.raw.size();
  scratch.resize(kFrameHeadBytes + (f.head.compressed ? n : f.raw.size()));
  if (!f.head.compressed) std::copy(f.raw.begin(), f.raw.end(), scratch.begin() + kFrameHeadBytes);
  const auto stored = std::span<const uint8_t>(scratch).subspan(kFrameHeadBytes);
  f.head.stored_bytes = static_cast<uint32_t>(stored.size());
  f.head.payload_hash = payload_hash(f.head.sequence, stored);
  std::array<uint8_t, kFrameHeadBytes> head;
  store_frame_head(f.head, head);
  std::copy(head.begin(), head.end(), scratch.begin());
  auto done = sink_->append(scratch);
  const std::lock_guard lock(mutex_);
  if (!done) {
    sink_->truncate(written_);
    return done.error();
  }
  written_ += scratch.size();
  heads_.push_back(head);
  has_snapshot_ |= f.head.kind == FrameKind::kSnapshot;
  return {};
}

bool TraceWriter::failed() const {
  const std::lock_guard lock(mutex_);
  return error_.has_value();
}
std::optional<Error> TraceWriter::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}
uint64_t TraceWriter::bytes_written() const {
  const std::lock_guard lock(mutex_);
  return written_;
}

Result<void> TraceWriter::close() {
  flush_events();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || (queue_.empty() && !busy_); });
  return error_ ? Result<void>(*error_) : Result<void>();
}

Result<void> TraceWriter::finish(const TraceEnd& end) {
  flush_events();
  enqueue(FrameKind::kEnd, 0, {end.instructions}, {end.instructions}, encode_end(end), event_count_);
  uint64_t index_offset;
  Bytes index;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return error_ || (queue_.empty() && !busy_); });
    if (error_) return *error_;
    index_offset = written_;
    for (const auto& head : heads_) index.insert(index.end(), head.begin(), head.end());
  }
  // A trace of millions of frames has no index; it is read by scanning.
  if (index.size() > max_raw_bytes(FrameKind::kIndex)) return sink_->in_place();
  const uint32_t entries = static_cast<uint32_t>(index.size() / kFrameHeadBytes);
  enqueue(FrameKind::kIndex, entries, {end.instructions}, {end.instructions}, std::move(index), event_count_);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || (queue_.empty() && !busy_); });
  if (error_) return *error_;
  if (auto done = sink_->append(make_trailer(index_offset)); !done) {
    sink_->truncate(written_);
    error_ = done.error();
    return done.error();
  }
  written_ += kTrailerBytes;
  return sink_->in_place();
}

}  // namespace dejavm
