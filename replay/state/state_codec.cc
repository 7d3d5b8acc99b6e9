#include "replay/state/state_codec.h"

#include <algorithm>
#include <bitset>

#include <fmt/format.h>

namespace dejavm {
namespace {

constexpr size_t kMaxFields = 256;  // of one struct

bool is_byte_string(const FieldInfo& f) { return f.is_array && f.kind == FieldKind::kUnsigned && f.element_size == 1; }

const std::byte* element(const FieldInfo& f, const void* data, uint32_t index) {
  return static_cast<const std::byte*>(data) + f.offset + size_t{index} * f.element_size;
}
std::byte* element(const FieldInfo& f, void* data, uint32_t index) {
  return static_cast<std::byte*>(data) + f.offset + size_t{index} * f.element_size;
}

bool all_default(const FieldInfo& f, const void* data, uint64_t value) {
  for (uint32_t i = 0; i < f.count; ++i) {
    if (f.kind != FieldKind::kStruct) {
      if (load_element(f, data, i) != value) return false;
    } else {
      for (const FieldInfo& m : f.members)
        if (!all_default(m, element(f, data, i), value)) return false;
    }
  }
  return true;
}

void store_default(const FieldInfo& f, void* data, uint64_t value) {
  for (uint32_t i = 0; i < f.count; ++i) {
    if (f.kind != FieldKind::kStruct) store_element(f, data, i, value);
    else
      for (const FieldInfo& m : f.members) store_default(m, element(f, data, i), value);
  }
}

void encode_number(CborWriter& w, const FieldInfo& f, uint64_t value) {
  if (f.kind == FieldKind::kBool) w.boolean(value != 0);
  else if (f.kind == FieldKind::kSigned) w.signed_int(static_cast<int64_t>(value));
  else w.unsigned_int(value);
}

void encode_struct(CborWriter& w, std::span<const FieldInfo> fields, std::span<const uint32_t> order, const void* data);

void encode_field(CborWriter& w, const FieldInfo& f, const void* data) {
  if (is_byte_string(f)) return w.bytes({reinterpret_cast<const uint8_t*>(element(f, data, 0)), f.count});
  if (f.is_array) w.array(f.count);
  if (f.kind == FieldKind::kStruct) {
    for (uint32_t i = 0; i < f.count; ++i) encode_struct(w, f.members, f.order, element(f, data, i));
  } else {
    for (uint32_t i = 0; i < f.count; ++i) encode_number(w, f, load_element(f, data, i));
  }
}

void encode_struct(CborWriter& w, std::span<const FieldInfo> fields, std::span<const uint32_t> order,
                   const void* data) {
  auto left_out = [&](const FieldInfo& f) { return f.since > 1 && all_default(f, data, f.default_value); };
  w.map(fields.size() - static_cast<size_t>(std::count_if(fields.begin(), fields.end(), left_out)));
  for (const uint32_t i : order) {
    if (left_out(fields[i])) continue;
    w.text(fields[i].name);
    encode_field(w, fields[i], data);
  }
}

class Decoder {
 public:
  Decoder(std::span<const uint8_t> payload, uint64_t version) : r_(payload), version_(version) {}

  void structure(std::span<const FieldInfo> fields, std::span<const uint32_t> order, void* data) {
    std::bitset<kMaxFields> seen;
    CHECK(fields.size() <= seen.size());
    size_t next = 0;  // of `order`: the field that comes if none is left out
    CborMap map(r_);
    for (std::string_view key; map.next(key);) {
      const Scope scope(*this, key);
      const FieldInfo* f =
          next < order.size() && fields[order[next]].name == key ? &fields[order[next]] : find(fields, key);
      ++next;
      if (!f) return fail("unknown field; a newer dejavm may have written it");
      seen.set(static_cast<size_t>(f - fields.data()));
      if (f->since > version_) return fail("the field is newer than the version that the chunk states");
      one_field(*f, data);
      if (r_.ok() && f->since > 1 && all_default(*f, data, f->default_value))
        return fail("written although it has its default: not canonical");
    }
    for (size_t i = 0; i < fields.size() && note(); ++i) {
      if (seen[i]) continue;
      const Scope scope(*this, fields[i].name);
      if (fields[i].since == 1) return fail("missing");
      store_default(fields[i], data, fields[i].default_value);
    }
  }

  void finish() {
    if (!note()) return;
    r_.end();
    note();
  }

  const std::string& error() const { return error_; }

 private:
  // Names what is being read, for errors: a chain on the stack, made into text only for one.
  struct Scope {
    Scope(Decoder& decoder, std::string_view field) : d(decoder), outer(d.scope_), name(field) { d.scope_ = this; }
    Scope(Decoder& decoder, uint32_t element) : d(decoder), outer(d.scope_), index(element) { d.scope_ = this; }
    ~Scope() {
      d.note();
      d.scope_ = outer;
    }
    Decoder& d;
    const Scope* outer;
    std::string_view name;
    uint32_t index = 0;
  };
  static std::string path(const Scope* s) {
    if (!s) return {};
    if (s->name.data() == nullptr) return fmt::format("{}[{}]", path(s->outer), s->index);
    return s->outer ? fmt::format("{}.{}", path(s->outer), s->name) : std::string(s->name);
  }
  static const FieldInfo* find(std::span<const FieldInfo> fields, std::string_view name) {
    const auto f = std::find_if(fields.begin(), fields.end(), [&](const FieldInfo& x) { return x.name == name; });
    return f == fields.end() ? nullptr : &*f;
  }

