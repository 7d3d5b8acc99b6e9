// Random operations on a device model that are likely to matter: registers more often than other offsets, waits that
// end just before, at, and just after the next event, values with few bits and with many.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "devices/catalog.h"
#include "devices/core/script.h"
#include "replay/state/state_codec.h"

namespace dejavm {

class RandomOps {
 public:
  RandomOps(const DeviceModel& model, uint64_t seed) : m_(model), g_(seed) {}
  uint64_t below(uint64_t n) { return g_() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }

  uint64_t value() {
    switch (below(8)) {
      case 0: return 0;
      case 1: return ~uint64_t{0};
      case 2: return uint64_t{1} << below(64);
      case 3: return below(16);
      case 4: return g_() & 0xffff;
      case 5: return g_() & 0xffffffff;
      case 6: return g_();
      default: return g_() & 0xff;
    }
  }

  uint64_t offset() {
    if (one_in(40)) return value();
    const uint64_t r = m_.registers[below(m_.registers.size())];
    return one_in(12) ? r + below(16) - 4 : r;
  }

  DeviceOp next(const void* state, Nanos now) {
    if (burst_ > 0) {  // the same again, with other values
      --burst_;
      if (exact_) return last_;
      if (one_in(3) || last_.kind == DeviceOp::Kind::kCall)
        last_.a = last_.kind == DeviceOp::Kind::kCall ? last_.a ^ below(256) : last_.a;
      last_.b = one_in(2) ? last_.b : value();
      return last_;
    }
    last_ = fresh(state, now);
    if (one_in(10)) {
      burst_ = below(40);
      exact_ = one_in(2);
    }
    return last_;
  }

  DeviceOp fresh(const void* state, Nanos now) {
    DeviceOp op;
    if (!m_.idioms.empty() && one_in(4)) return m_.idioms[below(m_.idioms.size())];
    const uint64_t kind = below(100);
    if (m_.next_transfer && one_in(4)) return transfer_op(!one_in(8));
    if (kind < 40) {
      op.kind = DeviceOp::Kind::kWrite;
      op.a = offset();
      op.size = size();
      op.b = value();
    } else if (kind < 60) {
      op.kind = DeviceOp::Kind::kRead;
      op.a = offset();
      op.size = size();
    } else if (kind < 78) {
      op.kind = DeviceOp::Kind::kWait;
      const Nanos event = m_.next_event(state);
      if (event != kNever && event >= now && one_in(2)) op.a = (event - now).value + below(3) - (event > now ? 1 : 0);
      else op.a = g_() >> (24 + below(40));
    } else if (kind < 88) {
      op.kind = m_.inputs ? DeviceOp::Kind::kLine : DeviceOp::Kind::kMessage;
      op.index = static_cast<uint16_t>(m_.inputs ? below(m_.inputs) : 0);
      op.a = m_.inputs ? below(2) : 0;
    } else if (kind < 97) {
      op.kind = m_.calls.empty() ? DeviceOp::Kind::kRead : DeviceOp::Kind::kCall;
      if (m_.calls.empty()) {
        op.a = offset();
      } else {
        op.index = static_cast<uint16_t>(below(m_.calls.size()));
        const DeviceCall& c = m_.calls[op.index];
        if (c.arguments > 0) op.a = one_in(10) ? value() : (c.typical[0] + 1 ? g_() % (c.typical[0] + 1) : value());
        if (c.arguments > 1) op.b = one_in(10) ? value() : (c.typical[1] + 1 ? g_() % (c.typical[1] + 1) : value());
      }
    } else {
      op.kind = one_in(6) ? DeviceOp::Kind::kReset : DeviceOp::Kind::kMessage;
    }
    return op;
  }

 private:
  uint8_t size() {
    return static_cast<uint8_t>(one_in(3) ? 1 + below(8) : m_.registers.back() >= 0x100 ? (one_in(4) ? 8 : 4) : 1);
  }
  const DeviceModel& m_;
  std::mt19937_64 g_;
  DeviceOp last_;
  uint64_t burst_ = 0;
  bool exact_ = false;
};

// A model's state somewhere in its life, with the operations that led there.
struct Device {
  explicit Device(const DeviceModel& model) : m(model), state(*model.schema) { m.reset(state.data()); }
  DeviceAnswer perform(const DeviceOp& op) {
    ops.push_back(op);
    return dejavm::perform(m, state.data(), now, op);
  }
  void live(RandomOps& random, unsigned count) {
    for (unsigned i = 0; i < count; ++i) perform(random.next(state.data(), now));
  }
  Bytes saved() const { return encode_state(*m.schema, state.data()); }
  std::string script() const { return print(m, ops); }

  const DeviceModel& m;
  StateBuffer state;
  Nanos now{0};
  std::vector<DeviceOp> ops;
};

}  // namespace dejavm
