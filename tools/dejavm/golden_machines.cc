#include "tools/dejavm/golden_machines.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "replay/record/digest.h"
#include "replay/replay/devices_only.h"
#include "replay/replay/replayer.h"
#include "replay/snapshot/pack.h"
#include "replay/snapshot/restore_snapshot.h"
#include "replay/snapshot/saver.h"
#include "replay/state/describe.h"
#include "replay/state/golden_json.h"
#include "vmm/machine/host.h"

namespace dejavm::cli {
namespace {

namespace fs = std::filesystem;
constexpr size_t kShown = 8;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = fs::temp_directory_path() / "dejavm-golden-XXXXXX";
    if (mkdtemp(pattern.data())) path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Relative paths without the ending, sorted.
std::vector<std::string> names_of(const std::string& folder, const std::string& kind, std::string_view ending) {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(folder + "/" + kind, ignored))
    if (const std::string name = e.path().filename(); name.ends_with(ending))
      out.push_back(kind + "/" + name.substr(0, name.size() - ending.size()));
  std::ranges::sort(out);
  return out;
}

// What is to come of a packed snapshot, unpacked at `path`; what its new save differs in goes to `differences`.
Result<Json> outcome_of_machine(const std::string& path, const std::string& again,
                                std::vector<std::string>& differences) {
  auto restored = restore_file(path, nullptr, {.engine = {}, .verify = true});
  if (!restored) return restored.error();
  const SnapshotHead& head = restored->chain->head();
  Machine& machine = *restored->machine;
  Json out{{"writer", head.writer}, {"instructions", head.retired}, {"digest", to_hex(machine_digest(machine))}};
  if (machine_digest(machine) != head.state.digest)
    differences.push_back("restores to another digest than it was saved with");
  SnapshotHead about = head_for_rewrite(*restored, false);
  about.writer = head.writer;
  Saver saver(machine, std::move(about));
  if (auto done = saver.start(again, {.exits = head.state.exits}); !done) return done.error();
  auto saved = saver.wait();
  if (!*saved) return saved->error();
  auto file = SnapshotFile::open(again);
  if (!file) return file.error();
  if (auto whole = (*file)->verify(); !whole) return whole.error();
  // Heads that are equal have the hashes of equal memory.
  const Bytes before = encode_snapshot_head(head), after = encode_snapshot_head((*file)->head());
  if (!head.delta() && before != after) {
    const auto fields = diff_stored(head.state.chunks, (*file)->head().state.chunks);
    for (size_t i = 0; i < std::min(fields.size(), kShown); ++i)
      differences.push_back(
          fmt::format("field '{}': saved as {}, now {}", fields[i].path, fields[i].before, fields[i].after));
    if (fields.empty()) differences.push_back("saves again to other bytes, although every field is the same");
  }
  out["resaved"] = before == after ? "same" : to_hex(hash128(after));
  NoConsoleInputs inputs;
  const RunEnd end = machine.run(kForever, inputs, machine.board());
  out["end"] = {{"how", name_of(end)},
                {"instructions", machine.position().retired.value},
                {"digest", to_hex(machine_digest(machine))}};
  return out;
}

Result<Json> outcome_of_trace(const std::string& path, bool devices_only) {
  auto trace = TraceReader::open(path, TraceReader::Check::kAll);
  if (!trace) return trace.error();
  Json out{{"writer", (*trace)->header().writer}, {"check", devices_only ? "devices" : "all"}};
  if (devices_only) {
    auto s = replay_devices_only(**trace, nullptr);
    if (!s) return s.error();
    out["end"] = {{"exits", s->exits}, {"answers", s->answers}, {"keyframes", s->keyframes}};
  } else {
    auto s = replay(**trace, nullptr, {});
    if (!s) return s.error();
    if (s->truncated) return Error{ErrorKind::kBadInput, path + ": is cut off"};
    out["end"] = {{"how", name_of(s->end)},
                  {"exits", s->exits},
                  {"instructions", s->instructions},
                  {"digest", to_hex(s->digest)}};
  }
  return out;
}

Result<Json> read_outcome(const std::string& folder, const std::string& name) {
  return read_golden_json(folder, name + ".json");
}

void compare(const Json& expected, const Json& actual, const std::string& prefix, std::vector<std::string>& out) {
  for (const auto& [key, value] : expected.items()) {
    if (!actual.contains(key)) out.push_back(fmt::format("{}{}: was {}, now there is none", prefix, key, value.dump()));
    else if (value.is_object() && actual[key].is_object()) compare(value, actual[key], prefix + key + ".", out);
    else if (actual[key] != value)
      out.push_back(fmt::format("{}{}: was {}, now {}", prefix, key, value.dump(), actual[key].dump()));
  }
  for (const auto& [key, value] : actual.items())
    if (!expected.contains(key)) out.push_back(fmt::format("{}{}: was not there, now {}", prefix, key, value.dump()));
}

// All packed machines, unpacked beside each other, so that deltas find their parents.
Result<void> unpack_all(const std::string& folder, const std::string& to) {
  if (to.empty()) return Error{ErrorKind::kHost, "cannot create a temporary folder"};
  for (const std::string& name : names_of(folder, "machines", ".dvs.zst"))
    if (auto done = unpack(folder + "/" + name + ".dvs.zst", fmt::format("{}/{}.dvs", to, file_name(name)), false);
        !done)
      return done;
  return {};
}

// `outcome`: of a name, with what else differs.
template <class Outcome>
GoldenRow check(const std::string& folder, const std::string& name, std::string result, Outcome outcome) {
  GoldenRow row{name, std::move(result), {}};
  auto expected = read_outcome(folder, name);
  std::vector<std::string> differences;
  auto actual = outcome(expected ? *expected : Json(), differences);
  if (!expected) row.problems.push_back(expected.error().message);
  if (!actual) row.problems.push_back(actual.error().message);
  if (!expected || !actual) return row;
  compare(*expected, *actual, "", row.problems);
  if (!row.problems.empty()) row.problems.insert(row.problems.end(), differences.begin(), differences.end());
  return row;
}

bool devices_only(const Json& expected) {
  return expected.is_object() && expected.contains("check") && expected["check"] == "devices";
}

}  // namespace

