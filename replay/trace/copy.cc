#include "replay/trace/copy.h"

#include "replay/trace/cursor.h"

namespace dejavm {

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
    if (to.failed()) return *to.error();
    if (progress) progress(copied);
  }
  if (auto done = copy_to(from.event_count()); !done) return done;
  if (!from.end()) return {};
  return to.finish(*from.end());
}

}  // namespace dejavm
