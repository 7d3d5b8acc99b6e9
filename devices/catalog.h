// Every device model there is, at run time: what the conformance suite, the fuzz targets, `dejavm device` and the golden
// gate work from. A model that is added here gets all of them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "devices/core/fields.h"
#include "devices/core/model.h"

namespace dejavm {

// Something that a model can be asked beyond reads, writes and lines: an interrupt acknowledge, an MSR.
struct DeviceCall {
  std::string_view name;
  unsigned arguments;      // 0 to 2
  uint64_t typical[2];     // arguments are likely to matter up to here
  uint64_t (*call)(void* state, Nanos now, uint64_t a, uint64_t b);
};

struct DeviceOp {
  enum class Kind : uint8_t { kRead, kWrite, kLine, kWait, kReset, kMessage, kCall };
  Kind kind = Kind::kRead;
  uint8_t size = 1;      // kRead, kWrite: 1-8
  uint16_t index = 0;    // kLine: the input; kCall: which of the model's
  uint64_t a = 0;        // offset; level; ns; first argument
  uint64_t b = 0;        // value; second argument
  bool operator==(const DeviceOp&) const = default;
};

struct DeviceModel {
  const Schema* schema;
  std::string_view summary;                // one line
  std::string_view sources;                // the documents that it follows
  std::span<const uint16_t> registers;     // offsets at which there is something; accesses anywhere have a result
  unsigned inputs;                         // of set_line
  std::span<const std::string_view> line_names;  // of the bits of lines() that have one, by bit; empty: none
  std::span<const DeviceCall> calls;
  std::span<const DeviceOp> idioms;        // what drivers do: seeds for generators
  // The longest silence: time alone changes lines() or sends a message no earlier than next_event says, and next_event
  // comes at most so many times in a row without a change (its documented bound).
  unsigned idle_events;

  void (*reset)(void* state);
  uint64_t (*read)(void* state, Nanos now, uint64_t offset, unsigned size);
  void (*write)(void* state, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  void (*advance)(void* state, Nanos now);
  Nanos (*next_event)(const void* state);
  uint64_t (*lines)(const void* state);
  void (*set_line)(void* state, Nanos now, unsigned input, bool level);
  bool (*pop_message)(void* state, BusMessage& message);  // nullptr: it sends none

  std::string_view name() const { return schema->name; }
};

std::span<const DeviceModel> device_catalog();
const DeviceModel* find_device(std::string_view name);  // nullptr: there is none

}  // namespace dejavm
