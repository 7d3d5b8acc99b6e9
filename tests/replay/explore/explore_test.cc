// The parts of a search for schedules: files of switches, tests of runs, copies of the process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <set>

#include "replay/explore/bad_test.h"
#include "replay/explore/copies.h"
#include "replay/explore/explore.h"
#include "replay/explore/schedule_file.h"

namespace dejavm {
namespace {

using namespace std::chrono_literals;

TEST(ScheduleFile, IsWhatItWrites) {
  const ScheduleFile file{.slice = 77, .switches = {{.vcpu = 1, .next = 0, .executed = 5}, {.vcpu = 63, .next = 63}}};
  const auto again = parse_schedule("f", to_text(file));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->slice, 77u);
  EXPECT_EQ(again->switches, file.switches);
}

TEST(ScheduleFile, TakesCommentsBlanksAndAnEndWithoutALine) {
  const auto file = parse_schedule("f", "# turns\n\n \t\n 1\t20   3 # here\r\n0 18446744073709551615 1");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->slice, kDefaultSlice);
  EXPECT_EQ(file->switches, (std::vector<ScheduledSwitch>{{.vcpu = 1, .next = 3, .executed = 20},
                                                          {.vcpu = 0, .next = 1, .executed = ~0ull}}));
}

TEST(ScheduleFile, WhatIsNoScheduleIsRefusedByItsLine) {
  for (const char* text : {"x", "1 2", "1 2 3 4", "64 1 0", "0 1 64", "-1 1 0", "0 18446744073709551616 0", "slice 0",
                           "slice", "slice 5 5", "slice 1099511627777", "0 1 1\nslice 5"}) {
    const auto file = parse_schedule("f", std::string("# one\n") + text);
    ASSERT_FALSE(file.ok()) << text;
    EXPECT_THAT(file.error().message,
                testing::HasSubstr(std::string(text).find('\n') == std::string::npos ? "f: line 2: " : "f: line 3: "));
    EXPECT_EQ(file.error().kind, ErrorKind::kBadInput);
  }
  std::string many;
  for (size_t n = 0; n <= kMaxSwitches; ++n) many += "0 1 1\n";
  EXPECT_THAT(parse_schedule("f", many).error().message, testing::HasSubstr("more than 250000"));
}

RunSummary ended(RunEnd end, uint8_t debug_exit = 0) {
  RunSummary s;
  s.end = end;
  s.debug_exit = debug_exit;
  s.detail = "why";
  return s;
}

std::vector<BadTest> tests_of(std::initializer_list<const char*> all) {
  std::vector<BadTest> out;
  for (const char* text : all) out.push_back(BadTest::parse(text).take());
  return out;
}

TEST(BadRun, IsJudgedByHowItEnded) {
  const auto judge = [](const char* test, const RunSummary& s, bool limit = false) {
    const auto tests = tests_of({test});
    return why_bad(tests, WatchedConsole(tests), s, limit);
  };
  EXPECT_EQ(judge("exit", ended(RunEnd::kPowerOff)), "");
  EXPECT_EQ(judge("exit", ended(RunEnd::kHaltedForever)), "");
  EXPECT_EQ(judge("exit", ended(RunEnd::kDebugExit, 1)), "") << "a write of 0";
  EXPECT_EQ(judge("exit", ended(RunEnd::kDebugExit, 3)), "exit: status 3");
  EXPECT_EQ(judge("exit", ended(RunEnd::kTripleFault)), "exit: why");
  EXPECT_EQ(judge("hang", ended(RunEnd::kHaltedForever)), "hang: why");
  EXPECT_EQ(judge("hang", ended(RunEnd::kUserStop)), "");
  EXPECT_EQ(judge("hang", ended(RunEnd::kUntil), true), "hang: it has not ended after 0 instructions");
  EXPECT_EQ(judge("exit", ended(RunEnd::kUntil), true), "");
  EXPECT_EQ(judge("panic", ended(RunEnd::kTripleFault)), "");
}

TEST(BadRun, IsJudgedByLinesOfTheConsole) {
  WatchedConsole console(tests_of({"console:^lost [0-9]+$", "panic"}));
  const auto print = [&](std::string_view text) {
    console.serial({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  print("nothing lost 5\r\nlo");
  EXPECT_EQ(console.matched(), nullptr);
  print("st 5\r");
  EXPECT_EQ(console.matched(), nullptr) << "not at the end of a line yet";
  print("\nKernel panic - not syncing\n");
  ASSERT_NE(console.matched(), nullptr);
  EXPECT_EQ(console.matching_line(), "lost 5") << "the first";
  console.forget();
  EXPECT_EQ(console.matched(), nullptr);
  EXPECT_EQ(console.text(), "");
  print("[    1.0] Oops: 0002 [#1]");
  console.finish_line();
  ASSERT_NE(console.matched(), nullptr);
  EXPECT_EQ(console.matched()->kind(), BadKind::kPanic);
}

TEST(Copies, AnswerEachForItself) {
  Copies copies(10s);
  const std::string large(300'000, 'x');
  for (uint64_t n = 0; n < 4; ++n) copies.start(n, [&] { return std::to_string(n) + large; });
  std::set<uint64_t> seen;
  while (copies.running() > 0) {
    const auto done = copies.wait(10s);
    ASSERT_TRUE(done && done->answer);
    EXPECT_EQ(*done->answer, std::to_string(done->key) + large);
    seen.insert(done->key);
  }
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_FALSE(copies.wait(10s));
}

TEST(Copies, OneThatFailsIsToldOf) {
  Copies copies(10s);
  copies.start(1, []() -> std::string {
    std::raise(SIGKILL);
    return "not reached";
  });
  auto done = copies.wait(10s);
  ASSERT_TRUE(done);
  EXPECT_FALSE(done->answer);
  EXPECT_EQ(done->fault, "it was ended by Killed");
  copies.start(2, []() -> std::string { _exit(3); });
  EXPECT_EQ(copies.wait(10s)->fault, "it ended with status 3");
}

TEST(Copies, OneThatTakesTooLongIsEnded) {
  Copies copies(1ms);
  copies.start(7, []() -> std::string {
    for (;;) pause();
  });
  EXPECT_FALSE(copies.wait(0ms));
  const auto done = copies.wait(60s);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->fault, "it ran into the limit of the host's time");
}

TEST(Seeds, ChooseTheTurns) {
  ExploreOptions any;
  std::set<uint64_t> slices;
  std::set<uint32_t> depths;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const SeedTurns turns = turns_of_seed(any, seed, 1234);
    EXPECT_EQ(turns.schedule.seed, seed);
    slices.insert(turns.slice);
    if (turns.schedule.kind != ScheduleKind::kPct) continue;
    EXPECT_EQ(turns.schedule.length, 1234u);
    depths.insert(turns.schedule.depth);
  }
  EXPECT_EQ(slices.size(), 6u);
  EXPECT_EQ(depths, (std::set<uint32_t>{2, 3, 4}));
  const ExploreOptions given{.how = {.kind = ScheduleKind::kPct, .depth = 5, .length = 9}, .slice = 33};
  const SeedTurns turns = turns_of_seed(given, 3, 1234);
  EXPECT_EQ(turns.slice, 33u);
  EXPECT_EQ(turns.schedule, (ScheduleConfig{.kind = ScheduleKind::kPct, .seed = 3, .depth = 5, .length = 9}));
}

}  // namespace
}  // namespace dejavm
