// The MC146818: its divider chain and flags tick by tick from Motorola's data sheet, its calendar from the C library.
#include <ctime>

#include "tests/properties/reference.h"

namespace dejavm {
namespace {

// Registers, UIP, flags and interrupts; memory. Time and alarm bytes are known until something could change them.
class Reference {
 public:
  bool unknown = false;  // the last answer is not for this reference to say
  void reset() { *this = Reference(); }
  void wait(uint64_t ns) {
    const auto end = static_cast<uint64_t>(static_cast<unsigned __int128>(ns) * 32768 / 1'000'000'000);
    for (; ticks_ < end; ++ticks_) tick();
  }
  uint64_t lines() const { return (c_ & b_ & 0x70) != 0; }
  bool lines_unknown() const { return b_ & 0x20; }  // alarms have a test of their own
  uint64_t perform(const DeviceOp& op) {
    unknown = false;
    uint64_t answer = 0;
    switch (op.kind) {
      case DeviceOp::Kind::kRead:
        for (unsigned i = 0; i < op.size; ++i) answer |= uint64_t{read(op.a + i)} << (8 * i);
        return answer;
      case DeviceOp::Kind::kWrite:
        for (unsigned i = 0; i < op.size; ++i) write(op.a + i, static_cast<uint8_t>(op.b >> (8 * i)));
        return 0;
      case DeviceOp::Kind::kCall:
        if (op.index == 1 && op.a >= 14 && op.a < 128 && op.a != 0x32) memory_[op.a] = static_cast<uint8_t>(op.b);
        return 0;
      default: return 1;
    }
  }

 private:
  bool held() const { return (a_ & 0x60) == 0x60; }
  bool set() const { return b_ & 0x80; }
  void tick() {
    if (held()) return;
    chain_ = (chain_ + 1) % 32768;
    const unsigned rate = a_ & 15;
    // Rates 1 and 2 repeat those of 8 and 9 with a 32 kHz crystal.
    if (rate && chain_ % (1u << ((rate < 3 ? rate + 7 : rate) - 1)) == 0) c_ |= 0x40;
    if (chain_ == 0 && !set()) {
      c_ |= 0x10;
      alarm_due_ = true;
    }
  }
  uint8_t read(uint64_t port) {
    if (port != 0x71) return 0xff;
    const unsigned i = index_ & 0x7f;
    switch (i) {
      case 10: return static_cast<uint8_t>(a_ | (!held() && !set() && chain_ >= 32768 - 8 ? 0x80 : 0));
      case 11: return b_;
      case 12: {
        // Whether the alarm went off is the calendar's business.
        if (alarm_due_ || (b_ & 0x20)) unknown = true;
        const uint8_t v = static_cast<uint8_t>(c_ | ((c_ & b_ & 0x70) ? 0x80 : 0));
        c_ = 0;
        alarm_due_ = false;
        return v;
      }
      case 13: return 0x80;
      default: break;
    }
    if (i < 10 || i == 0x32) {
      unknown = true;
      return 0;
    }
    return memory_[i];
  }
  void write(uint64_t port, uint8_t v) {
    if (port == 0x70) index_ = v;
    if (port != 0x71) return;
    const unsigned i = index_ & 0x7f;
    if (i == 10) {
      const bool was = held();
      a_ = v & 0x7f;
      if (held()) chain_ = 0;
      else if (was) chain_ = 16384;  // the first update follows half a second later
    } else if (i == 11) {
      const bool rise = (v & 0x80) && !set();
      b_ = v;
      if (rise) b_ &= 0xef;  // SET going high clears UIE
    } else if (i > 13 && i != 0x32) {
      memory_[i] = v;
    }
  }
  uint64_t ticks_ = 0;
  unsigned chain_ = 0;
  uint8_t a_ = 0x26, b_ = 0x02, c_ = 0, index_ = 0;
  bool alarm_due_ = false;
  uint8_t memory_[128] = {};
};

RC_GTEST_PROP(VrtcReference, FlagsAndRatesAgreeWithTheMc146818, ()) {
  expect_agreement<Reference>("vrtc", {.max_wait_ns = 1'500'000'000});
}

unsigned bcd(int v) { return static_cast<unsigned>(v / 10 << 4 | v % 10); }

struct Clock {
  const DeviceModel& m = *find_device("vrtc");
  StateBuffer state{*m.schema};
  Nanos now{0};
  explicit Clock(int64_t start) {
    m.reset(state.data());
    call("set_start_time", static_cast<uint64_t>(start));
  }
  void call(std::string_view name, uint64_t a) {
    for (const DeviceCall& c : m.calls)
      if (c.name == name) c.call(state.data(), now, a, 0);
  }
  void wait(uint64_t ns) {
    now = now + Nanos{ns};
    m.advance(state.data(), now);
  }
  unsigned get(unsigned i) {
    m.write(state.data(), now, 0x70, 1, i);
    return static_cast<unsigned>(m.read(state.data(), now, 0x71, 1));
  }
  void put(unsigned i, unsigned v) {
    m.write(state.data(), now, 0x70, 1, i);
    m.write(state.data(), now, 0x71, 1, v);
  }
};

std::tm at(int64_t t) {
  const auto s = static_cast<time_t>(t);
  std::tm out{};
  gmtime_r(&s, &out);
  return out;
}

// Times that matter: around the ends of minutes, hours, days, months, leap days, years and the century.
int64_t interesting_time() {
  std::tm t{};
  t.tm_year = *rc::gen::inRange(70, 199);
  t.tm_mon = *rc::gen::element(0, 1, 1, 2, 3, 11);
  t.tm_mday = *rc::gen::element(1, 28, 29, 30, 31);
  t.tm_hour = *rc::gen::element(0, 11, 12, 23);
  t.tm_min = *rc::gen::element(0, 59);
  t.tm_sec = *rc::gen::element(0, 58, 59);
  return std::clamp<int64_t>(timegm(&t), 0, 4'102'444'000);
}

RC_GTEST_PROP(VrtcReference, TheCalendarIsTheCLibrarys, ()) {
  const int64_t start = interesting_time();
  Clock c(start);
  const bool binary = *rc::gen::arbitrary<bool>(), day24 = *rc::gen::arbitrary<bool>();
  auto code = [&](int v) { return binary ? static_cast<unsigned>(v) : bcd(v); };
  if (binary || !day24) {  // another format: software sets the time anew
    c.put(11, 0x80 | (binary ? 4 : 0) | (day24 ? 2 : 0));
    const std::tm t = at(start);
    c.put(0, code(t.tm_sec));
    c.put(2, code(t.tm_min));
    c.put(6, code(t.tm_wday + 1));
    c.put(7, code(t.tm_mday));
    c.put(8, code(t.tm_mon + 1));
    c.put(9, code(t.tm_year % 100));
    c.put(4, day24 ? code(t.tm_hour) : code(t.tm_hour % 12 ? t.tm_hour % 12 : 12) | (t.tm_hour >= 12 ? 0x80 : 0));
    c.put(0x32, code(t.tm_year / 100 + 19));
    c.put(11, (binary ? 4 : 0) | (day24 ? 2 : 0));
  }
  for (int n = *rc::gen::inRange(1, 5), elapsed = 0; n > 0; --n) {
    const int step = *rc::gen::inRange(1, 200'000);
    elapsed += step;
    c.wait(static_cast<uint64_t>(step) * 1'000'000'000);
    const std::tm t = at(start + elapsed);
    RC_ASSERT(c.get(0) == code(t.tm_sec));
    RC_ASSERT(c.get(2) == code(t.tm_min));
    RC_ASSERT(c.get(4) == (day24 ? code(t.tm_hour)
                                 : (code(t.tm_hour % 12 ? t.tm_hour % 12 : 12) | (t.tm_hour >= 12 ? 0x80u : 0u))));
    RC_ASSERT(c.get(6) == code(t.tm_wday + 1));
    RC_ASSERT(c.get(7) == code(t.tm_mday));
    RC_ASSERT(c.get(8) == code(t.tm_mon + 1));
    RC_ASSERT(c.get(9) == code(t.tm_year % 100));
    RC_ASSERT(c.get(0x32) == code(t.tm_year / 100 + 19));
  }
}

// Alarm bytes from 0xc0 on match everything.
RC_GTEST_PROP(VrtcReference, TheAlarmGoesOffWhenItsBytesMatch, ()) {
  const int64_t start = interesting_time();
  Clock c(start);
  const std::tm goal = at(start + *rc::gen::inRange(1, 4000));
  const bool any_h = *rc::gen::arbitrary<bool>(), any_m = *rc::gen::arbitrary<bool>(),
             any_s = *rc::gen::arbitrary<bool>();
  c.put(1, any_s ? 0xc0 : bcd(goal.tm_sec));
  c.put(3, any_m ? 0xff : bcd(goal.tm_min));
  c.put(5, any_h ? 0xd0 : bcd(goal.tm_hour));
  c.put(11, 0x22);
  c.get(12);
  const int seconds = *rc::gen::inRange(1, 4000);
  int first = 0;
  for (int s = 1; s <= seconds && !first; ++s) {
    const std::tm t = at(start + s);
    if ((any_s || t.tm_sec == goal.tm_sec) && (any_m || t.tm_min == goal.tm_min) &&
        (any_h || t.tm_hour == goal.tm_hour))
      first = s;
  }
  if (first) {
    c.wait(static_cast<uint64_t>(first) * 1'000'000'000 - 1);
    RC_ASSERT(c.m.lines(c.state.data()) == 0u);
    c.wait(1);
    RC_ASSERT(c.m.lines(c.state.data()) == 1u);
    RC_ASSERT((c.get(12) & 0xa0) == 0xa0u);
    RC_ASSERT(c.m.lines(c.state.data()) == 0u);
  } else {
    c.wait(static_cast<uint64_t>(seconds) * 1'000'000'000);
    RC_ASSERT((c.get(12) & 0x20) == 0u);
  }
}

}  // namespace
}  // namespace dejavm
