// The header frame: what was recorded, on what, and what the fields of every state are, so that any CBOR tool explains
// the rest of the file. And the end frame: how the run ended.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "devices/core/fields.h"
#include "devices/core/result.h"
#include "replay/state/schema_table.h"
#include "replay/store/cbor.h"
#include "replay/store/hash.h"
#include "replay/trace/config_codec.h"
#include "vmm/machine/machine.h"
#include "vmm/state/config.h"

namespace dejavm {

// What the machine was booted from. For the reader's information: a replay needs none of it.
struct BootImage {
  std::string role;  // "kernel", "initrd", "firmware"
  std::string name;  // file name without its folder
  uint64_t len_bytes = 0;
  Hash128 hash;  // XXH3-128 of the file
  bool operator==(const BootImage&) const = default;
};

struct TraceHeader {
  std::string writer;  // "dejavm 0.1.0"
  std::string engine;  // Engine::name()
  MachineConfig config;
  std::vector<BootImage> boot;
  std::string append;                  // the guest's command line
  uint64_t keyframe_interval = 0;      // instructions; 0: no keyframes after the first snapshot
  std::vector<const Schema*> schemas;  // written, in order; a reader has schema_payload
  Bytes schema_payload;                // as in the file; written if `schemas` is empty
  bool devices_only = false;           // without the machine's memory: fit for replay_devices_only() alone
};

struct TraceEnd {
  RunEnd end = RunEnd::kUntil;
  uint64_t events = 0, exits = 0, instructions = 0;
  Hash128 digest;
  uint8_t debug_exit = 0;  // Machine::debug_exit_status(), of RunEnd::kDebugExit
  std::string detail;      // Machine::detail(), at most kMaxDetailBytes
  bool operator==(const TraceEnd&) const = default;
};
inline constexpr size_t kMaxDetailBytes = 16 << 10;
std::string_view name_of(RunEnd);

// The name of an engine that this build has.
std::string decode_engine(CborReader&);

void encode_boot(CborWriter&, std::span<const BootImage>);
std::vector<BootImage> decode_boot(CborReader&);

Bytes encode_header(const TraceHeader&);
Result<TraceHeader> decode_header(std::span<const uint8_t> payload);
// The schema table of a header as text, one field a line: "vatpit.channel[3].reload unsigned 2 bytes ticks".
std::vector<std::string> describe_schemas(std::span<const uint8_t> header_payload);

Bytes encode_end(const TraceEnd&);
Result<TraceEnd> decode_end(std::span<const uint8_t> payload);

}  // namespace dejavm
