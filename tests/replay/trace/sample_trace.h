// A small trace with every kind of frame and event, made without a machine.
#pragma once

#include <string>
#include <vector>

#include "replay/state/state_codec.h"
#include "replay/trace/cursor.h"
#include "replay/trace/reader.h"
#include "replay/trace/writer.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

struct SampleModel {
  static constexpr std::string_view kName = "sample";
  static constexpr uint16_t kVersion = 2;
  struct State {
    uint32_t count = 0;
    int16_t level = 0;
    bool armed = false;
    uint8_t mode = 0;
    std::array<uint8_t, 4> fifo{};
    uint32_t added = 0;
    static constexpr auto fields() {
      return std::tuple{field("count", &State::count).unit("ticks"),
                        field("level", &State::level),
                        field("armed", &State::armed),
                        field("mode", &State::mode).range(0, 5),
                        field("fifo", &State::fifo),
                        field("added", &State::added).since(2, 0)};
    }
  };
};

// `version`: of the format; an older one has fewer kinds of events.
inline std::vector<Event> sample_events(uint32_t version = kTraceVersion) {
  auto at = [](uint64_t retired) { return Position{0, {retired}}; };
  std::vector<Event> out;
  out.push_back({.kind = EventKind::kIoRead, .size = 1, .at = at(10), .address = 0x3fd, .value = 0x60});
  out.push_back({.kind = EventKind::kIoWrite, .size = 1, .at = at(12), .address = 0x3f8, .value = 'A'});
  out.push_back({.kind = EventKind::kIoWrite, .size = 1, .at = at(20), .address = 0x3f8, .value = 'B'});
  out.push_back({.kind = EventKind::kMmioRead, .size = 4, .at = at(31), .address = 0xfee00020, .value = 0});
  out.push_back({.kind = EventKind::kMmioWrite, .size = 8, .at = at(32), .address = 0xfed000f0, .value = ~uint64_t{0}});
  out.push_back({.kind = EventKind::kMsrRead, .ok = true, .at = at(40), .address = 0x1b, .value = 0xfee00900});
  out.push_back({.kind = EventKind::kMsrRead, .ok = false, .at = at(41), .address = 0xc0000bad});
  out.push_back({.kind = EventKind::kMsrWrite, .ok = true, .at = at(42), .address = 0x6e0, .value = 123456789});
  out.push_back({.kind = EventKind::kCr8Write, .at = at(43), .value = 15});
  out.push_back({.kind = EventKind::kCr8Read, .at = at(44), .value = 15});
  out.push_back({.kind = EventKind::kCpuid,
                 .at = at(45),
                 .address = 0xd,
                 .subleaf = 1,
                 .cr4 = 0x3406f0,
                 .xcr0 = 7,
                 .cpuid = {1, 2, 3, 0xffffffff}});
  out.push_back(place_event(at(46), {{}, 0xffffffff81000000}, false));
  out.push_back({.kind = EventKind::kInterrupt, .at = at(46), .value = 0x30});
  out.push_back({.kind = EventKind::kInterrupt, .at = at(46), .value = kNoVector});
  out.push_back({.kind = EventKind::kControl, .at = at(48), .data = {'s', 't', 'o', 'p'}});
  out.push_back({.kind = EventKind::kConsole, .at = at(50), .data = {'l', 's', '\n'}});
  out.push_back({.kind = EventKind::kIdle, .at = at(60), .value = 1000, .now = {60}, .next_event = {1000}});
  out.push_back({.kind = EventKind::kIdle, .at = at(61), .value = 1001, .now = {1001}, .next_event = kNever});
  if (version >= 2) {
    out.push_back({.kind = EventKind::kDmaRead,
                   .ok = true,
                   .at = at(62),
                   .address = 0x1234,
                   .value = 3,
                   .subleaf = 0x18,
                   .data = {1, 2, 3}});
    out.push_back({.kind = EventKind::kDmaRead, .at = at(62), .address = ~uint64_t{0}, .value = 4096});
  }
  out.push_back({.kind = EventKind::kStop, .at = at(62)});
  return out;
}

