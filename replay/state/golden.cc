#include "replay/state/golden.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "devices/core/script.h"
#include "replay/state/describe.h"
#include "replay/state/golden_json.h"
#include "replay/state/schema_table.h"
#include "replay/state/state_codec.h"
#include "replay/state/state_file.h"

namespace dejavm {
namespace {

namespace fs = std::filesystem;
constexpr size_t kShown = 8;  // problems of one kind

struct Case {
  std::string folder, model, name;  // folder: of all goldens
  std::string script() const { return fmt::format("devices/{}/{}.script", model, name); }
  std::string stem(unsigned version) const { return fmt::format("devices/{}/v{}/{}", model, version, name); }
};

// What a script does to a fresh model.
struct Lived {
  explicit Lived(const DeviceModel& m) : state(*m.schema) {}
  StateBuffer state;  // at "save"
  Nanos now{0};
  std::vector<DeviceOp> after;
};

constexpr std::string_view kEmptyScript = "save\n";

// `is_new`: there is no file yet; the script is empty.
Result<Lived> live(const DeviceModel& m, const Case& c, bool is_new = false) {
  std::string text(kEmptyScript);
  if (!is_new) {
    auto bytes = read_golden(c.folder, c.script());
    if (!bytes) return bytes.error();
    text.assign(bytes->begin(), bytes->end());
  }
  std::string rest;
  const size_t save = text.starts_with("save\n") ? 0 : text.find("\nsave\n");
  if (save != std::string::npos) {
    rest = std::string(
               static_cast<size_t>(std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(save) + 1, '\n')) + 1,
               '\n') +
           text.substr(text.find("save\n", save) + 5);
    text.resize(save + (save ? 1 : 0));
  }
  auto before = parse_script(m, text), after = parse_script(m, rest);
  for (const auto* ops : {&before, &after})
    if (!*ops) return Error{ErrorKind::kBadInput, fmt::format("{}: {}", c.script(), ops->error().message)};
  Lived l(m);
  m.reset(l.state.data());
  for (const DeviceOp& op : *before) perform(m, l.state.data(), l.now, op);
  l.after = *after;
  return l;
}

Json values_of(std::span<const uint8_t> payload) {
  Json out = Json::object();
  auto& fields = out.get_ref<Json::object_t&>();
  for (const FieldText& f : flatten(payload)) fields.emplace_back(f.path, f.value);  // each path once
  return out;
}

Json answers_of(const DeviceModel& m, Lived& l, const void* from) {
  StateBuffer state(*m.schema);
  std::memcpy(state.data(), from, m.schema->size);
  Nanos now = l.now;
  Json out = Json::array();
  for (const DeviceOp& op : l.after) {
    const DeviceAnswer a = perform(m, state.data(), now, op);
    out.push_back(fmt::format("{} -> {:#x}, lines {:#x}, next {}", print(m, op), a.value, a.lines,
                              a.next_event == kNever ? "never" : std::to_string(a.next_event.value)));
  }
  return out;
}

// Fields by name that differ, or that only one has.
template <class Expected>
void compare(const Expected& expected, const Json& actual, std::string_view what, std::vector<std::string>& out) {
  size_t shown = 0;
  auto say = [&](const std::string& path, const std::string& a, const std::string& b) {
    if (++shown <= kShown) out.push_back(fmt::format("field '{}': {} {}, now {}", path, what, a, b));
  };
  LookupJson missing = expected;
  std::vector<std::pair<std::string, std::string>> added;
  for (const auto& [path, value] : actual.items()) {
    const auto found = missing.find(path);
    if (found == missing.end()) {
      added.emplace_back(path, value.dump());
      continue;
    }
    if (*found != LookupJson(value)) say(path, found->dump(), value.dump());
    missing.erase(found);
  }
  for (const auto& [path, value] : missing.items()) say(path, value.dump(), "none");
  for (const auto& [path, value] : added) say(path, "none", value);
  if (shown > kShown) out.push_back(fmt::format("and {} fields more", shown - kShown));
}

std::vector<std::string> described(std::span<const uint8_t> table) {
  std::vector<std::string> out;
  CborReader r(table);
  read_schemas(r, &out);
  return out;
}

// The first field at which two schemas part: renamed, reordered, or of another shape.
void compare_schemas(std::span<const uint8_t> expected, std::span<const uint8_t> actual,
                     std::vector<std::string>& out) {
  if (std::ranges::equal(expected, actual)) return;
  const auto a = described(expected), b = described(actual);
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string x = i < a.size() ? a[i] : "nothing", y = i < b.size() ? b[i] : "nothing";
    if (x == y) continue;
    out.push_back(fmt::format("the format changed within one version: field {} was '{}', now '{}'", i + 1, x, y));
    return;
  }
  out.push_back("the format changed within one version: the same fields by another name or version");
}

