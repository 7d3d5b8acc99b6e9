#include "replay/trace/header.h"

#include <fmt/format.h>

#include "vmm/state/cpu_model.h"
#include "vmm/state/memory.h"

namespace dejavm {
namespace {

// The version of the header's and end's maps themselves is the trace's; an unknown key is refused.

Error damaged(std::string_view what, const CborReader& r) {
  return {ErrorKind::kBadInput, fmt::format("{}, byte {} of its content: {}", what, r.error_offset(), r.error())};
}

Bytes read_schema_payload(CborReader& r) {
  const size_t start = r.offset();
  read_schemas(r, nullptr);
  if (!r.ok()) return {};
  const auto payload = r.since(start);
  return {payload.begin(), payload.end()};
}

}  // namespace

std::string_view name_of(RunEnd end) {
  switch (end) {
    case RunEnd::kUntil: return "stopped at the position asked for";
    case RunEnd::kPowerOff: return "powered off";
    case RunEnd::kDebugExit: return "debug exit";
    case RunEnd::kUserStop: return "stopped by the user";
    case RunEnd::kHaltedForever: return "halted for ever";
    case RunEnd::kTripleFault: return "triple fault";
    case RunEnd::kUnimplemented: return "unimplemented instruction";
    case RunEnd::kEngineError: return "engine error";
    case RunEnd::kReset: return "reset";
  }
  return "unknown";
}

std::string decode_engine(CborReader& r) {
  std::string name(r.text());
  if (r.ok() && !is_engine(name))
    r.fail(fmt::format("engine '{}', which this build does not know; a newer dejavm may have written it", name));
  return name;
}

std::vector<BootImage> decode_boot(CborReader& r) {
  std::vector<BootImage> out;
  for (uint64_t n = r.array(); n > 0 && r.ok(); --n) {
    BootImage& b = out.emplace_back();
    CborMap map(r);
    for (std::string_view key; map.next(key);) {
      if (key == "hash") b.hash = get_hash(r);
      else if (key == "name") b.name = r.text();
      else if (key == "role") b.role = r.text();
      else if (key == "len_bytes") b.len_bytes = r.unsigned_int();
      else r.fail(fmt::format("unknown key '{}' in a boot image", key));
    }
  }
  return out;
}

void encode_boot(CborWriter& w, std::span<const BootImage> boot) {
  w.array(boot.size());
  for (const BootImage& b : boot) {
    w.map(4);
    w.text("hash");
    put_hash(w, b.hash);
    w.text("name");
    w.text(b.name);
    w.text("role");
    w.text(b.role);
    w.text("len_bytes");
    w.unsigned_int(b.len_bytes);
  }
}

Bytes encode_header(const TraceHeader& h) {
  CborWriter w;
  w.map(h.devices_only ? 8 : 7);
  w.text("boot");
  encode_boot(w, h.boot);
  w.text("append");
  w.text(h.append);
  w.text("config");
  encode_config(w, h.config);
  w.text("engine");
  w.text(h.engine);
  w.text("writer");
  w.text(h.writer);
  w.text("schemas");
  if (h.schemas.empty()) w.raw(h.schema_payload);
  else encode_schemas(w, h.schemas);
  if (h.devices_only) {
    w.text("devices_only");
    w.boolean(true);
  }
  w.text("keyframe_interval");
  w.unsigned_int(h.keyframe_interval);
  return w.take();
}

Result<TraceHeader> decode_header(std::span<const uint8_t> payload) {
  TraceHeader h;
  unsigned seen = 0;
  CborReader r(payload);
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "boot") h.boot = decode_boot(r);
    else if (key == "append") h.append = r.text();
    else if (key == "config") h.config = decode_config(r);
    else if (key == "engine") h.engine = decode_engine(r);
    else if (key == "writer") h.writer = r.text();
    else if (key == "schemas") h.schema_payload = read_schema_payload(r);
    else if (key == "devices_only") {
      --seen;
      h.devices_only = r.boolean();
      if (r.ok() && !h.devices_only) r.fail("'devices_only' is left out where it is false");
    } else if (key == "keyframe_interval") h.keyframe_interval = r.unsigned_int();
    else r.fail(fmt::format("unknown header key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok()) r.end();
  if (r.ok() && seen != 7) r.fail("a header key is missing");
  if (!r.ok()) return damaged("the header", r);
  return h;
}

std::vector<std::string> describe_schemas(std::span<const uint8_t> payload) {
  std::vector<std::string> out;
  CborReader r(payload);
  CborMap map(r);
  for (std::string_view key; map.next(key);) {
    if (key == "schemas") read_schemas(r, &out);
    else r.skip();
  }
  return out;
}

Bytes encode_end(const TraceEnd& e) {
  CborWriter w;
  w.map(7);
  w.text("end");
  w.unsigned_int(static_cast<uint64_t>(e.end));
  w.text("exits");
  w.unsigned_int(e.exits);
  w.text("detail");
  w.text(std::string_view(e.detail).substr(0, kMaxDetailBytes));
  w.text("digest");
  put_hash(w, e.digest);
  w.text("events");
  w.unsigned_int(e.events);
  w.text("debug_exit");
  w.unsigned_int(e.debug_exit);
  w.text("instructions");
  w.unsigned_int(e.instructions);
  return w.take();
}

Result<TraceEnd> decode_end(std::span<const uint8_t> payload) {
  TraceEnd e;
  unsigned seen = 0;
  CborReader r(payload);
  CborMap map(r);
  for (std::string_view key; map.next(key); ++seen) {
    if (key == "end") e.end = static_cast<RunEnd>(number_up_to(r, static_cast<uint64_t>(RunEnd::kReset)));
    else if (key == "exits") e.exits = r.unsigned_int();
    else if (key == "detail") e.detail = r.text();
    else if (key == "digest") e.digest = get_hash(r);
    else if (key == "events") e.events = r.unsigned_int();
    else if (key == "debug_exit") e.debug_exit = static_cast<uint8_t>(number_up_to(r, 255));
    else if (key == "instructions") e.instructions = r.unsigned_int();
    else r.fail(fmt::format("unknown key '{}'; a newer dejavm may have written it", key));
  }
  if (r.ok()) r.end();
  if (r.ok() && seen != 7) r.fail("a key is missing");
  if (!r.ok()) return damaged("the end record", r);
  return e;
}

}  // namespace dejavm
