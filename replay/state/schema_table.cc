#include "replay/state/schema_table.h"

#include <fmt/format.h>

namespace dejavm {
namespace {

constexpr std::string_view kKinds[] = {"unsigned", "signed", "bool", "struct"};

// Every field: [name, kind, bytes of an element, elements (0: a scalar), unit, since, members].
void encode_fields(CborWriter& w, std::span<const FieldInfo> fields) {
  w.array(fields.size());
  for (const FieldInfo& f : fields) {
    w.array(7);
    w.text(f.name);
    w.text(kKinds[static_cast<unsigned>(f.kind)]);
    w.unsigned_int(f.element_size);
    w.unsigned_int(f.is_array ? f.count : 0);
    w.text(f.unit);
    w.unsigned_int(f.since);
    encode_fields(w, f.members);
  }
}

void describe_fields(CborReader& r, const std::string& prefix, unsigned depth, std::vector<std::string>* out) {
  if (depth > 8) return r.fail("schemas nested more than 8 deep");
  for (uint64_t n = r.array(); n > 0 && r.ok(); --n) {
    if (r.array() != 7 && r.ok()) return r.fail("a field has not seven parts");
    std::string name = prefix + "." + std::string(r.text());
    const std::string kind(r.text());
    const uint64_t size = r.unsigned_int(), count = r.unsigned_int();
    const std::string unit(r.text());
    const uint64_t since = r.unsigned_int();
    if (count) name += fmt::format("[{}]", count);
    if (out && r.ok() && kind != "struct")
      out->push_back(fmt::format("{} {} {} bytes{}{}{}", name, kind, size, unit.empty() ? "" : " ", unit,
                                 since > 1 ? fmt::format(" since {}", since) : ""));
    describe_fields(r, name, depth + 1, out);
  }
}

}  // namespace

void encode_schemas(CborWriter& w, std::span<const Schema* const> schemas) {
  w.array(schemas.size());
  for (const Schema* s : schemas) {
    w.array(3);
    w.text(s->name);
    w.unsigned_int(s->version);
    encode_fields(w, s->fields);
  }
}

void read_schemas(CborReader& r, std::vector<std::string>* out) {
  for (uint64_t n = r.array(); n > 0 && r.ok(); --n) {
    if (r.array() != 3 && r.ok()) return r.fail("a schema has not three parts");
    const std::string name(r.text());
    r.unsigned_int();
    describe_fields(r, name, 0, out);
  }
}

}  // namespace dejavm