inline TraceHeader sample_header() {
  TraceHeader h;
  h.writer = "dejavm test";
  h.engine = "deterministic";
  h.config.seed = 42;
  h.config.revision = 2;
  h.boot = {{"kernel", "vmlinuz", 1234, hash128({})}};
  h.append = "console=ttyS0";
  h.keyframe_interval = 30;
  h.schemas = {&schema_of<SampleModel>()};
  return h;
}

inline std::vector<uint8_t> sample_page(uint8_t salt) {
  std::vector<uint8_t> page(4096);
  for (size_t i = 0; i < 64; ++i) page[i * 7] = static_cast<uint8_t>(i * salt);
  return page;
}

inline Snapshot sample_snapshot(uint32_t count, uint64_t pages, uint64_t exits) {
  SampleModel::State state;
  state.count = count;
  state.level = -5;
  state.armed = true;
  state.fifo = {1, 2, 3, 4};
  const ChunkRef ref{&schema_of<SampleModel>(), 0, true, &state};
  Snapshot s;
  s.chunks = store_chunks({&ref, 1});
  s.exits = exits;
  s.pages = pages;
  s.memory = {1, count};
  s.digest = digest_of(s.chunks, s.memory);
  return s;
}

inline TraceEnd sample_end(uint32_t version = kTraceVersion) {
  return {RunEnd::kUserStop, sample_events(version).size(), 13, 62, {3, 4}, 0, "asked to"};
}

// Two keyframes: the initial state, and one before event 8.
inline Result<void> write_sample(TraceWriter& w, uint32_t version = kTraceVersion) {
  w.header(sample_header());
  w.page(0, sample_page(1).data());
  w.page(7, sample_page(2).data());
  w.page(1048575, sample_page(3).data());
  w.snapshot(sample_snapshot(1, 3, 0), {0});
  const auto events = sample_events(version);
  for (size_t i = 0; i < events.size(); ++i) {
    if (i == 8) {
      w.page(7, nullptr);
      w.page(8, sample_page(9).data());
      w.snapshot(sample_snapshot(2, 2, 8), {42});
    }
    w.event(events[i]);
  }
  return w.finish(sample_end(version));
}

// In the present version of the format, with what `version` could say.
inline std::vector<uint8_t> sample_trace(uint32_t version = kTraceVersion) {
  std::vector<uint8_t> bytes;
  auto w = TraceWriter::create(std::make_unique<MemorySink>(bytes));
  CHECK(write_sample(*w, version).ok());
  return bytes;
}

// Everything that a replay would read from a trace; the first error, or a text that determines its whole content.
inline Result<std::string> read_all(std::vector<uint8_t> bytes, TraceReader::Check check) {
  auto opened = TraceReader::open(std::make_unique<MemorySource>(std::move(bytes), "sample"), check);
  if (!opened) return opened.error();
  const TraceReader& r = **opened;
  std::string out = to_hex(hash128(r.header_payload())) + "\n";
  for (const Keyframe& k : r.keyframes()) {
    auto s = r.snapshot(k);
    if (!s) return s.error();
    out +=
        "keyframe " + std::to_string(k.at.value) + " " + std::to_string(k.first_event) + " " + to_hex(s->digest) + "\n";
    auto done = r.pages(k, [&](uint64_t index, const uint8_t* content) -> Result<void> {
      out += "page " + std::to_string(index) + " " + (content ? to_hex(hash128({content, 4096})) : "zero") + "\n";
      return {};
    });
    if (!done) return done.error();
  }
  EventCursor cursor(r, r.keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop()) out += describe(*e) + "\n";
  if (cursor.error()) return *cursor.error();
  if (r.end()) out += "end " + to_hex(r.end()->digest) + "\n";
  return out;
}

}  // namespace dejavm
