#include "replay/trace/cursor.h"
#include "replay/trace/reader.h"
#include "replay/trace/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>

#include "replay/trace/copy.h"
#include "tests/replay/trace/sample_trace.h"

namespace dejavm {
namespace {

using Check = TraceReader::Check;

std::unique_ptr<TraceReader> open(std::vector<uint8_t> bytes, Check check = Check::kHeads) {
  auto r = TraceReader::open(std::make_unique<MemorySource>(std::move(bytes), "sample"), check);
  EXPECT_TRUE(r.ok()) << (r.ok() ? "" : r.error().message);
  return r.ok() ? r.take() : nullptr;
}

std::string temporary(const char* name) {
  return fmt::format("{}/dejavm_{}_{}", ::testing::TempDir(), ::getpid(), name);
}

TEST(Trace, WhatIsWrittenIsRead) {
  for (const Check check : {Check::kHeads, Check::kAll}) {
    const auto r = open(sample_trace(), check);
    ASSERT_TRUE(r);
    const TraceHeader h = sample_header();
    EXPECT_EQ(r->header().writer, h.writer);
    EXPECT_EQ(r->header().engine, h.engine);
    EXPECT_EQ(r->header().config, h.config);
    EXPECT_EQ(r->header().boot, h.boot);
    EXPECT_EQ(r->header().append, h.append);
    EXPECT_EQ(r->header().keyframe_interval, h.keyframe_interval);
    ASSERT_TRUE(r->end());
    EXPECT_EQ(*r->end(), sample_end());
    EXPECT_FALSE(r->truncated());
    EXPECT_EQ(r->truncation(), "");
    EXPECT_EQ(r->last_at().value, 62u);
    ASSERT_EQ(r->keyframes().size(), 2u);
    EXPECT_EQ(r->keyframes()[1].first_event, 8u);
    EXPECT_EQ(r->keyframes()[1].at.value, 42u);
    EXPECT_EQ(*r->snapshot(r->keyframes()[0]), sample_snapshot(1, 3, 0));
    EXPECT_EQ(*r->snapshot(r->keyframes()[1]), sample_snapshot(2, 2, 8));
    for (size_t k = 0; k < 2; ++k) {
      EventCursor cursor(*r, r->keyframes()[k]);
      const auto events = sample_events();
      for (size_t i = r->keyframes()[k].first_event; i < events.size(); ++i, cursor.pop()) {
        ASSERT_TRUE(cursor.peek());
        EXPECT_EQ(*cursor.peek(), events[i]);
        EXPECT_EQ(cursor.index(), i);
      }
      EXPECT_FALSE(cursor.peek());
      EXPECT_FALSE(cursor.error());
    }
  }
}

TEST(Trace, PagesComeBackInOrderAndZeroPagesAsSuch) {
  const auto r = open(sample_trace());
  std::vector<std::pair<uint64_t, std::vector<uint8_t>>> got, expected{{7, {}}, {8, sample_page(9)}};
  auto done = r->pages(r->keyframes()[1], [&](uint64_t index, const uint8_t* p) -> Result<void> {
    got.emplace_back(index, p ? std::vector<uint8_t>(p, p + 4096) : std::vector<uint8_t>());
    return {};
  });
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(got, expected);
}

TEST(Trace, EqualRunsGiveEqualFiles) { EXPECT_EQ(sample_trace(), sample_trace()); }

TEST(Trace, ManyFramesKeepTheirOrder) {
  std::vector<uint8_t> bytes;
  auto w = TraceWriter::create(std::make_unique<MemorySink>(bytes));
  w->header(sample_header());
  auto page = sample_page(5);
  for (uint32_t i = 0; i < 3000; ++i) {
    store_le<uint32_t>(page.data(), i);
    w->page(i * 3, page.data());
  }
  w->snapshot(sample_snapshot(1, 3000, 0), {0});
  constexpr uint64_t kEvents = 400'000;
  for (uint64_t i = 0; i < kEvents; ++i)
    w->access(EventKind::kMmioWrite, {0, {i * 17}}, 0xfee00000 + i % 64 * 16, 4, i * 0x9e3779b97f4a7c15);
  ASSERT_TRUE(w->finish({RunEnd::kPowerOff, kEvents, kEvents, kEvents * 17, {1, 2}, 0, ""}).ok());
  for (const Check check : {Check::kHeads, Check::kAll}) {
    const auto r = open(bytes, check);
    ASSERT_TRUE(r);
    EXPECT_GT(r->frames().size(), 20u);
    uint32_t pages = 0;
    ASSERT_TRUE(r->pages(r->keyframes()[0], [&](uint64_t index, const uint8_t* p) -> Result<void> {
                   EXPECT_EQ(index, pages * 3);
                   EXPECT_EQ(load_le<uint32_t>(p), pages++);
                   return {};
                 }).ok());
    EXPECT_EQ(pages, 3000u);
    EventCursor cursor(*r, r->keyframes()[0]);
    uint64_t n = 0;
    for (; const Event* e = cursor.peek(); cursor.pop(), ++n) ASSERT_EQ(e->value, n * 0x9e3779b97f4a7c15);
    EXPECT_EQ(n, kEvents);
  }
}

TEST(Trace, EveryFlippedBitIsRefusedAndThePlaceIsNamed) {
  const auto whole = sample_trace();
  for (const Check check : {Check::kHeads, Check::kAll}) {
    for (size_t i = 0; i < whole.size(); ++i) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        auto bytes = whole;
        bytes[i] ^= static_cast<uint8_t>(1 << bit);
        const auto r = read_all(bytes, check);
        ASSERT_FALSE(r.ok()) << "byte " << i << " bit " << bit << " was accepted";
        EXPECT_EQ(r.error().kind, ErrorKind::kBadInput);
        EXPECT_NE(r.error().message.find("sample: at byte "), std::string::npos) << r.error().message;
      }
    }
  }
}

