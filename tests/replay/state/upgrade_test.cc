// A model through three versions: what older builds wrote is read, what newer ones add is refused by name.
#include <gtest/gtest.h>

#include "replay/state/state_codec.h"
#include "replay/state/upgrade.h"

namespace dejavm {
namespace {

// Version 1: "rate", a frequency in Hz, and "mode".
struct Old {
  static constexpr std::string_view kName = "clockgen";
  static constexpr uint16_t kVersion = 1;
  struct State {
    uint64_t rate = 0;
    uint64_t mode = 0;
    static constexpr auto fields() { return std::tuple{field("rate", &State::rate), field("mode", &State::mode)}; }
  };
};
// Version 2 adds "phase"; version 3 renames "rate" to "period_ns" and gives it another meaning.
struct New {
  static constexpr std::string_view kName = "clockgen";
  static constexpr uint16_t kVersion = 3;
  struct State {
    uint64_t period_ns = 0;
    uint64_t mode = 0;
    uint64_t phase = 0;
    static constexpr auto fields() {
      return std::tuple{field("period_ns", &State::period_ns).range(1, 1'000'000'000), field("mode", &State::mode),
                        field("phase", &State::phase).since(2, 7)};
    }
  };
};

bool rate_to_period(CborFields& f) {
  const auto rate = f.find("rate");
  if (rate == f.end() || !std::holds_alternative<uint64_t>(rate->second.v)) return false;
  const uint64_t hz = std::get<uint64_t>(rate->second.v);
  if (hz == 0) return false;
  f.erase(rate);
  f.emplace("period_ns", CborValue{uint64_t{1'000'000'000} / hz});
  return true;
}
constexpr Upgrade kUpgrades[] = {{"clockgen", 3, rate_to_period}};

Result<void> read(const Bytes& payload, uint16_t version, New::State& s) {
  return decode_state(schema_of<New>(), 0, version, payload, &s, kUpgrades);
}

TEST(Upgrade, AnOlderStateIsReadAsANewerOne) {
  const Old::State old{.rate = 1000, .mode = 5};
  New::State s;
  const auto done = read(encode_state(schema_of<Old>(), &old), 1, s);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(s.period_ns, 1'000'000u);
  EXPECT_EQ(s.mode, 5u);
  EXPECT_EQ(s.phase, 7u) << "the default of a field that came later";
}

TEST(Upgrade, WhatItsVersionNeverWroteIsRefusedByName) {
  const Old::State old{.rate = 0, .mode = 5};
  New::State s{.period_ns = 42};
  const auto done = read(encode_state(schema_of<Old>(), &old), 1, s);
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().message.find("clockgen"), std::string::npos);
  EXPECT_EQ(s.period_ns, 42u) << "untouched";
}

TEST(Upgrade, ThePresentVersionIsNotUpgraded) {
  const New::State s{.period_ns = 10, .mode = 1, .phase = 7};
  const Bytes payload = encode_state(schema_of<New>(), &s);
  New::State back;
  ASSERT_TRUE(read(payload, 3, back).ok());
  EXPECT_EQ(back.period_ns, 10u);
  // Written by a version to come that uses no field that this one lacks.
  EXPECT_TRUE(read(payload, 9, back).ok());
}

TEST(Upgrade, AFieldOfAVersionToComeIsRefusedByName) {
  const New::State s{.period_ns = 10, .mode = 1, .phase = 8};
  Old::State back;
  auto done = decode_state(schema_of<Old>(), 0, 3, encode_state(schema_of<New>(), &s), &back);
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().message.find("'phase'"), std::string::npos) << done.error().message;
  EXPECT_NE(done.error().message.find("version 3; this build knows version 1"), std::string::npos)
      << done.error().message;
}

TEST(Upgrade, ValuesSurviveParsingAndWriting) {
  const New::State s{.period_ns = ~uint64_t{0} >> 1, .mode = 1, .phase = 8};
  const Bytes payload = encode_state(schema_of<New>(), &s);
  auto value = parse_value(payload);
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(write_value(*value), payload);
  EXPECT_FALSE(parse_value(std::span(payload).first(payload.size() - 1)).ok());
}

}  // namespace
}  // namespace dejavm
