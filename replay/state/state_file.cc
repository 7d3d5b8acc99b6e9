#include "replay/state/state_file.h"

#include <fmt/format.h>

#include "replay/state/schema_table.h"

namespace dejavm {
namespace {

constexpr std::string_view kMagic = "dejavm state 1";

}  // namespace

Bytes encode_state_file(std::string_view writer, std::span<const Schema* const> schemas,
                        std::span<const StoredChunk> chunks) {
  CborWriter w;
  w.array(5);
  w.text(kMagic);
  w.text(writer);
  encode_schemas(w, schemas);
  w.array(chunks.size());
  for (const StoredChunk& c : chunks) put_chunk(w, c);
  put_hash(w, hash128(w.out()));
  return w.take();
}

Result<StateFile> decode_state_file(std::span<const uint8_t> bytes, bool accept_damage) {
  StateFile f;
  CborReader r(bytes);
  auto damaged = [&](std::string_view what) {
    return Error{ErrorKind::kBadInput, fmt::format("{}, byte {}: {}", what, r.error_offset(), r.error())};
  };
  const uint64_t parts = r.array();
  const bool ours = r.ok() && parts == 5 && r.text() == kMagic;
  if (!ours || !r.ok()) return Error{ErrorKind::kBadInput, "not a file of device states, format 1"};
  f.writer = r.text();
  const size_t table = r.offset();
  read_schemas(r, nullptr);
  if (!r.ok()) return damaged("the schema table");
  const auto schemas = r.since(table);
  f.schema_table.assign(schemas.begin(), schemas.end());
  for (uint64_t n = r.array(); n > 0 && r.ok(); --n) f.chunks.push_back(get_chunk(r));
  if (!r.ok())
    return damaged(f.chunks.empty() ? "the list of chunks" : fmt::format("chunk '{}'", f.chunks.back().name));
  const size_t sealed = r.offset();
  const Hash128 seal = get_hash(r);
  if (r.ok()) r.end();
  if (!r.ok()) return damaged("the seal");
  if (!accept_damage && seal != hash128(bytes.first(sealed)))
    return Error{ErrorKind::kBadInput,
                 fmt::format("the seal does not fit the {} bytes before it: the file is damaged", sealed)};
  return f;
}

}  // namespace dejavm
