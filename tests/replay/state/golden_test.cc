// The gate must fail, and say why: for any flipped byte of a golden, and for any change of a model that a golden can
// show.
#include "replay/state/golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "devices/catalog.h"
#include "replay/state/state_codec.h"
#include "replay/state/state_file.h"
#include "tests/embed/watchdog.h"
#include "tests/replay/folder.h"

namespace dejavm {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

void write(const Folder& f, const std::string& name, std::string_view text) {
  fs::create_directories(fs::path(f / name).parent_path());
  std::ofstream(f / name, std::ios::binary) << text;
}

std::string read(const Folder& f, const std::string& name) {
  std::ifstream in(f / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> problems(const Folder& f, const DeviceModel& m, std::span<const Upgrade> upgrades = {}) {
  std::vector<std::string> out;
  for (const GoldenRow& r : check_golden_devices(f.path, {&m, 1}, upgrades))
    out.insert(out.end(), r.problems.begin(), r.problems.end());
  return out;
}

void update(const Folder& f, const DeviceModel& m, std::span<const Upgrade> upgrades = {}) {
  auto files = update_golden_devices(f.path, "test 1", {&m, 1}, upgrades);
  ASSERT_TRUE(files.ok()) << files.error().message;
  ASSERT_TRUE(write_goldens(f.path, *files).ok());
}

// Every model of ours: each byte of each of its states flipped in one bit.
class FlippedByte : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Models, FlippedByte, testing::Range(size_t{0}, device_catalog().size()),
                         [](const auto& p) { return std::string(device_catalog()[p.param].name()); });

// Whatever the memory held before.
TEST_P(FlippedByte, AStateOfItsOwnBeginsAsZeros) {
  const Schema& schema = *device_catalog()[GetParam()].schema;
  for (int n = 0; n < 100; ++n) {
    std::vector<std::vector<uint8_t>>(4, std::vector<uint8_t>(schema.size + 8, 0xbe));
    const StateBuffer state(schema);
    const auto* bytes = static_cast<const uint8_t*>(state.data());
    ASSERT_EQ(std::count(bytes, bytes + schema.size, 0), static_cast<std::ptrdiff_t>(schema.size));
  }
}

TEST_P(FlippedByte, IsSeenAndInAStateTheFieldIsNamed) {
  const DeviceModel& m = device_catalog()[GetParam()];
  const std::string name = "devices/" + std::string(m.name());
  for (const char* golden : {"reset", "busy-1"}) {
    Folder one;
    const std::string version = "/v" + std::to_string(m.schema->version) + "/";
    fs::create_directories(one.path + "/" + name + version);
    for (const std::string& file : {"/" + std::string(golden) + ".script", version + std::string(golden) + ".state",
                                    version + std::string(golden) + ".json"})
      fs::copy(DEJAVM_GOLDEN_DIR "/" + name + file, one.path + "/" + name + file);
    ASSERT_THAT(problems(one, m), testing::IsEmpty());
    const std::string state = name + version + golden + ".state", good = read(one, state);
    const auto decoded = decode_state_file({reinterpret_cast<const uint8_t*>(good.data()), good.size()});
    ASSERT_TRUE(decoded.ok());
    const Bytes& payload = decoded->chunks[0].payload;
    const size_t begin = good.find(std::string(payload.begin(), payload.end())), end = begin + payload.size();
    auto names_a_field = [&](const std::string& text) {
      return std::ranges::any_of(m.schema->fields, [&](const FieldInfo& x) {
        return text.find("field '" + std::string(x.name)) != std::string::npos;
      });
    };
    const size_t step = good.size() / 2000 * 20 + 1;  // of a large state some bytes stand for all
    for (size_t i = 0; i < good.size(); i += step) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 1 << i % 8);
      write(one, state, bad);
      const auto found = problems(one, m);
      ASSERT_FALSE(found.empty()) << golden << ", byte " << i;
      // The map's head is no field's.
      if (i > begin && i < end) {
        ASSERT_THAT(found, Contains(testing::Truly(names_a_field))) << golden << ", byte " << i;
      }
    }
  }
}

// A field of the watchdog's state, in a state derived from it.
template <class S, class M>
constexpr Field<S, M> of(std::string_view name, M other::Watchdog::State::*member) {
  return field<S, M>(name, member);
}