TEST(Trace, CutAtAnyByteWhatIsWholeIsReadAndTheRestIsReported) {
  const auto whole = sample_trace();
  const std::string all = *read_all(whole, Check::kAll);
  const auto full = open(whole);
  const uint64_t first_state_ends = full->frames()[full->keyframes()[0].frame + 1].offset;
  std::string before;
  for (size_t len = 0; len < whole.size(); ++len) {
    const std::vector<uint8_t> bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(len));
    const auto r = read_all(bytes, Check::kAll);
    if (len < first_state_ends) {
      ASSERT_FALSE(r.ok()) << len;
      EXPECT_EQ(r.error().kind, ErrorKind::kBadInput);
      continue;
    }
    ASSERT_TRUE(r.ok()) << "cut at " << len << ": " << r.error().message;
    const auto reader = open(bytes);
    EXPECT_TRUE(reader->truncated());
    EXPECT_NE(reader->truncation().find(std::to_string(len)), std::string::npos) << reader->truncation();
    // Never less than what a shorter file gave; keyframes are listed before events, so compare lengths.
    EXPECT_GE(r->size(), before.size());
    before = *r;
  }
  EXPECT_EQ(before, all);  // only the trailer was missing at the last cut
}

TEST(Trace, AKilledRecordersFileIsReadUpToItsLastFrame) {
  const std::string path = temporary("killed");
  {
    auto w = TraceWriter::create(path, false).take();
    w->header(sample_header());
    w->snapshot(sample_snapshot(1, 0, 0), {0});
    for (const Event& e : sample_events()) w->event(e);
    w->flush_events();
    // The writer goes without finish(), as if the process had been killed after the thread's last write.
  }
  auto r = TraceReader::open(path, Check::kAll);
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_TRUE((*r)->truncated());
  EXPECT_EQ((*r)->event_count(), sample_events().size());
  EXPECT_FALSE((*r)->end());
  std::remove(path.c_str());
}

TEST(Trace, AFileWithoutAStateIsNotLeftBehind) {
  const std::string path = temporary("empty");
  {
    auto w = TraceWriter::create(path, false).take();
    w->header(sample_header());
  }
  EXPECT_FALSE(std::ifstream(path).good());
}

TEST(Trace, AnExistingFileIsKeptUnlessForced) {
  const std::string path = temporary("exists");
  std::ofstream(path) << "precious";
  auto refused = TraceWriter::create(path, false);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::kHost);
  EXPECT_NE(refused.error().message.find("--force"), std::string::npos);
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "precious");
  {
    auto w = TraceWriter::create(path, true);
    ASSERT_TRUE(w.ok());
    EXPECT_TRUE(write_sample(**w).ok());
  }
  EXPECT_TRUE(TraceReader::open(path, Check::kAll).ok());
  std::remove(path.c_str());
}

TEST(Trace, AFullDiskIsOneErrorAndLeavesAValidFile) {
  const size_t whole = sample_trace().size();
  const auto full = open(sample_trace());
  const uint64_t first_state_ends = full->frames()[full->keyframes()[0].frame + 1].offset;
  for (size_t limit = kPreambleBytes; limit < whole; limit += 13) {
    std::vector<uint8_t> bytes;
    Result<void> done;
    {
      auto w = TraceWriter::create(std::make_unique<MemorySink>(bytes, limit));
      done = write_sample(*w);
      EXPECT_TRUE(w->failed());
    }
    ASSERT_FALSE(done.ok()) << limit;
    EXPECT_EQ(done.error().kind, ErrorKind::kHost);
    EXPECT_NE(done.error().message.find("No space left"), std::string::npos) << done.error().message;
    if (limit < first_state_ends) {
      EXPECT_TRUE(bytes.empty());
      continue;
    }
    const auto r = open(bytes, Check::kAll);
    ASSERT_TRUE(r);
    EXPECT_EQ(r->whole_bytes(), bytes.size()) << "no part of a frame is left";
  }
}