std::vector<GoldenRow> check_golden_machines(const std::string& folder) {
  std::vector<GoldenRow> rows;
  const auto names = names_of(folder, "machines", ".dvs.zst");
  if (names.empty()) return rows;
  const TemporaryFolder temporary;
  if (auto done = unpack_all(folder, temporary.path()); !done) return {{"machines", {}, {done.error().message}}};
  for (const std::string& name : names) {
    const std::string path = fmt::format("{}/{}.dvs", temporary.path(), file_name(name));
    rows.push_back(check(folder, name, "restores, saves again, same end", [&](const Json&, auto& differences) {
      return outcome_of_machine(path, path + ".again", differences);
    }));
  }
  return rows;
}

std::vector<GoldenRow> check_golden_traces(const std::string& folder) {
  std::vector<GoldenRow> rows;
  for (const std::string& name : names_of(folder, "traces", ".dvt"))
    rows.push_back(check(folder, name, "replays to the same end", [&](const Json& expected, auto&) {
      return outcome_of_trace(folder + "/" + name + ".dvt", devices_only(expected));
    }));
  return rows;
}

Result<std::vector<GoldenFile>> update_golden_machines(const std::string& folder) {
  std::vector<GoldenFile> out;
  auto propose = [&](const std::string& name, const Json& now, std::vector<std::string> differences) {
    auto old = read_outcome(folder, name);
    if (old && *old == now) return;
    if (old) compare(*old, now, "", differences);
    else differences = {"new"};
    out.push_back({name + ".json", golden_text(now), std::move(differences)});
  };
  const TemporaryFolder temporary;
  if (auto done = unpack_all(folder, temporary.path()); !done) return done.error();
  for (const std::string& name : names_of(folder, "machines", ".dvs.zst")) {
    const std::string path = fmt::format("{}/{}.dvs", temporary.path(), file_name(name));
    std::vector<std::string> differences;
    auto now = outcome_of_machine(path, path + ".again", differences);
    if (!now) return now.error();
    propose(name, *now, std::move(differences));
  }
  for (const std::string& name : names_of(folder, "traces", ".dvt")) {
    auto old = read_outcome(folder, name);
    auto now = outcome_of_trace(folder + "/" + name + ".dvt", old ? devices_only(*old) : name.ends_with("-devices"));
    if (!now) return now.error();
    propose(name, *now, {});
  }
  return out;
}

}  // namespace dejavm::cli