// What a change of the model does, and what a reader of the table is told.
struct Renamed : other::Watchdog {
  struct State : other::Watchdog::State {
    static constexpr auto fields() {
      return std::tuple{of<State>("now_ns", &State::now_ns).unit("ns"),
                        of<State>("bites_at_ns", &State::bites_at_ns).unit("ns"),
                        of<State>("interval_ms", &State::period_ms).range(1, 65535).unit("ms"),
                        of<State>("enabled", &State::enabled),
                        of<State>("biting", &State::biting),
                        of<State>("reserved", &State::reserved).range(0, 0)};
    }
  };
};
struct Reordered : other::Watchdog {
  struct State : other::Watchdog::State {
    static constexpr auto fields() {
      return std::tuple{of<State>("now_ns", &State::now_ns).unit("ns"),
                        of<State>("bites_at_ns", &State::bites_at_ns).unit("ns"),
                        of<State>("period_ms", &State::period_ms).range(1, 65535).unit("ms"),
                        of<State>("biting", &State::biting),
                        of<State>("enabled", &State::enabled),
                        of<State>("reserved", &State::reserved).range(0, 0)};
    }
  };
};
struct OtherDefault : other::Watchdog {
  static void reset(State& s) {
    s = State{};
    s.period_ms = 1001;
  }
};
struct OtherAnswer : other::Watchdog {
  static uint64_t read(State& s, Nanos now, uint64_t offset, unsigned size) {
    return Watchdog::read(s, now, offset, size) + (offset == 8);
  }
};
// Version 2: a field that version 1 lacks, and one by another name.
struct Next : other::Watchdog {
  static constexpr uint16_t kVersion = 2;
  struct State : other::Watchdog::State {
    uint64_t bites = 0;
    static constexpr auto fields() {
      return std::tuple{of<State>("now_ns", &State::now_ns).unit("ns"),
                        of<State>("bites_at_ns", &State::bites_at_ns).unit("ns"),
                        of<State>("timeout_ms", &State::period_ms).range(1, 65535).unit("ms"),
                        of<State>("enabled", &State::enabled),
                        of<State>("biting", &State::biting),
                        of<State>("reserved", &State::reserved).range(0, 0),
                        field("bites", &State::bites).since(2, 0)};
    }
  };
  static void reset(State& s) { s = State{}; }
};
// The same, but the name stays: what version 1 can read.
struct NextSameName : other::Watchdog {
  static constexpr uint16_t kVersion = 2;
  struct State : other::Watchdog::State {
    uint64_t bites = 0;
    static constexpr auto fields() {
      return std::tuple_cat(
          std::tuple{of<State>("now_ns", &State::now_ns), of<State>("bites_at_ns", &State::bites_at_ns),
                     of<State>("period_ms", &State::period_ms), of<State>("enabled", &State::enabled),
                     of<State>("biting", &State::biting), of<State>("reserved", &State::reserved)},
          std::tuple{field("bites", &State::bites).since(2, 0)});
    }
  };
};

template <class M>
DeviceModel variant() {
  DeviceModel m = other::watchdog_model();
  const DeviceModel v = device_model<M>({.registers = m.registers, .line_names = m.line_names, .idle_events = 1});
  return v;
}

class Gate : public testing::Test {
 protected:
  Gate() {
    write(f, "devices/watchdog/waiting.script",
          "write 4 4 1500\nwrite 0 4 1\nwait 333000000\nsave\nread 8 4\nwait 1167000000\nread 8 4\n");
    write(f, "devices/watchdog/reset.script", "save\n");
    update(f, model);
  }
  Folder f;
  DeviceModel model = other::watchdog_model();
};

TEST_F(Gate, SaysWhatItWouldChange) {
  write(f, "devices/watchdog/reset.script", "wait 1000000\nsave\n");
  std::filesystem::remove(f.path + "/devices/watchdog/v1/waiting.json");
  auto again = update_golden_devices(f.path, "test 1", {&model, 1}, {});
  ASSERT_TRUE(again.ok());
  std::map<std::string, std::vector<std::string>> changes;
  for (const GoldenFile& file : *again) changes[file.path] = file.changes;
  const std::vector<std::string> kNew = {"new"};
  EXPECT_EQ(changes["devices/watchdog/v1/waiting.json"], kNew);
  EXPECT_THAT(changes["devices/watchdog/v1/reset.state"], testing::Not(testing::AnyOf(testing::IsEmpty(), kNew)));
}

TEST_F(Gate, IsQuietWithoutAChange) {
  EXPECT_THAT(problems(f, model), testing::IsEmpty());
  auto again = update_golden_devices(f.path, "test 2", {&model, 1}, {});
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->empty()) << again->front().path;
}

TEST_F(Gate, ARenamedFieldIsNamed) { EXPECT_THAT(problems(f, variant<Renamed>()), Contains(HasSubstr("'period_ms'"))); }

TEST_F(Gate, AReorderedFieldIsNamed) {
  EXPECT_THAT(problems(f, variant<Reordered>()),
              Contains(AllOf(HasSubstr("watchdog.enabled"), HasSubstr("watchdog.biting"))));
}

TEST_F(Gate, AChangedDefaultIsNamed) {
  EXPECT_THAT(problems(f, variant<OtherDefault>()), Contains(AllOf(HasSubstr("field 'period_ms'"), HasSubstr("1001"))));
}

TEST_F(Gate, AChangedAnswerIsShown) {
  EXPECT_THAT(problems(f, variant<OtherAnswer>()),
              Contains(AllOf(HasSubstr("answer 1"), HasSubstr("read 0x8 4 -> 0x48f"), HasSubstr("0x490"))));
}

