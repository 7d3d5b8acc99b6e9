// A device model at run time: what generic code (scripts, conformance tests, fuzz targets, the golden gate) works with.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "devices/core/fields.h"
#include "devices/core/model.h"
#include "devices/core/transfer.h"

namespace dejavm {

// Something that a model can be asked beyond reads, writes and lines: an interrupt acknowledge, an MSR.
struct DeviceCall {
  std::string_view name;
  unsigned arguments;   // 0 to 2
  uint64_t typical[2];  // arguments are likely to matter up to here
  uint64_t (*call)(void* state, Nanos now, uint64_t a, uint64_t b);
};

struct DeviceOp {
  enum class Kind : uint8_t { kRead, kWrite, kLine, kWait, kReset, kMessage, kCall, kTransfer };
  Kind kind = Kind::kRead;
  uint8_t size = 1;    // kRead, kWrite: 1-8
  uint16_t index = 0;  // kLine: the input; kCall: which of the model's
  uint64_t a = 0;      // offset; level; ns; first argument; kTransfer: 1, or 0 if memory refuses it
  uint64_t b = 0;      // value; second argument
  bool operator==(const DeviceOp&) const = default;
};

// For lists of idioms.
constexpr DeviceOp read_op(uint64_t offset, uint8_t size) { return {DeviceOp::Kind::kRead, size, 0, offset, 0}; }
constexpr DeviceOp write_op(uint64_t offset, uint8_t size, uint64_t value) {
  return {DeviceOp::Kind::kWrite, size, 0, offset, value};
}
constexpr DeviceOp line_op(uint16_t input, uint64_t level) { return {DeviceOp::Kind::kLine, 1, input, level, 0}; }
constexpr DeviceOp wait_op(uint64_t ns) { return {DeviceOp::Kind::kWait, 1, 0, ns, 0}; }
constexpr DeviceOp transfer_op(bool ok) { return {DeviceOp::Kind::kTransfer, 1, 0, ok ? 1u : 0u, 0}; }
constexpr DeviceOp call_op(uint16_t call, uint64_t a, uint64_t b = 0) { return {DeviceOp::Kind::kCall, 1, call, a, b}; }

// What is not to be found in a model's functions and fields.
struct DeviceDescription {
  std::string_view summary{};             // one line
  std::string_view sources{};             // the documents that it follows
  std::span<const uint32_t> registers{};  // offsets at which there is something; accesses anywhere have a result
  unsigned inputs = 0;                    // of set_line
  std::span<const std::string_view> line_names{};  // of the bits of lines() that have one, by bit; empty: none
  std::span<const DeviceCall> calls{};
  std::span<const DeviceOp> idioms{};  // what drivers do: seeds for generators
  // What drivers have in memory for a bus master: its commands. Scripts' memory holds this from kDriverMemory on.
  std::span<const uint8_t> driver_memory{};
  static constexpr uint64_t kDriverMemory = 0x10000;
  // The longest silence: time alone changes lines() or sends a message no earlier than next_event says, and next_event
  // comes at most so many times in a row without a change (its documented bound), not counting what is kSeldomNs away.
  static constexpr uint64_t kSeldomNs = 10'000'000'000;
  unsigned idle_events = 0;
};

struct DeviceModel : DeviceDescription {
  const Schema* schema;
  void (*reset)(void* state);
  uint64_t (*read)(void* state, Nanos now, uint64_t offset, unsigned size);
  void (*write)(void* state, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  void (*advance)(void* state, Nanos now);
  Nanos (*next_event)(const void* state);
  uint64_t (*lines)(const void* state);
  void (*set_line)(void* state, Nanos now, unsigned input, bool level);
  bool (*pop_message)(void* state, BusMessage& message);         // nullptr: it sends none
  bool (*next_transfer)(const void* state, Transfer& transfer);  // nullptr: it is no bus master
  void (*transferred)(void* state, Nanos now, bool ok, std::span<const uint8_t> bytes);

  std::string_view name() const { return schema->name; }
};

// For DeviceCall functions.
template <class M>
typename M::State& state_at(void* s) {
  return *static_cast<typename M::State*>(s);
}
template <class M>
const typename M::State& state_at(const void* s) {
  return *static_cast<const typename M::State*>(s);
}

// M: a type of the shape in model.h.
template <class M>
DeviceModel device_model(const DeviceDescription& description) {
  DeviceModel d{description,
                &schema_of<M>(),
                [](void* s) { M::reset(state_at<M>(s)); },
                [](void* s, Nanos t, uint64_t o, unsigned n) { return M::read(state_at<M>(s), t, o, n); },
                [](void* s, Nanos t, uint64_t o, unsigned n, uint64_t v) { M::write(state_at<M>(s), t, o, n, v); },
                [](void* s, Nanos t) { M::advance(state_at<M>(s), t); },
                [](const void* s) { return M::next_event(state_at<M>(s)); },
                [](const void* s) { return M::lines(state_at<M>(s)); },
                [](void* s, Nanos t, unsigned i, bool l) { M::set_line(state_at<M>(s), t, i, l); },
                nullptr,
                nullptr,
                nullptr};
  if constexpr (requires(typename M::State & s, BusMessage & m) { M::pop_message(s, m); })
    d.pop_message = [](void* s, BusMessage& m) { return M::pop_message(state_at<M>(s), m); };
  if constexpr (requires(const typename M::State& s, Transfer& t) { M::next_transfer(s, t); }) {
    d.next_transfer = [](const void* s, Transfer& t) { return M::next_transfer(state_at<M>(s), t); };
    d.transferred = [](void* s, Nanos now, bool ok, std::span<const uint8_t> bytes) {
      M::transferred(state_at<M>(s), now, ok, bytes);
    };
  }
  return d;
}

}  // namespace dejavm
