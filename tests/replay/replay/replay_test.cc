// Recording and replaying the embedded default guest, which exercises paging, interrupts, timers, serial and SSE.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "replay/guest/where.h"
#include "replay/record/recorder.h"
#include "replay/replay/devices_only.h"
#include "replay/replay/parts.h"
#include "replay/replay/replayer.h"
#include "replay/timeline/timeline.h"
#include "replay/trace/cursor.h"

namespace dejavm {
namespace {

// No input; a halted vCPU waits for its next event in no time.
struct NoInputs final : Inputs {
  Retired next_poll(Position) override { return kForever; }
  Input take(Position, Nanos) override { return {}; }
  Nanos idle(Position, Nanos now, Nanos next_event) override { return next_event == kNever ? now : next_event; }
};

// Types a line at one position and stops the run at another.
struct TypingInputs final : Inputs {
  uint64_t type_at, stop_at;
  bool typed = false;
  TypingInputs(uint64_t t, uint64_t s) : type_at(t), stop_at(s) {}
  Retired next_poll(Position at) override {
    return {at.retired.value < type_at ? type_at : std::max(stop_at, at.retired.value + 1)};
  }
  Input take(Position at, Nanos) override {
    if (!typed && at.retired.value >= type_at) {
      typed = true;
      return {Input::Kind::kConsole, {'h', 'e', 'l', 'l', 'o', '\r'}};
    }
    return {at.retired.value >= stop_at ? Input::Kind::kStop : Input::Kind::kNone, {}};
  }
  Nanos idle(Position, Nanos now, Nanos next_event) override { return next_event == kNever ? now : next_event; }
};

struct Collect final : Console {
  std::string text;
  void serial(std::span<const uint8_t> bytes) override { text.append(bytes.begin(), bytes.end()); }
};

struct Recording {
  std::vector<uint8_t> bytes;
  RunSummary summary;
  std::string text;
};

MachineConfig small_machine() {
  MachineConfig c;
  c.memory_bytes = 32 << 20;
  c.seed = 7;
  return c;
}

Recording record_guest(Inputs& inputs, RecordOptions options = {}, uint64_t interval = 1'000'000) {
  Recording r;
  Collect console;
  options.keyframe_interval = interval;
  auto machine = Machine::create(small_machine(), "deterministic", &console);
  CHECK(machine.ok());
  auto booted = (*machine)->boot({});
  CHECK(booted.ok());
  auto writer = TraceWriter::create(std::make_unique<MemorySink>(r.bytes));
  auto summary = record(**machine, inputs, *writer, options);
  EXPECT_TRUE(summary.ok()) << (summary.ok() ? "" : summary.error().message);
  if (summary.ok()) r.summary = summary.take();
  r.text = console.text;
  return r;
}

Recording record_guest() {
  NoInputs none;
  return record_guest(none);
}

// Recorded once for all tests.
const Recording& sample() {
  static const Recording r = record_guest();
  return r;
}

std::unique_ptr<TraceReader> open(std::vector<uint8_t> bytes) {
  auto r = TraceReader::open(std::make_unique<MemorySource>(std::move(bytes), "sample"), TraceReader::Check::kAll);
  CHECK(r.ok());
  return r.take();
}

// The same trace with its events changed.
std::vector<uint8_t> rewrite(const TraceReader& from, const std::function<void(uint64_t index, Event&)>& change) {
  std::vector<uint8_t> bytes;
  auto w = TraceWriter::create(std::make_unique<MemorySink>(bytes));
  TraceHeader header = from.header();
  w->header(header);
  EventCursor cursor(from, from.keyframes().front());
  for (const Keyframe& k : from.keyframes()) {
    for (; cursor.index() < k.first_event && cursor.peek(); cursor.pop()) {
      Event e = *cursor.peek();
      change(cursor.index(), e);
      w->event(e);
    }
    CHECK(from.pages(k,
                     [&](uint64_t index, const uint8_t* p) -> Result<void> {
                       w->page(index, p);
                       return {};
                     })
              .ok());
    w->snapshot(*from.snapshot(k), k.at);
  }
  for (; cursor.peek(); cursor.pop()) {
    Event e = *cursor.peek();
    change(cursor.index(), e);
    w->event(e);
  }
  CHECK(w->finish(*from.end()).ok());
  return bytes;
}

TEST(MachineReplay, ARecordedRunEndsInPowerOffWithKeyframes) {
  EXPECT_EQ(sample().summary.end, RunEnd::kPowerOff) << sample().summary.detail;
  EXPECT_GT(sample().summary.exits, 100u);
  EXPECT_GE(open(sample().bytes)->keyframes().size(), 3u) << sample().summary.instructions;
}

TEST(MachineReplay, TheSameRunGivesTheSameFile) { EXPECT_EQ(record_guest().bytes, sample().bytes); }

TEST(MachineReplay, KeyframesDoNotChangeTheRun) {
  NoInputs none;
  const Recording other = record_guest(none, {}, 0);
  EXPECT_EQ(to_hex(other.summary.digest), to_hex(sample().summary.digest));
  EXPECT_EQ(other.summary.exits, sample().summary.exits);
  auto machine = Machine::create(small_machine(), "deterministic", nullptr).take();
  ASSERT_TRUE(machine->boot({}).ok());
  EXPECT_EQ(to_hex(run_plain(*machine, none, kForever, true).digest), to_hex(sample().summary.digest));
}

TEST(MachineReplay, FromEveryKeyframeItIsIdentical) {
  const auto trace = open(sample().bytes);
  for (size_t k = 0; k < trace->keyframes().size(); ++k) {
    Collect console;
    auto s = replay(*trace, &console, {.from_keyframe = k});
    ASSERT_TRUE(s.ok()) << k << ": " << s.error().message;
    EXPECT_EQ(to_hex(s->digest), to_hex(sample().summary.digest));
    EXPECT_EQ(s->exits, sample().summary.exits);
    EXPECT_EQ(s->instructions, sample().summary.instructions);
    EXPECT_EQ(s->end, RunEnd::kPowerOff);
    EXPECT_EQ(s->keyframes, trace->keyframes().size() - k);
    EXPECT_TRUE(k != 0 || console.text == sample().text) << console.text;
  }
  EXPECT_FALSE(replay(*trace, nullptr, {.from_keyframe = trace->keyframes().size()}).ok());
}

// Whatever it compares, and of several differences the first.
TEST(MachineReplay, InPartsAtTheSameTimeItSaysWhatItSaysInOne) {
  const auto trace = open(sample().bytes);
  const uint64_t end = trace->keyframes()[2].at.value;
  for (const ReplayOptions& o : {ReplayOptions{}, ReplayOptions{.from_keyframe = 1}, ReplayOptions{.until = {end}},
                                 ReplayOptions{.until = {end + 12345}}}) {
    const auto one = replay(*trace, nullptr, o);
    ASSERT_TRUE(one.ok()) << one.error().message;
    for (unsigned jobs = 1; jobs < 6; ++jobs) {
      Retired furthest{};
      ReplayOptions with = o;
      with.progress = [&](const Progress& p) { furthest = std::max(furthest, p.at); };
      const auto parts = replay_in_parts(*trace, with, jobs);
      ASSERT_TRUE(parts.ok()) << jobs << ": " << parts.error().message;
      EXPECT_EQ(to_hex(parts->digest), to_hex(one->digest));
      EXPECT_EQ(std::tuple(parts->end, parts->exits, parts->instructions, parts->events, parts->keyframes),
                std::tuple(one->end, one->exits, one->instructions, one->events, one->keyframes))
          << jobs;
      EXPECT_LE(furthest.value, one->instructions);
    }
  }
  const auto change_each = [&](uint64_t nth) {
    return rewrite(*trace, [&](uint64_t i, Event& e) {
      if (i > trace->event_count() / nth && e.kind == EventKind::kIoRead) e.value ^= 1;
    });
  };
  for (const uint64_t nth : {100, 3, 2}) {
    const auto wrong = open(change_each(nth));
    const auto one = replay(*wrong, nullptr, {});
    ASSERT_FALSE(one.ok());
    for (unsigned jobs = 2; jobs < 5; ++jobs) {
      const auto parts = replay_in_parts(*wrong, {}, jobs);
      ASSERT_FALSE(parts.ok());
      EXPECT_EQ(parts.error().message, one.error().message);
    }
  }
  // A log that was cut off.
  auto bytes = sample().bytes;
  bytes.resize(trace->frames()[trace->frames().size() - 3].offset + 7);
  const auto cut = open(bytes);
  const auto one = replay(*cut, nullptr, {}), parts = replay_in_parts(*cut, {}, 3);
  ASSERT_TRUE(one.ok() && parts.ok());
  EXPECT_TRUE(one->truncated && parts->truncated);
  EXPECT_EQ(to_hex(parts->digest), to_hex(one->digest));
}

TEST(MachineReplay, UntilAnInstructionItIsTheSameMachineFromAnywhere) {
  const auto trace = open(sample().bytes);
  const Retired at{trace->keyframes()[2].at.value + 12345};
  std::string digest;
  for (size_t k = 0; k < 3; ++k) {
    auto s = replay(*trace, nullptr, {.from_keyframe = k, .until = at});
    ASSERT_TRUE(s.ok()) << s.error().message;
    EXPECT_EQ(s->instructions, at.value);
    EXPECT_EQ(s->end, RunEnd::kUntil);
    if (digest.empty()) digest = to_hex(s->digest);
    EXPECT_EQ(to_hex(s->digest), digest);
  }
  auto timeline = Timeline::open(*trace, nullptr);
  ASSERT_TRUE(timeline.ok()) << timeline.error().message;
  auto digest_there = [&](Retired where) {
    const auto done = (*timeline)->seek(where);
    EXPECT_TRUE(done.ok()) << done.error().message;
    EXPECT_EQ((*timeline)->machine().position().retired, where);
    return to_hex(machine_digest((*timeline)->machine()));
  };
  EXPECT_EQ(digest_there(at), digest);
  EXPECT_NE(describe_instruction((*timeline)->machine()).find("rip 0x"), std::string::npos);
  digest_there({at.value + 5000});
  EXPECT_EQ(digest_there({at.value - 1}), digest_there({at.value - 1}));
  EXPECT_EQ(digest_there(at), digest) << "backwards and forwards again";
  EXPECT_FALSE((*timeline)->seek((*timeline)->end() + 1).ok());
}

TEST(MachineReplay, TheDevicesAloneGiveTheSameAnswers) {
  const auto trace = open(sample().bytes);
  auto s = replay_devices_only(*trace, nullptr);
  ASSERT_TRUE(s.ok()) << s.error().message;
  EXPECT_EQ(s->exits, sample().summary.exits);
  EXPECT_EQ(s->events, trace->event_count());
}

// MSRs of the board: one that has a value, and one that there is not, which ends a guest without handlers.
TEST(MachineReplay, AnswersOfMsrsAreComparedToo) {
  // mov ecx, 0x1b; rdmsr; wrmsr; mov ecx, 0x8ff; rdmsr
  const std::vector<uint8_t> code = {0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x0f, 0x30, 0xb9, 0xff, 0x08, 0, 0, 0x0f, 0x32};
  auto machine = Machine::create(small_machine(), "deterministic", nullptr).take();
  ASSERT_TRUE(machine->boot({}).ok());
  NoInputs none;
  ASSERT_EQ(machine->run({1'000'000}, none, machine->board()), RunEnd::kUntil);
  machine->write_memory(Gpa{machine->engine().registers(0).rip}, code);
  std::vector<uint8_t> bytes;
  auto writer = TraceWriter::create(std::make_unique<MemorySink>(bytes));
  ASSERT_TRUE(record(*machine, none, *writer, {}).ok());
  const auto trace = open(bytes);
  std::vector<Event> reads;
  EventCursor cursor(*trace, trace->keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop())
    if (e->kind == EventKind::kMsrRead) reads.push_back(*e);
  ASSERT_EQ(reads.size(), 2u);
  EXPECT_EQ(reads[0].value, 0xfee00900u);
  EXPECT_TRUE(reads[0].ok);
  EXPECT_FALSE(reads[1].ok);
  auto devices = replay_devices_only(*trace, nullptr);
  EXPECT_TRUE(devices.ok()) << devices.error().message;
}

TEST(MachineReplay, ConsoleInputAndAStopAreReplayed) {
  const uint64_t half = sample().summary.instructions / 2;
  TypingInputs typing(half, half + 200'001);
  const Recording r = record_guest(typing);
  EXPECT_EQ(r.summary.end, RunEnd::kUserStop);
  const auto trace = open(r.bytes);
  for (size_t k = 0; k < trace->keyframes().size(); ++k) {
    auto s = replay(*trace, nullptr, {.from_keyframe = k});
    ASSERT_TRUE(s.ok()) << s.error().message;
    EXPECT_EQ(to_hex(s->digest), to_hex(r.summary.digest));
    EXPECT_EQ(s->end, RunEnd::kUserStop);
  }
  auto devices = replay_devices_only(*trace, nullptr);
  EXPECT_TRUE(devices.ok()) << devices.error().message;
}

TEST(MachineReplay, ALimitOfInstructionsIsReplayed) {
  NoInputs none;
  const Recording r = record_guest(none, {.until = {1'234'567}});
  EXPECT_EQ(r.summary.end, RunEnd::kUntil);
  EXPECT_EQ(r.summary.instructions, 1'234'567u);
  auto s = replay(*open(r.bytes), nullptr, {});
  ASSERT_TRUE(s.ok()) << s.error().message;
  EXPECT_EQ(to_hex(s->digest), to_hex(r.summary.digest));
}

TEST(MachineReplay, ALimitOfEventsStopsAndIsReplayed) {
  NoInputs none;
  const Recording r = record_guest(none, {.max_events = 50}, 100'000);
  EXPECT_EQ(r.summary.end, RunEnd::kUserStop);
  auto s = replay(*open(r.bytes), nullptr, {});
  ASSERT_TRUE(s.ok()) << s.error().message;
  EXPECT_EQ(to_hex(s->digest), to_hex(r.summary.digest));
}

TEST(MachineReplay, CutAfterAnyFrameItReplaysToTheCut) {
  const auto whole = open(sample().bytes);
  unsigned replayed = 0;
  for (size_t i = whole->keyframes().front().frame + 1; i + 1 < whole->frames().size(); ++i) {
    auto bytes = sample().bytes;
    bytes.resize(whole->frames()[i].offset + 7);
    const auto trace = open(bytes);
    ASSERT_TRUE(trace->truncated());
    auto s = replay(*trace, nullptr, {});
    ASSERT_TRUE(s.ok()) << "cut in frame " << i << ": " << s.error().message;
    EXPECT_GE(s->instructions, trace->last_at().value);
    EXPECT_LE(s->instructions, trace->last_at().value + 1);
    EXPECT_EQ(s->events, trace->event_count());
    ++replayed;
  }
  EXPECT_GT(replayed, 4u);
}

TEST(MachineReplay, AnAnswerThatDiffersIsNamedWithItsInstruction) {
  const auto trace = open(sample().bytes);
  const uint64_t which = trace->event_count() / 2;
  std::string expected;
  uint64_t index = 0;
  const auto bytes = rewrite(*trace, [&](uint64_t i, Event& e) {
    if (i < which || !expected.empty() || e.kind != EventKind::kIoRead) return;
    e.value ^= 1;
    expected = describe(e);
    index = i;
  });
  ASSERT_FALSE(expected.empty());
  auto s = replay(*open(bytes), nullptr, {});
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().kind, ErrorKind::kDivergence);
  EXPECT_NE(s.error().message.find("expected " + expected), std::string::npos) << s.error().message;
  EXPECT_NE(s.error().message.find(fmt::format("at event {}", index)), std::string::npos) << s.error().message;
  EXPECT_NE(s.error().message.find(": "), std::string::npos);
  EXPECT_NE(s.error().message.find(" in "), std::string::npos) << "the IN instruction: " << s.error().message;
  auto devices = replay_devices_only(*open(bytes), nullptr);
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(devices.error().kind, ErrorKind::kDivergence);
  EXPECT_NE(devices.error().message.find(expected), std::string::npos) << devices.error().message;
}

TEST(MachineReplay, EveryChangedEventIsNoticed) {
  const auto trace = open(sample().bytes);
  // A dozen places, spread over the run: a position, a value.
  for (uint64_t i = 0; i < 12; ++i) {
    const uint64_t which = trace->event_count() * i / 12;
    const auto bytes = rewrite(*trace, [&](uint64_t index, Event& e) {
      if (index != which) return;
      if (e.kind == EventKind::kIdle) e.value -= 1;
      else if (e.kind == EventKind::kCpuid) e.cpuid.eax ^= 1;
      else if (e.kind == EventKind::kInterrupt) e.value = 3;
      else if (e.kind == EventKind::kMsrRead && !e.ok) e.address ^= 1;
      else e.value ^= 1;
    });
    auto s = replay(*open(bytes), nullptr, {});
    ASSERT_FALSE(s.ok()) << "event " << which;
    EXPECT_EQ(s.error().kind, ErrorKind::kDivergence) << s.error().message;
  }
}

TEST(MachineReplay, ADifferentDigestNamesTheField) {
  const auto trace = open(sample().bytes);
  auto snapshot = trace->snapshot(trace->keyframes()[1]).take();
  auto machine = restore_keyframe(*trace, 1, nullptr);
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  auto& m = *machine->machine;
  EXPECT_EQ(to_hex(take_snapshot(m, machine->summer).digest), to_hex(snapshot.digest));
  // Another second on the real-time clock or one more guest instruction must show, by name.
  NoInputs none;
  m.run(m.position().retired + 1, none, m.board());
  const Snapshot later = take_snapshot(m, machine->summer);
  EXPECT_NE(to_hex(later.digest), to_hex(snapshot.digest));
  const std::string text = explain_digest(*trace, trace->keyframes()[1], snapshot, later, m);
  EXPECT_NE(text.find("vcpu.retired: expected"), std::string::npos) << text;
}

TEST(MachineReplay, TheMemorySumDoesNotDependOnWhenItIsAsked) {
  auto make = [] {
    auto m = Machine::create(small_machine(), "deterministic", nullptr).take();
    CHECK(m->boot({}).ok());
    return m;
  };
  NoInputs none;
  auto often = make(), once = make();
  MemorySummer a, b;
  for (uint64_t at = 10'000; at <= 500'000; at += 70'000) {
    often->run({at}, none, often->board());
    a.update(*often);
  }
  once->run({500'000}, none, once->board());
  often->run({500'000}, none, often->board());
  EXPECT_EQ(to_hex(take_snapshot(*often, a).digest), to_hex(take_snapshot(*once, b).digest));
}

}  // namespace
}  // namespace dejavm