  // Takes over the reader's error, with the field at hand. True while there is none.
  bool note() {
    if (r_.ok()) return true;
    if (error_.empty())
      error_ = fmt::format("{}at byte {}: {}", scope_ ? "field '" + path(scope_) + "' " : std::string(),
                           r_.error_offset(), r_.error());
    return false;
  }
  void fail(const std::string& why) { r_.fail(why); }

  void number(const FieldInfo& f, void* data, uint32_t index, uint64_t value) {
    if (!r_.ok()) return;
    if (in_range(f, value)) return store_element(f, data, index, value);
    const bool is_signed = f.kind == FieldKind::kSigned;
    auto print = [&](uint64_t v) {
      return is_signed ? fmt::format("{}", static_cast<int64_t>(v)) : fmt::format("{}", v);
    };
    fail(fmt::format("{} is outside {}..{}", print(value), print(f.min_value), print(f.max_value)));
  }

  void one_field(const FieldInfo& f, void* data) {
    if (is_byte_string(f)) {
      const auto bytes = r_.bytes();
      if (r_.ok() && bytes.size() != f.count) return fail(fmt::format("{} bytes instead of {}", bytes.size(), f.count));
      if (r_.ok() && f.min_value == 0 && f.max_value == 0xff) {
        std::memcpy(element(f, data, 0), bytes.data(), f.count);
        return;
      }
      Scope scope(*this, 0);
      for (uint32_t i = 0; i < f.count && r_.ok(); ++i) number(f, data, scope.index = i, bytes[i]);
      return;
    }
    if (f.is_array) {
      const uint64_t count = r_.array();
      if (r_.ok() && count != f.count) return fail(fmt::format("{} elements instead of {}", count, f.count));
    }
    if (!f.is_array) return one_element(f, data, 0);
    Scope scope(*this, 0);
    for (uint32_t i = 0; i < f.count && r_.ok(); ++i) one_element(f, data, scope.index = i);
  }

  void one_element(const FieldInfo& f, void* data, uint32_t index) {
    switch (f.kind) {
      case FieldKind::kStruct: return structure(f.members, f.order, element(f, data, index));
      case FieldKind::kBool: return number(f, data, index, r_.boolean() ? 1 : 0);
      case FieldKind::kSigned: return number(f, data, index, static_cast<uint64_t>(r_.signed_int()));
      case FieldKind::kUnsigned: return number(f, data, index, r_.unsigned_int());
    }
  }

  CborReader r_;
  uint64_t version_;
  const Scope* scope_ = nullptr;
  std::string error_;
};

std::string print_number(const FieldInfo& f, uint64_t value) {
  if (f.kind == FieldKind::kBool) return value ? "true" : "false";
  if (f.kind == FieldKind::kSigned) return fmt::format("{}", static_cast<int64_t>(value));
  return value < 10 ? fmt::format("{}", value) : fmt::format("{} ({:#x})", value, value);
}

void diff_fields(std::span<const FieldInfo> fields, const void* expected, const void* actual, const std::string& prefix,
                 size_t limit, std::vector<FieldDiff>& out) {
  for (const FieldInfo& f : fields) {
    for (uint32_t i = 0; i < f.count && out.size() < limit; ++i) {
      std::string path = prefix + std::string(f.name);
      if (f.is_array) path += fmt::format("[{}]", i);
      if (f.kind == FieldKind::kStruct) {
        diff_fields(f.members, element(f, expected, i), element(f, actual, i), path + ".", limit, out);
        continue;
      }
      const uint64_t want = load_element(f, expected, i), have = load_element(f, actual, i);
      if (want != have) out.push_back({std::move(path), print_number(f, want), print_number(f, have)});
    }
  }
}

}  // namespace

void encode_state(CborWriter& w, const Schema& schema, const void* data) {
  encode_struct(w, schema.fields, schema.order, data);
}

Bytes encode_state(const Schema& schema, const void* data) {
  CborWriter w;
  encode_state(w, schema, data);
  return w.take();
}

std::string chunk_name(std::string_view schema_name, uint64_t instance) {
  return instance == 0 ? std::string(schema_name) : fmt::format("{}.{}", schema_name, instance);
}

Result<void> decode_state(const Schema& schema, uint32_t instance, uint64_t version, std::span<const uint8_t> payload,
                          void* data, std::span<const Upgrade> upgrades) {
  Bytes upgraded;
  for (const Upgrade& u : upgrades) {
    if (u.chunk != schema.name || u.to <= version || u.to > schema.version) continue;
    auto done = upgrade_payload(schema.name, static_cast<uint16_t>(version), schema.version, payload, upgrades);
    if (!done) return done.error();
    upgraded = done.take();
    payload = upgraded;
    version = schema.version;
    break;
  }
  StateBuffer copy(schema);
  Decoder decoder(payload, version);
  decoder.structure(schema.fields, schema.order, copy.data());
  decoder.finish();
  std::string why = decoder.error();
  if (why.empty() && schema.invalid != nullptr)
    if (const char* reason = schema.invalid(copy.data())) why = std::string("inconsistent: ") + reason;
  if (!why.empty()) {
    std::string newer;
    if (version > schema.version)
      newer = fmt::format(" (version {}; this build knows version {})", version, schema.version);
    return Error{ErrorKind::kBadInput, fmt::format("chunk '{}'{}: {}", chunk_name(schema.name, instance), newer, why)};
  }
  std::memcpy(data, copy.data(), schema.size);
  return {};
}

std::vector<FieldDiff> diff_states(const Schema& schema, const void* expected, const void* actual, size_t limit) {
  std::vector<FieldDiff> out;
  diff_fields(schema.fields, expected, actual, "", limit, out);
  return out;
}

}  // namespace dejavm