Bytes state_bytes(std::string_view writer, const DeviceModel& m, const void* state) {
  const Schema* schema = m.schema;
  const ChunkRef chunk{schema, 0, true, const_cast<void*>(state)};
  return encode_state_file(writer, {&schema, 1}, store_chunks({&chunk, 1}));
}

template <class AnyJson>
Result<AnyJson> read_json(const Case& c, unsigned version) {
  const std::string path = c.stem(version) + ".json";
  auto j = read_golden_json<AnyJson>(c.folder, path);
  if (!j) return j;
  auto kind = [](const AnyJson& in, const char* part) {
    return in.contains(part) ? in[part].type() : Json::value_t::discarded;
  };
  auto lacks = [&](const char* part) {
    return Error{ErrorKind::kBadInput, fmt::format("{}: has no '{}', or not of its kind", path, part)};
  };
  if (kind(*j, "state") != Json::value_t::object) return lacks("state");
  if (kind(*j, "answers") != Json::value_t::array) return lacks("answers");
  if (j->contains("upgraded")) {
    const AnyJson& u = (*j)["upgraded"];
    if (!u.is_object() || kind(u, "version") != Json::value_t::number_unsigned ||
        kind(u, "state") != Json::value_t::object)
      return lacks("upgraded");
  }
  return j;
}

// Of a file of the size that it should have, but that cannot be read: the field at the first byte of the state that
// differs.
std::string damaged_field(const DeviceModel& m, const void* expected, std::span<const uint8_t> bytes) {
  const Bytes payload = encode_state(*m.schema, expected), file = state_bytes("", m, expected);
  const auto at = std::ranges::search(file, payload);
  const auto behind = static_cast<size_t>(file.end() - at.end());
  if (bytes.size() < payload.size() + behind) return {};
  const auto found = bytes.subspan(bytes.size() - behind - payload.size(), payload.size());
  const auto differs = static_cast<size_t>(std::ranges::mismatch(payload, found).in1 - payload.begin());
  for (const FieldText& f : flatten(payload))
    if (f.end > differs) return f.path;
  return {};
}

// One golden against this build.
class Check {
 public:
  Check(const DeviceModel& m, const Case& c, unsigned version, std::span<const Upgrade> upgrades)
      : m_(m), case_(c), version_(version), upgrades_(upgrades), row_{c.stem(version), {}, {}} {}

  GoldenRow run() {
    auto bytes = read_golden(case_.folder, case_.stem(version_) + ".state");
    auto json = read_json<LookupJson>(case_, version_);
    auto lived = live(m_, case_);
    if (!bytes) problem(bytes.error().message);
    if (!json) problem(json.error().message);
    if (!lived) problem(lived.error().message);
    if (bytes && json && lived) check(*bytes, *json, *lived);
    return std::move(row_);
  }

 private:
  void problem(std::string text) { row_.problems.push_back(std::move(text)); }
  bool is_present_version() const { return version_ == m_.schema->version; }
  Json fields_of(const void* state) const { return values_of(encode_state(*m_.schema, state)); }

