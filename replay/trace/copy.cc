#include "replay/trace/copy.h"

#include "replay/trace/cursor.h"

namespace dejavm {

namespace {

// All that is known of the disks' images.
Result<void> copy_blocks(const TraceReader& from, TraceWriter& to) {
  const auto pieces = from.disk_pieces();
  if (!pieces) return pieces.error();
  Bytes content;
  uint32_t frame = 0;
  for (unsigned disk = 0; disk < (*pieces)->size(); ++disk)
    for (const auto& [number, piece] : (**pieces)[disk]) {
      if (content.empty() || frame != piece.frame) {
        auto payload = from.payload(piece.frame);
        if (!payload) return payload.error();
        content = payload.take();
        frame = piece.frame;
      }
      const Bytes zeros(piece.zero ? piece.len_bytes : 0);
      to.block(disk, number,
               piece.zero ? std::span<const uint8_t>(zeros)
                          : std::span<const uint8_t>(content).subspan(piece.offset, piece.len_bytes));
    }
  return {};
}

}  // namespace

Result<void> copy_trace(const TraceReader& from, TraceWriter& to, TraceParts parts,
                        const std::function<void(uint64_t)>& progress) {
  TraceHeader header = from.header();
  header.devices_only |= parts == TraceParts::kDevices;
  to.header(header);
  EventCursor events(from, from.keyframes().front());
  uint64_t copied = from.keyframes().front().first_event;
  auto copy_to = [&](uint64_t number) -> Result<void> {
    for (; copied < number; ++copied) {
      const Event* e = events.peek();
      if (!e) return events.error() ? Result<void>(*events.error()) : Result<void>();
      to.event(*e);
      events.pop();
    }
    return {};
  };
  for (const Keyframe& k : from.keyframes()) {
    if (auto done = copy_to(k.first_event); !done) return done;
    auto snapshot = from.snapshot(k);
    if (!snapshot) return snapshot.error();
    if (parts == TraceParts::kDevices) snapshot->pages = 0;
    auto page = [&](uint64_t index, const uint8_t* content) -> Result<void> {
      to.page(index, content);
      return {};
    };
    if (parts == TraceParts::kAll)
      if (auto done = from.pages(k, page); !done) return done;
    to.snapshot(*snapshot, k.at);
    const bool first = &k == &from.keyframes().front();
    if (first && parts == TraceParts::kAll)
      if (auto done = copy_blocks(from, to); !done) return done;
    if (to.failed()) return *to.error();
    if (progress) progress(copied);
  }
  if (auto done = copy_to(from.event_count()); !done) return done;
  if (!from.end()) return {};
  return to.finish(*from.end());
}

}  // namespace dejavm
