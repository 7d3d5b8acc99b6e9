// Building a machine from a keyframe of a trace, and nothing else.
#pragma once

#include <memory>
#include <string>

#include "replay/record/digest.h"
#include "replay/trace/reader.h"
#include "vmm/machine/machine.h"

namespace dejavm {

struct Restored {
  std::unique_ptr<Machine> machine;
  MemorySummer summer;  // of the machine's memory
  Snapshot snapshot;    // what was restored
};

// The machine as it was at keyframe number `keyframe`. `engine`: empty for the one that recorded. The digest of the
// result is compared with the snapshot's, so a machine that comes back is the machine that was recorded.
Result<Restored> restore_keyframe(const TraceReader&, size_t keyframe, Console*, const EngineChoice& engine = {});

// Brings the machine's memory from keyframe `from` to keyframe `to` (exclusive, inclusive); from = -1: from zero.
Result<void> apply_pages(const TraceReader&, int64_t from, int64_t to, Machine&);

// How `expected`, the snapshot of a keyframe, differs from the machine: fields first, then pages of memory. `actual` is
// the machine's snapshot at the same place.
std::string explain_digest(const TraceReader&, const Keyframe&, const Snapshot& expected, const Snapshot& actual,
                           Machine&);

}  // namespace dejavm