  void check(const Bytes& bytes, const LookupJson& json, Lived& lived) {
    if (auto sealed = decode_state_file(bytes); !sealed)
      problem(fmt::format("{}.state: {}", case_.stem(version_), sealed.error().message));
    auto file = decode_state_file(bytes, true);
    if (!file) return damaged(bytes, lived);
    if (file->chunks.size() != 1 || file->chunks[0].name != m_.name() || file->chunks[0].version != version_)
      return problem(fmt::format("{}.state: holds something else than one state of {} version {}", case_.stem(version_),
                                 m_.name(), version_));
    const StoredChunk& chunk = file->chunks[0];
    compare(json["state"], values_of(chunk.payload), "saved as", row_.problems);
    StateBuffer state(*m_.schema);
    if (auto loaded = decode_state(*m_.schema, 0, version_, chunk.payload, state.data(), upgrades_); !loaded)
      return problem(fmt::format("does not restore: {}", loaded.error().message));
    if (is_present_version()) present(bytes, json, *file, lived, state.data());
    else upgraded(json, state.data());
    answers(answers_of(m_, lived, state.data()), json["answers"]);
    row_.result = is_present_version() ? "same bytes, same answers"
                                       : fmt::format("upgrades to version {}, same answers", m_.schema->version);
  }

  void damaged(const Bytes& bytes, Lived& lived) {
    const std::string field = damaged_field(m_, lived.state.data(), bytes);
    if (is_present_version() && !field.empty())
      problem(fmt::format("field '{}': its bytes are the first that are not what the script leads to", field));
  }

  template <class StateFile>
  void present(const Bytes& bytes, const LookupJson& json, const StateFile& file, Lived& lived, const void* state) {
    const Schema* schema = m_.schema;
    CborWriter table;
    encode_schemas(table, {&schema, 1});
    compare_schemas(file.schema_table, table.out(), row_.problems);
    if (row_.problems.empty() && state_bytes(file.writer, m_, state) != bytes) {
      compare(json["state"], fields_of(state), "saved as", row_.problems);
      if (row_.problems.empty()) problem("saves again to other bytes");
    }
    compare(json["state"], fields_of(lived.state.data()), "the script led to", row_.problems);
  }

  void upgraded(const LookupJson& json, const void* state) {
    const unsigned now = m_.schema->version;
    if (!json.contains("upgraded") || json["upgraded"]["version"] != now)
      return problem(fmt::format("nothing says what it is as version {}: run `golden update`", now));
    compare(json["upgraded"]["state"], fields_of(state), fmt::format("as version {}", now), row_.problems);
  }

  // The first that is another is told.
  void answers(const Json& actual, const LookupJson& expected) {
    const auto text = [](const auto& all, size_t i) {
      if (i >= all.size()) return std::string("nothing");
      return all[i].is_string() ? all[i].template get<std::string>() : all[i].dump();
    };
    for (size_t i = 0; i < std::max(actual.size(), expected.size()); ++i) {
      const std::string was = text(expected, i), now = text(actual, i);
      if (was != now) return problem(fmt::format("answer {} was '{}', now '{}'", i + 1, was, now));
    }
  }

  const DeviceModel& m_;
  const Case& case_;
  unsigned version_;
  std::span<const Upgrade> upgrades_;
  GoldenRow row_;
};

// The scripts of a model, and the versions of which there is something.
std::vector<std::string> cases_of(const std::string& folder, std::string_view model) {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(fmt::format("{}/devices/{}", folder, model), ignored))
    if (e.path().extension() == ".script") out.push_back(e.path().stem());
  std::ranges::sort(out);
  return out;
}

std::vector<unsigned> versions_of(const Case& c) {
  std::vector<unsigned> out;
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(fmt::format("{}/devices/{}", c.folder, c.model), ignored)) {
    const std::string name = e.path().filename();
    unsigned v = 0;
    if (name.size() > 1 && name.size() < 7 && name[0] == 'v' &&
        std::all_of(name.begin() + 1, name.end(), [](char d) { return d >= '0' && d <= '9'; }))
      v = static_cast<unsigned>(std::stoul(name.substr(1)));
    if (v && (fs::exists(fmt::format("{}/{}.state", c.folder, c.stem(v))) ||
              fs::exists(fmt::format("{}/{}.json", c.folder, c.stem(v)))))
      out.push_back(v);
  }
  std::ranges::sort(out);
  return out;
}

}  // namespace

