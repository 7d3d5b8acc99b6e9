#include "replay/replay/keyframe.h"

#include <cstring>

#include <fmt/format.h>

#include "replay/replay/logged_image.h"

namespace dejavm {
namespace {

constexpr uint8_t kZeroPage[kPageSize] = {};

}  // namespace

Result<void> apply_pages(const TraceReader& trace, int64_t from, int64_t to, Machine& machine) {
  for (int64_t k = from + 1; k <= to; ++k) {
    const Keyframe& keyframe = trace.keyframes()[static_cast<size_t>(k)];
    auto done = trace.pages(keyframe, [&](uint64_t index, const uint8_t* content) -> Result<void> {
      const Gpa gpa{index * kPageSize};
      const uint8_t* page = machine.memory().page(gpa);
      if (!page)
        return trace.damaged(keyframe.frame, fmt::format("a page at {:#x}, outside the machine's memory", gpa.value));
      if (!content) content = kZeroPage;
      // Equal pages stay untouched, so that zeros cost no host memory.
      if (std::memcmp(page, content, kPageSize) != 0) machine.write_memory(gpa, {content, kPageSize});
      return {};
    });
    if (!done) return done;
  }
  return {};
}

Result<Restored> restore_keyframe(const TraceReader& trace, size_t number, Console* console,
                                  const EngineChoice& engine) {
  if (number >= trace.keyframes().size())
    return Error{ErrorKind::kHost, fmt::format("{}: has keyframes 0 to {}; there is no keyframe {}", trace.name(),
                                               trace.keyframes().size() - 1, number)};
  if (trace.header().devices_only)
    return Error{
        ErrorKind::kBadInput,
        fmt::format("{}: holds the devices' part of a trace, without memory; only `replay --devices-only` can read it",
                    trace.name())};
  const Keyframe& keyframe = trace.keyframes()[number];
  Restored r;
  auto snapshot = trace.snapshot(keyframe);
  if (!snapshot) return snapshot.error();
  r.snapshot = snapshot.take();
  auto images = logged_images(trace);
  if (!images) return images.error();
  auto machine = Machine::create(trace.header().config, engine.or_else(trace.header().engine), console, images.take());
  if (!machine) return machine.error();
  r.machine = machine.take();
  if (auto done = apply_pages(trace, -1, static_cast<int64_t>(number), *r.machine); !done) return done.error();
  r.machine->sync_out();
  if (auto done = load_chunks(r.snapshot.chunks, r.machine->chunks()); !done)
    return trace.damaged(keyframe.frame, done.error().message);
  if (const char* why = r.machine->misfit()) return trace.damaged(keyframe.frame, why);
  r.machine->sync_in();
  if (r.machine->position().retired != keyframe.at)
    return trace.damaged(keyframe.frame, fmt::format("its vCPU is at instruction {}, its head says {}",
                                                     r.machine->position().retired.value, keyframe.at.value));
  const Snapshot now = take_snapshot(*r.machine, r.summer);
  // Another engine has other chunks, and so another digest; memory is the same for all.
  const bool same = engine.or_else(trace.header().engine).name == trace.header().engine
                        ? now.digest == r.snapshot.digest
                        : now.memory == r.snapshot.memory;
  if (!same) return trace.damaged(keyframe.frame, explain_digest(trace, keyframe, r.snapshot, now, *r.machine));
  return r;
}

std::string explain_digest(const TraceReader& trace, const Keyframe& keyframe, const Snapshot& expected,
                           const Snapshot& actual, Machine& machine) {
  std::string out = fmt::format("digest: expected {}, found {}", to_hex(expected.digest), to_hex(actual.digest));
  for (const std::string& line : diff_chunks(expected.chunks, machine.chunks(), 12)) out += "\n  " + line;
  if (expected.memory == actual.memory) return out;
  unsigned pages = 0;
  auto compare = [&](uint64_t index, const uint8_t* content) -> Result<void> {
    const uint8_t* page = machine.memory().page({index * kPageSize});
    if (!content) content = kZeroPage;
    if (!page || std::memcmp(page, content, kPageSize) == 0) return {};
    if (pages++ >= 4) return {};
    uint64_t at = 0;
    while (page[at] == content[at]) ++at;
    out += fmt::format("\n  memory at {:#x}: expected {:#04x}, found {:#04x}", index * kPageSize + at, content[at],
                       page[at]);
    return {};
  };
  if (auto done = trace.pages(keyframe, compare); !done) out += "\n  " + done.error().message;
  if (pages > 4) out += fmt::format("\n  and {} more pages that differ", pages - 4);
  if (pages == 0) out += "\n  memory differs in pages that the recording did not change since the keyframe before";
  return out;
}

}  // namespace dejavm
