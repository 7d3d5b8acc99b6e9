// The trace reader: any bytes are refused or read to their end.
#include "fuzz/fuzz.h"

#include "replay/trace/cursor.h"
#include "replay/trace/reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm;
  for (const auto check : {TraceReader::Check::kHeads, TraceReader::Check::kAll}) {
    auto trace = TraceReader::open(std::make_unique<MemorySource>(Bytes(data, data + size)), check);
    if (!trace) continue;
    for (const Keyframe& k : (*trace)->keyframes()) {
      [[maybe_unused]] const auto snapshot = (*trace)->snapshot(k);
      [[maybe_unused]] const auto pages =
          (*trace)->pages(k, [](uint64_t, const uint8_t*) -> Result<void> { return {}; });
    }
    EventCursor cursor(**trace, (*trace)->keyframes().front());
    while (cursor.peek()) {
      describe(*cursor.peek());
      cursor.pop();
    }
  }
  return 0;
}