std::vector<GoldenRow> check_golden_devices(const std::string& folder, std::span<const DeviceModel> models,
                                            std::span<const Upgrade> upgrades) {
  std::vector<GoldenRow> rows;
  for (const DeviceModel& m : models) {
    const auto names = cases_of(folder, m.name());
    if (names.empty())
      rows.push_back({fmt::format("devices/{}", m.name()), {}, {"has no goldens: run `golden update`"}});
    for (const std::string& name : names) {
      const Case c{folder, std::string(m.name()), name};
      const auto versions = versions_of(c);
      for (const unsigned v : versions) rows.push_back(Check(m, c, v, upgrades).run());
      if (std::ranges::count(versions, m.schema->version) == 0)
        rows.push_back({c.stem(m.schema->version),
                        {},
                        {fmt::format("there is no golden of version {} yet: run `golden update`", m.schema->version)}});
    }
  }
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(folder + "/devices", ignored))
    if (std::ranges::none_of(models, [&](const DeviceModel& m) { return m.name() == e.path().filename().string(); }))
      rows.push_back({"devices/" + e.path().filename().string(), {}, {"there is no such model"}});
  return rows;
}

Result<std::vector<GoldenFile>> update_golden_devices(const std::string& folder, std::string_view writer,
                                                      std::span<const DeviceModel> models,
                                                      std::span<const Upgrade> upgrades) {
  std::vector<GoldenFile> out;
  auto propose = [&](const std::string& path, const Bytes& content, std::vector<std::string> changes) {
    auto old = read_golden(folder, path);
    if (old && *old == content) return;
    if (!old) changes = {"new"};
    else if (changes.empty()) changes = {"other bytes"};
    out.push_back({path, content, std::move(changes)});
  };
  for (const DeviceModel& m : models) {
    auto names = cases_of(folder, m.name());
    const bool is_new = names.empty();
    if (is_new) {
      names = {"reset"};
      out.push_back(
          {fmt::format("devices/{}/reset.script", m.name()), Bytes(kEmptyScript.begin(), kEmptyScript.end()), {"new"}});
    }
    for (const std::string& name : names) {
      const Case c{folder, std::string(m.name()), name};
      const unsigned present = m.schema->version;
      auto lived = live(m, c, is_new);
      if (!lived) return lived.error();
      const Bytes payload = encode_state(*m.schema, lived->state.data());
      Json j{{"model", m.name()},
             {"version", present},
             {"state", values_of(payload)},
             {"answers", answers_of(m, *lived, lived->state.data())}};
      std::vector<std::string> changes;
      if (auto old = read_json<Json>(c, present)) compare((*old)["state"], j["state"], "was", changes);
      // Who wrote it first stays its writer, as long as the state is the same.
      std::string by(writer);
      if (auto old = read_golden(folder, c.stem(present) + ".state"))
        if (auto file = decode_state_file(*old); file && file->chunks.size() == 1 && file->chunks[0].payload == payload)
          by = file->writer;
      propose(c.stem(present) + ".state", state_bytes(by, m, lived->state.data()), changes);
      propose(c.stem(present) + ".json", golden_text(j), changes);
      for (const unsigned v : versions_of(c)) {
        if (v >= present) continue;
        auto bytes = read_golden(folder, c.stem(v) + ".state");
        auto old = read_json<Json>(c, v);
        auto file = bytes ? decode_state_file(*bytes) : Result<StateFile>(bytes.error());
        if (!old || !file) return old ? file.error() : old.error();
        StateBuffer state(*m.schema);
        if (file->chunks.size() != 1)
          return Error{ErrorKind::kBadInput, c.stem(v) + ".state: holds something else than one state"};
        if (auto loaded = decode_state(*m.schema, 0, v, file->chunks[0].payload, state.data(), upgrades); !loaded)
          return loaded.error();
        Json upgraded{{"version", present}, {"state", values_of(encode_state(*m.schema, state.data()))}};
        changes.clear();
        compare(old->contains("upgraded") ? (*old)["upgraded"]["state"] : (*old)["state"], upgraded["state"], "was",
                changes);
        (*old)["upgraded"] = std::move(upgraded);
        propose(c.stem(v) + ".json", golden_text(*old), changes);
      }
    }
  }
  return out;
}

}  // namespace dejavm