// Any head with right checksums but hostile content must be refused without reading or allocating what it claims.
RC_GTEST_PROP(Trace, HostileHeadsAreRefused, ()) {
  auto bytes = sample_trace();
  const auto r = open(bytes);
  const uint32_t which = *rc::gen::inRange<uint32_t>(0, static_cast<uint32_t>(r->frames().size()));
  FrameInfo f = r->frames()[which];
  const uint64_t value = *rc::gen::oneOf(rc::gen::arbitrary<uint64_t>(),
                                         rc::gen::element<uint64_t>(0, 1, ~uint64_t{0}, 0xffffffff, 0x7fffffff));
  switch (*rc::gen::inRange(0, 7)) {
    case 0: f.head.stored_bytes = static_cast<uint32_t>(value); break;
    case 1: f.head.raw_bytes = static_cast<uint32_t>(value); break;
    case 2: f.head.count = static_cast<uint32_t>(value); break;
    case 3: f.head.first_event = value; break;
    case 4: f.head.sequence = static_cast<uint32_t>(value); break;
    case 5: f.head.compressed = !f.head.compressed; break;
    default: f.head.kind = static_cast<FrameKind>(value % 6 + 1); break;
  }
  RC_PRE(!(f.head == r->frames()[which].head));
  store_frame_head(f.head, std::span<uint8_t, kFrameHeadBytes>(bytes.data() + f.offset, kFrameHeadBytes));
  // A length beyond the file looks like a cut; all else is refused, as the index knows better.
  const auto read = read_all(bytes, Check::kAll);
  if (read.ok()) RC_ASSERT(open(bytes, Check::kAll)->truncated());
  RC_ASSERT(!read_all(bytes, Check::kHeads).ok());
}

RC_GTEST_PROP(Trace, AnyBytesAfterThePreambleAreHandled, (std::vector<uint8_t> tail)) {
  const auto preamble = make_preamble();
  std::vector<uint8_t> bytes(preamble.begin(), preamble.end());
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  RC_ASSERT(!read_all(bytes, Check::kHeads).ok());
  RC_ASSERT(!read_all(bytes, Check::kAll).ok());
}

TEST(Trace, TheHeaderExplainsTheFieldsOfEveryState) {
  const auto lines = describe_schemas(open(sample_trace())->header_payload());
  const std::vector<std::string> expected{
      "sample.count unsigned 4 bytes ticks", "sample.level signed 2 bytes",
      "sample.armed bool 1 bytes",           "sample.mode unsigned 1 bytes",
      "sample.fifo[4] unsigned 1 bytes",     "sample.added unsigned 4 bytes since 2"};
  EXPECT_EQ(lines, expected);
}

TEST(Snapshot, LoadingIsAllOrNothingAndNamesTheChunk) {
  SampleModel::State state{.count = 77};
  const ChunkRef ref{&schema_of<SampleModel>(), 0, true, &state};
  Snapshot s = sample_snapshot(5, 0, 0);
  ASSERT_TRUE(load_chunks(s.chunks, {&ref, 1}).ok());
  EXPECT_EQ(state.count, 5u);

  auto refused = [&](std::vector<StoredChunk> chunks, const char* why) {
    const auto done = load_chunks(chunks, {&ref, 1});
    ASSERT_FALSE(done.ok());
    EXPECT_NE(done.error().message.find(why), std::string::npos) << done.error().message;
    EXPECT_EQ(state.count, 5u);
  };
  state.count = 5;
  auto chunks = sample_snapshot(9, 0, 0).chunks;
  refused({}, "'sample' is missing");
  refused({chunks[0], chunks[0]}, "'sample' occurs twice");
  auto unknown = chunks[0];
  unknown.name = "vnew";
  unknown.instance = 3;
  refused({chunks[0], unknown}, "'vnew.3' is unknown");
  auto damaged = chunks[0];
  damaged.payload.pop_back();
  refused({damaged}, "'sample'");
  unknown.critical = false;
  EXPECT_TRUE(load_chunks(std::vector{chunks[0], unknown}, {&ref, 1}).ok());
  EXPECT_EQ(state.count, 9u);
}

