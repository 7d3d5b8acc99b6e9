// The HPET, from the IA-PC specification 1.0a, sections 2.3 and 2.4: one clock tick after the other.
#include "tests/properties/reference.h"

namespace dejavm {
namespace {

class Reference {
 public:
  void reset() { *this = Reference(); }
  void wait(uint64_t ns) {
    for (; ticks_ < ns / 100; ++ticks_) tick();
  }
  uint64_t perform(const DeviceOp& op) {
    if (op.kind == DeviceOp::Kind::kMessage) {
      for (Timer& t : t_) {
        if (!t.message) continue;
        t.message = false;
        const uint64_t address = t.fsb >> 32;  // an MSI: SDM vol. 3, 11.11
        if ((address & 0xfff00000) == 0xfee00000)
          return (t.fsb & 0xff) | (t.fsb & 0x700) | (address & 4 ? 1 << 11 : 0) | 1 << 13 |
                 (address >> 12 & 0xff) << 32;
      }
      return 1;
    }
    if (op.kind == DeviceOp::Kind::kWrite) {
      for (unsigned i = 0; i < op.size;) {  // one register after the other
        const uint64_t reg = (op.a + i) & ~uint64_t{7};
        uint64_t mask = 0, value = 0;
        for (; i < op.size && ((op.a + i) & ~uint64_t{7}) == reg; ++i) {
          mask |= uint64_t{0xff} << (8 * ((op.a + i) & 7));
          value |= (op.b >> (8 * i) & 0xff) << (8 * ((op.a + i) & 7));
        }
        write(reg, value, mask);
      }
      return 0;
    }
    if (op.kind != DeviceOp::Kind::kRead) return 1;
    uint64_t answer = 0;
    for (unsigned i = 0; i < op.size; ++i)
      answer |= (read((op.a + i) & ~uint64_t{7}) >> (8 * ((op.a + i) & 7)) & 0xff) << (8 * i);
    return answer;
  }
  uint64_t lines() const {
    uint64_t v = legacy_ ? uint64_t{1} << 32 : 0;
    for (int n = 0; running_ && n < 3; ++n) {
      if (!t_[n].enabled || !(t_[n].status || (t_[n].high && t_[n].cut(counter_ + 1) != t_[n].comparator))) continue;
      if (messages(n)) continue;
      if (legacy_ && n < 2) v |= uint64_t{1} << (33 + n);
      else if (t_[n].route) v |= uint64_t{1} << t_[n].route;
    }
    return v;
  }

 private:
  struct Timer {
    bool level = false, enabled = false, periodic = false, set = false, narrow = false, status = false, high = false,
         by_message = false, message = false;
    uint64_t fsb = 0;
    unsigned route = 0;
    uint64_t comparator = ~uint64_t{0}, period = 0;
    uint64_t cut(uint64_t v) const { return narrow ? v & 0xffffffff : v; }
  };
  bool messages(int n) const { return t_[n].by_message && !(legacy_ && n < 2); }
  void tick() {
    if (!running_) return;
    ++counter_;
    for (int n = 0; n < 3; ++n) {
      Timer& t = t_[n];
      if (t.cut(counter_) != t.cut(t.comparator)) continue;
      if (t.level) t.status = true;
      else if (!messages(n)) t.high |= t.enabled;                    // until just before it comes again
      else if (t.enabled && t.fsb >> 52 == 0xfee) t.message = true;  // to another address it is lost
      if (t.periodic) t.comparator = t.cut(t.comparator + t.period);
    }
  }
  uint64_t read(uint64_t reg) const {
    switch (reg) {
      case 0x000: return 0x05f5e100'8086a201;  // 10^8 fs; Intel; legacy route, 64 bits, 3 timers, revision 1
      case 0x010: return (running_ ? 1 : 0) | (legacy_ ? 2 : 0);
      case 0x020: return (t_[0].status ? 1 : 0) | (t_[1].status ? 2 : 0) | (t_[2].status ? 4 : 0);
      case 0x0f0: return counter_;
      default: break;
    }
    const uint64_t n = (reg - 0x100) / 0x20;
    if (reg < 0x100 || n > 2) return 0;
    const Timer& t = t_[n];
    if (reg % 0x20 == 8) return t.comparator;
    if (reg % 0x20 == 0x10) return t.fsb;
    if (reg % 0x20 != 0) return 0;
    return uint64_t{0x00f00000} << 32 | (n == 0 ? 1 << 4 : 0) | 1 << 5 | (t.level ? 2 : 0) | (t.enabled ? 4 : 0) |
           (t.periodic ? 8 : 0) | (t.set ? 0x40 : 0) | (t.narrow ? 0x100 : 0) | t.route << 9 |
           (t.by_message ? 0x4000 : 0) | 0x8000;
  }
  void write(uint64_t reg, uint64_t value, uint64_t mask) {
    const uint64_t v = (read(reg) & ~mask) | (value & mask);
    if (reg == 0x010) {
      if (!(v & 1) || legacy_ != static_cast<bool>(v & 2))
        for (Timer& t : t_) t.high = false;
      running_ = v & 1;
      legacy_ = v & 2;
      return;
    }
    if (reg == 0x020) {
      for (int n = 0; n < 3; ++n)
        if (value & mask & (1u << n)) t_[n].status = false;
      return;
    }
    if (reg == 0x0f0) {
      counter_ = v;
      return;
    }
    const uint64_t n = (reg - 0x100) / 0x20;
    if (reg < 0x100 || n > 2) return;
    Timer& t = t_[n];
    if (reg % 0x20 == 0) {
      const Timer before = t;
      t.level = v & 2;
      t.enabled = v & 4;
      t.periodic = n == 0 && (v & 8);
      t.set = t.periodic && (v & 0x40);
      t.narrow = v & 0x100;
      t.by_message = v & 0x4000;
      const unsigned route = v >> 9 & 31;
      if (route == 0 || (route >= 20 && route <= 23)) t.route = route;
      if (t.level != before.level || t.enabled != before.enabled || t.by_message != before.by_message ||
          t.route != before.route)
        t.high = false;
      if (!t.level) t.status = false;
      t.comparator = t.cut(t.comparator);
      t.period = t.cut(t.period);
    } else if (reg % 0x20 == 0x10) {
      t.fsb = v;
    } else if (reg % 0x20 == 8) {
      // The bytes that are not written keep the value of what they become part of.
      const uint64_t period = t.cut((t.period & ~mask) | (value & mask));
      if (!t.periodic || t.set) t.comparator = t.cut(v);
      t.period = period;
      t.set = false;
    }
  }
  uint64_t ticks_ = 0, counter_ = 0;
  bool running_ = false, legacy_ = false;
  Timer t_[3];
};

RC_GTEST_PROP(VhpetReference, AgreesWithHpet1_0a, ()) {
  expect_agreement<Reference>("vhpet", {.max_wait_ns = 400'000});
}

}  // namespace
}  // namespace dejavm
