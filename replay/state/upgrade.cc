#include "replay/state/upgrade.h"

#include <fmt/format.h>

namespace dejavm {
namespace {

CborValue parse(CborReader& r, unsigned depth) {
  if (depth > 16) {
    r.fail("nested more than 16 deep");
    return {};
  }
  switch (r.peek()) {
    case CborReader::Type::kUnsigned: return {r.unsigned_int()};
    case CborReader::Type::kNegative: return {r.signed_int()};
    case CborReader::Type::kBool: return {r.boolean()};
    case CborReader::Type::kText: return {std::string(r.text())};
    case CborReader::Type::kBytes: {
      const auto b = r.bytes();
      return {Bytes(b.begin(), b.end())};
    }
    case CborReader::Type::kArray: {
      CborArray a;
      for (uint64_t n = r.array(); n > 0 && r.ok(); --n) a.push_back(parse(r, depth + 1));
      return {std::move(a)};
    }
    case CborReader::Type::kMap: {
      CborFields f = make_fields();
      CborMap map(r);
      for (std::string_view key; map.next(key);) {
        std::string name(key);
        f.emplace(std::move(name), parse(r, depth + 1));
      }
      return {std::move(f)};
    }
    default: r.fail("no value of a state"); return {};
  }
}

void write(CborWriter& w, const CborValue& value) {
  struct Visitor {
    CborWriter& w;
    void operator()(uint64_t v) const { w.unsigned_int(v); }
    void operator()(int64_t v) const { w.signed_int(v); }
    void operator()(bool v) const { w.boolean(v); }
    void operator()(const std::string& v) const { w.text(v); }
    void operator()(const Bytes& v) const { w.bytes(v); }
    void operator()(const CborArray& v) const {
      w.array(v.size());
      for (const CborValue& x : v) write(w, x);
    }
    void operator()(const CborFields& v) const {
      w.map(v.size());
      for (const auto& [key, x] : v) {
        w.text(key);
        write(w, x);
      }
    }
  };
  std::visit(Visitor{w}, value.v);
}

}  // namespace

CborFields make_fields() { return CborFields(&cbor_key_less); }

std::span<const Upgrade> all_upgrades() { return {}; }

Result<CborValue> parse_value(std::span<const uint8_t> payload) {
  CborReader r(payload);
  CborValue v = parse(r, 0);
  if (r.ok()) r.end();
  if (!r.ok()) return Error{ErrorKind::kBadInput, fmt::format("at byte {}: {}", r.error_offset(), r.error())};
  return v;
}

Bytes write_value(const CborValue& v) {
  CborWriter w;
  write(w, v);
  return w.take();
}

Result<Bytes> upgrade_payload(std::string_view chunk, uint16_t from, uint16_t to, std::span<const uint8_t> payload,
                              std::span<const Upgrade> upgrades) {
  std::vector<const Upgrade*> steps;
  for (const Upgrade& u : upgrades)
    if (u.chunk == chunk && u.to > from && u.to <= to) steps.push_back(&u);
  if (steps.empty()) return Bytes(payload.begin(), payload.end());
  auto value = parse_value(payload);
  if (!value) return Error{ErrorKind::kBadInput, fmt::format("chunk '{}': {}", chunk, value.error().message)};
  auto* fields = std::get_if<CborFields>(&value->v);
  for (const Upgrade* u : steps)
    if (!fields || !u->apply(*fields))
      return Error{ErrorKind::kBadInput,
                   fmt::format("chunk '{}': not what version {} wrote; it cannot be brought to version {}", chunk,
                               u->to - 1, u->to)};
  return write_value(*value);
}

}  // namespace dejavm
