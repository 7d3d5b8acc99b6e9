#include "replay/state/describe.h"

#include <algorithm>

#include <fmt/format.h>

#include "replay/state/schema_table.h"
#include "replay/state/state_codec.h"

namespace dejavm {
namespace {

std::string print(uint64_t v) { return v < 10 ? fmt::format("{}", v) : fmt::format("{} ({:#x})", v, v); }

void walk(CborReader& r, const std::string& path, unsigned depth, std::vector<FieldText>& out) {
  if (depth > 16) return r.fail("nested more than 16 deep");
  auto add = [&](std::string value) { out.push_back({path, std::move(value), r.offset()}); };
  switch (r.peek()) {
    case CborReader::Type::kUnsigned: add(print(r.unsigned_int())); break;
    case CborReader::Type::kNegative: add(fmt::format("{}", r.signed_int())); break;
    case CborReader::Type::kBool: add(r.boolean() ? "true" : "false"); break;
    case CborReader::Type::kText: add("\"" + std::string(r.text()) + "\""); break;
    case CborReader::Type::kBytes: {
      const auto bytes = r.bytes();
      for (size_t i = 0; i < bytes.size(); ++i)
        out.push_back({fmt::format("{}[{}]", path, i), print(bytes[i]), r.offset() - bytes.size() + i + 1});
      break;
    }
    case CborReader::Type::kArray: {
      const uint64_t n = r.array();
      for (uint64_t i = 0; i < n && r.ok(); ++i) walk(r, fmt::format("{}[{}]", path, i), depth + 1, out);
      break;
    }
    case CborReader::Type::kMap: {
      CborMap map(r);
      for (std::string_view key; map.next(key);)
        walk(r, path.empty() ? std::string(key) : fmt::format("{}.{}", path, key), depth + 1, out);
      break;
    }
    default: r.skip();
  }
}

}  // namespace

std::vector<FieldText> flatten(std::span<const uint8_t> payload) {
  std::vector<FieldText> out;
  CborReader r(payload);
  walk(r, "", 0, out);
  if (!r.ok()) out.push_back({"(damaged)", std::string(r.error()), payload.size()});
  return out;
}

std::map<std::string, std::string> field_units(std::span<const uint8_t> table) {
  std::map<std::string, std::string> out;
  std::vector<std::string> lines;
  CborReader r(table);
  read_schemas(r, &lines);
  for (const std::string& line : lines) {  // "vatpit.channel[3].reload unsigned 4 bytes ticks since 2"
    std::vector<std::string> words;
    for (size_t at = 0; at < line.size();) {
      const size_t end = std::min(line.find(' ', at), line.size());
      words.push_back(line.substr(at, end - at));
      at = end + 1;
    }
    if (words.size() < 5 || words[4] == "since") continue;
    std::string path;
    for (size_t i = 0; i < words[0].size(); ++i) {
      if (words[0][i] == '[') i = words[0].find(']', i);
      else path += words[0][i];
    }
    out[path] = words[4];
  }
  return out;
}

std::vector<FieldDifference> diff_stored(std::span<const StoredChunk> before, std::span<const StoredChunk> after) {
  std::vector<FieldDifference> out;
  auto find = [](std::span<const StoredChunk> in, const StoredChunk& like) -> const StoredChunk* {
    const auto it = std::find_if(
        in.begin(), in.end(), [&](const StoredChunk& c) { return c.name == like.name && c.instance == like.instance; });
    return it == in.end() ? nullptr : &*it;
  };
  for (const StoredChunk& b : before) {
    const std::string name = chunk_name(b.name, b.instance);
    const StoredChunk* a = find(after, b);
    if (!a) {
      out.push_back({name, fmt::format("version {}", b.version), "-"});
      continue;
    }
    if (a->payload == b.payload) continue;
    std::map<std::string, std::string> left;
    const auto fields = flatten(a->payload);
    for (const FieldText& f : fields) left[f.path] = f.value;
    for (const FieldText& f : flatten(b.payload)) {
      const auto it = left.find(f.path);
      if (it == left.end()) out.push_back({name + "." + f.path, f.value, "-"});
      else if (it->second != f.value) out.push_back({name + "." + f.path, f.value, it->second});
      if (it != left.end()) left.erase(it);
    }
    for (const FieldText& f : fields)
      if (left.contains(f.path)) out.push_back({name + "." + f.path, "-", f.value});
  }
  for (const StoredChunk& a : after)
    if (!find(before, a)) out.push_back({chunk_name(a.name, a.instance), "-", fmt::format("version {}", a.version)});
  return out;
}

}  // namespace dejavm