TEST_F(Gate, MissingAndUnknownFilesAreSeen) {
  ASSERT_TRUE(make_manifest(f.path).ok());
  const GoldenFile manifest = *make_manifest(f.path);
  ASSERT_TRUE(write_goldens(f.path, {&manifest, 1}).ok());
  EXPECT_THAT(check_manifest(f.path, *read_manifest(f.path)).problems, testing::IsEmpty());
  write(f, "devices/watchdog/more.script", "save\n");
  EXPECT_THAT(problems(f, model), Contains(HasSubstr("no golden of version 1 yet")));
  EXPECT_THAT(check_manifest(f.path, *read_manifest(f.path)).problems,
              Contains(HasSubstr("more.script: is not in the manifest")));
  fs::remove(f.path + "/devices/watchdog/more.script");
  fs::remove(f.path + "/devices/watchdog/v1/reset.state");
  EXPECT_THAT(problems(f, model), Contains(HasSubstr("reset.state")));
  EXPECT_THAT(check_manifest(f.path, *read_manifest(f.path)).problems, Contains(HasSubstr("reset.state: is missing")));
  write(f, "manifest.json", "{\"format\": 1}");
  EXPECT_FALSE(read_manifest(f.path).ok());
}

bool period_to_timeout(CborFields& fields) {
  auto node = fields.extract("period_ms");
  if (node.empty()) return false;
  node.key() = "timeout_ms";
  fields.insert(std::move(node));
  return true;
}
constexpr Upgrade kUpgrades[] = {{"watchdog", 2, period_to_timeout}};

TEST_F(Gate, FoldersOfVersionsAreNumbersAndOthersAreUnknown) {
  fs::create_directories(f / "devices/watchdog/v10");
  fs::copy_file(f / "devices/watchdog/v1/reset.json", f / "devices/watchdog/v10/reset.json");
  EXPECT_THAT(problems(f, model), Contains(HasSubstr("10")));
}

TEST_F(Gate, TheNextVersionReadsWhatThisOneWroteAndItsFilesStay) {
  const DeviceModel next = variant<Next>();
  EXPECT_THAT(problems(f, next, kUpgrades), Contains(HasSubstr("run `golden update`")));
  const std::string before = read(f, "devices/watchdog/v1/waiting.state");
  update(f, next, kUpgrades);
  EXPECT_THAT(problems(f, next, kUpgrades), testing::IsEmpty());
  EXPECT_EQ(read(f, "devices/watchdog/v1/waiting.state"), before);
  EXPECT_THAT(read(f, "devices/watchdog/v1/waiting.json"), HasSubstr("\"timeout_ms\": \"1500"));
  // Without the upgrader the old state is refused by name.
  EXPECT_THAT(problems(f, next),
              Contains(AllOf(HasSubstr("does not restore"), HasSubstr("watchdog"), HasSubstr("period_ms"))));
}

TEST_F(Gate, ThisVersionReadsTheNextUnlessANewFieldIsUsed) {
  NextSameName::State s;
  other::Watchdog::State back;
  s.period_ms = 77;
  auto read = [&] {
    return decode_state(schema_of<other::Watchdog>(), 0, 2, encode_state(schema_of<NextSameName>(), &s), &back);
  };
  ASSERT_TRUE(read().ok()) << read().error().message;
  EXPECT_EQ(back.period_ms, 77u);
  s.bites = 1;
  ASSERT_FALSE(read().ok());
  EXPECT_THAT(read().error().message,
              AllOf(HasSubstr("'watchdog'"), HasSubstr("'bites'"), HasSubstr("version 2; this build knows version 1")));
}

// What another program's main() calls: its arguments in any order, its statuses.
TEST_F(Gate, TheProgramTakesItsArgumentsInAnyOrder) {
  const auto status = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "golden");
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    return golden_main(static_cast<int>(arguments.size()), pointers.data(), "test 1", {&model, 1}, {});
  };
  const Folder other;
  EXPECT_EQ(status({"update", "--yes", f.path}), kGoldenDone);
  EXPECT_EQ(status({"check", f.path}), kGoldenDone);
  EXPECT_EQ(status({"check", "--junit", other / "report.xml", f.path}), kGoldenDone);
  EXPECT_THAT(read(other, "report.xml"), HasSubstr("<testsuite"));
  EXPECT_EQ(status({"check", "--junit"}), kGoldenUsage);
  EXPECT_EQ(status({"check", "--what"}), kGoldenUsage);
  EXPECT_EQ(status({"look", f.path}), kGoldenUsage);
  EXPECT_EQ(status({}), kGoldenUsage);
}

TEST(GoldenReport, JUnitEscapesWhatItQuotes) {
  const std::vector<GoldenRow> rows = {{"devices/a/v1/x", "", {"field 'a<b>' & \"c\""}},
                                       {"manifest.json", "3 files", {}}};
  const std::string xml = golden_junit(rows);
  EXPECT_THAT(xml, HasSubstr("tests=\"2\" failures=\"1\""));
  EXPECT_THAT(xml, HasSubstr("classname=\"devices.a.v1\" name=\"x\""));
  EXPECT_THAT(xml, HasSubstr("field 'a&lt;b&gt;' &amp; &quot;c&quot;"));
  EXPECT_THAT(golden_table(rows), HasSubstr("1 of 2 goldens differ"));
}

}  // namespace
}  // namespace dejavm
