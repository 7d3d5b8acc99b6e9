// Comparing a model with a second one, written from the data sheet alone and in another style: RapidCheck makes
// sequences of operations and steps of time, and shrinks the first on which the two differ to a script for `dejavm
// device run`.
#pragma once

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "devices/catalog.h"
#include "devices/core/script.h"
#include "replay/state/state_codec.h"

namespace dejavm {

// A wait that ends at the model's next event, or a ns before or after it: index is 1 + which.
inline constexpr uint16_t kBefore = 1, kAt = 2, kAfter = 3;

struct ReferenceOptions {
  uint64_t max_wait_ns = 1'000'000'000;
  bool byte_accesses = false;  // sizes of 1 only
  bool registers_only = true;  // no offsets at which there is nothing
};

// An operation from four numbers, which shrink towards a read of the first register.
inline DeviceOp operation(const DeviceModel& m, const ReferenceOptions& o, unsigned pick, unsigned which, unsigned how,
                          uint64_t number) {
  DeviceOp op;
  const uint64_t value = how % 4 == 0   ? number & 0xff
                         : how % 4 == 1 ? number
                         : how % 4 == 2 ? uint64_t{1} << (number & 63)
                                        : 0 - (number & 3);
  const uint8_t size = o.byte_accesses || how / 4 % 2 == 0 ? 1 : static_cast<uint8_t>(1u << (how / 8 % 4));
  auto access = [&](DeviceOp::Kind kind) {
    op.kind = kind;
    op.a = m.registers[which % m.registers.size()];
    op.size = size;
    if (kind == DeviceOp::Kind::kWrite) op.b = value;
  };
  switch (pick % 16) {
    case 0:
    case 1:
    case 2: access(DeviceOp::Kind::kRead); break;
    case 3:
    case 4:
    case 5: access(DeviceOp::Kind::kWrite); break;
    case 6:
    case 7:
    case 8:
      op.kind = DeviceOp::Kind::kWait;
      op.index = static_cast<uint16_t>(how % 6 < 3 ? how % 6 + 1 : 0);
      op.a = (number >> (which % 64)) % (o.max_wait_ns + 1);
      break;
    case 9:
    case 10:
    case 11:
      if (m.idioms.empty()) access(DeviceOp::Kind::kWrite);
      else op = m.idioms[which % m.idioms.size()];
      break;
    case 12:
    case 13:
      if (!m.inputs) access(DeviceOp::Kind::kRead);
      else {
        op.kind = DeviceOp::Kind::kLine;
        op.index = static_cast<uint16_t>(which % m.inputs);
        op.a = number & 1;
      }
      break;
    case 14:
      if (m.calls.empty()) {
        access(DeviceOp::Kind::kRead);
      } else {
        op.kind = DeviceOp::Kind::kCall;
        op.index = static_cast<uint16_t>(which % m.calls.size());
        const DeviceCall& c = m.calls[op.index];
        auto fold = [](uint64_t v, uint64_t max) { return max + 1 ? v % (max + 1) : v; };
        op.a = c.arguments > 0 ? fold(value, c.typical[0]) : 0;
        op.b = c.arguments > 1 ? fold(number, c.typical[1]) : 0;
      }
      break;
    default:
      op.kind = m.pop_message && how % 8 ? DeviceOp::Kind::kMessage
                : how % 32 == 31         ? DeviceOp::Kind::kReset
                                         : DeviceOp::Kind::kRead;
      op.a = m.registers[0];
  }
  return op;
}

// Reference: void reset(); void wait(uint64_t now_ns); uint64_t perform(const DeviceOp&) (a read's, call's or message's
// answer, packed as devices/core/script.h does); uint64_t lines(). It is told of time by wait() alone.
template <class Reference>
void expect_agreement(const char* device, const ReferenceOptions& options) {
  const DeviceModel& m = *find_device(device);
  using Raw = std::tuple<unsigned, unsigned, unsigned, uint64_t>;
  const auto raw = *rc::gen::container<std::vector<Raw>>(rc::gen::tuple(
      rc::gen::inRange(0u, 16u), rc::gen::inRange(0u, 64u), rc::gen::inRange(0u, 32u), rc::gen::arbitrary<uint64_t>()));
  StateBuffer state(*m.schema);
  m.reset(state.data());
  Reference reference;
  Nanos now{0};
  std::vector<DeviceOp> done;
  for (const auto& [pick, which, how, number] : raw) {
    DeviceOp op = operation(m, options, pick, which, how, number);
    if constexpr (requires { Reference::skips(op); })
      if (Reference::skips(op)) continue;
    if (op.kind == DeviceOp::Kind::kWait && op.index) {
      const Nanos event = m.next_event(state.data());
      if (event != kNever && event > now && (event - now).value <= options.max_wait_ns)
        op.a = (event - now).value + op.index - kAt;
      op.index = 0;
    }
    done.push_back(op);
    const DeviceAnswer have = perform(m, state.data(), now, op);
    uint64_t want = have.value;
    if (op.kind == DeviceOp::Kind::kWait) reference.wait(now.value);
    else if (op.kind == DeviceOp::Kind::kReset) {
      reference.reset();
      reference.wait(now.value);
    } else want = reference.perform(op);
    const bool answers = op.kind == DeviceOp::Kind::kRead || op.kind == DeviceOp::Kind::kCall ||
                         op.kind == DeviceOp::Kind::kMessage || op.kind == DeviceOp::Kind::kTransfer;
    if constexpr (requires { reference.unknown; })
      if (reference.unknown) want = have.value;
    if (answers && want != have.value)
      RC_FAIL(print(m, done) + "# answers " + std::to_string(have.value) + "; the reference says " +
              std::to_string(want));
    bool lines_known = true;
    if constexpr (requires { reference.lines_unknown(); }) lines_known = !reference.lines_unknown();
    if (lines_known && reference.lines() != have.lines)
      RC_FAIL(print(m, done) + "# lines " + std::to_string(have.lines) + "; the reference says " +
              std::to_string(reference.lines()));
  }
}

}  // namespace dejavm