TEST(Snapshot, ADifferenceIsNamedByItsField) {
  SampleModel::State state{.count = 6, .level = -5, .armed = true, .fifo = {1, 2, 3, 9}};
  const ChunkRef ref{&schema_of<SampleModel>(), 0, true, &state};
  const auto lines = diff_chunks(sample_snapshot(5, 0, 0).chunks, {&ref, 1}, 10);
  EXPECT_EQ(lines,
            (std::vector<std::string>{"sample.count: expected 5, found 6", "sample.fifo[3]: expected 4, found 9"}));
}

// In a file, what this build does not know is the file's fault: refused by name when it is read, not met later.
TEST(TraceHeader, OfAMachineThatThisBuildCannotMakeIsRefused) {
  const auto refusal = [](auto change) {
    TraceHeader h;
    h.schema_payload = {0x80};  // an empty array
    h.engine = "deterministic";
    change(h);
    const auto decoded = decode_header(encode_header(h));
    return decoded.ok() ? std::string("taken") : decoded.error().message;
  };
  EXPECT_EQ(refusal([](TraceHeader&) {}), "taken");
  EXPECT_THAT(refusal([](TraceHeader& h) { h.config.cpu_model = "dejavm-v9"; }),
              testing::HasSubstr("CPU model 'dejavm-v9'"));
  EXPECT_THAT(refusal([](TraceHeader& h) { h.engine = "steam"; }), testing::HasSubstr("engine 'steam'"));
  EXPECT_THAT(refusal([](TraceHeader& h) { h.config.vcpus = 0; }), testing::HasSubstr("0 vCPUs"));
  EXPECT_THAT(refusal([](TraceHeader& h) { h.config.vcpus = 65; }), testing::HasSubstr("65 vCPUs"));
  EXPECT_EQ(refusal([](TraceHeader& h) { h.config.vcpus = 64; }), "taken");
  EXPECT_THAT(refusal([](TraceHeader& h) {
                h.config.vcpus = 2;
                h.config.slice = 0;
              }),
              testing::HasSubstr("slices of 0"));
  EXPECT_THAT(refusal([](TraceHeader& h) {
                h.config.vcpus = 2;
                h.config.schedule = {.kind = ScheduleKind::kPct, .depth = 65};
              }),
              testing::HasSubstr("depth 65"));
  EXPECT_EQ(refusal([](TraceHeader& h) {
              h.config.vcpus = 2;
              h.config.schedule = {.kind = ScheduleKind::kPct, .seed = 4, .depth = 3, .length = 1000};
            }),
            "taken");
  EXPECT_EQ(refusal([](TraceHeader& h) {
              h.config.vcpus = 2;
              h.config.schedule = {.kind = ScheduleKind::kRandom, .from = 1'000'000, .seed = 4};
            }),
            "taken");
  EXPECT_EQ(refusal([](TraceHeader& h) {
              h.config.vcpus = 2;
              h.config.schedule = {.kind = ScheduleKind::kList, .switches = {{.vcpu = 1, .next = 0, .executed = 7}}};
            }),
            "taken");
  EXPECT_THAT(refusal([](TraceHeader& h) {
                h.config.vcpus = 2;
                h.config.schedule = {.kind = ScheduleKind::kList, .switches = {{.vcpu = 2, .next = 0, .executed = 7}}};
              }),
              testing::HasSubstr("vCPU 2; the machine has 2"));
  EXPECT_THAT(refusal([](TraceHeader& h) {
                h.config.vcpus = 2;
                h.config.schedule = {.kind = ScheduleKind::kList};
              }),
              testing::HasSubstr("0 numbers in a schedule"));
  EXPECT_THAT(refusal([](TraceHeader& h) { h.config.memory_bytes = uint64_t{1} << 41; }),
              testing::HasSubstr("memory of"));
  EXPECT_THAT(refusal([](TraceHeader& h) { h.config.memory_bytes = 4097; }), testing::HasSubstr("memory of 4097"));
}

std::vector<Event> all_events(const TraceReader& trace) {
  std::vector<Event> out;
  EventCursor cursor(trace, trace.keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop()) out.push_back(*e);
  EXPECT_FALSE(cursor.error());
  return out;
}

// sample_v1.dvt was written by the last build of version 1.
TEST(Trace, ATraceOfVersion1HasTheSameEventsAndUpgradesToTheSameFile) {
  auto old = TraceReader::open(DEJAVM_SAMPLE_V1 ".dvt", TraceReader::Check::kAll);
  ASSERT_TRUE(old.ok()) << old.error().message;
  EXPECT_EQ((*old)->version(), 1u);
  EXPECT_EQ(all_events(**old), sample_events(1));
  Bytes upgraded;
  auto writer = TraceWriter::create(std::make_unique<MemorySink>(upgraded));
  ASSERT_TRUE(copy_trace(**old, *writer, TraceParts::kAll).ok());
  EXPECT_EQ(upgraded, sample_trace(1));
}

}  // namespace
}  // namespace dejavm
