#include "replay/trace/copy_devices.h"
#include "replay/trace/cursor.h"
#include "replay/trace/reader.h"
#include "replay/trace/writer.h"

namespace dejavm {

Result<void> copy_devices(const TraceReader& from, TraceWriter& to) {
  TraceHeader header = from.header();
  header.devices_only = true;
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
    snapshot->pages = 0;
    to.snapshot(*snapshot, k.at);
  }
  if (auto done = copy_to(from.event_count()); !done) return done;
  if (!from.end()) return {};
  return to.finish(*from.end());
}

}  // namespace dejavm
