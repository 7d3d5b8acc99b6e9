// The ACPI fixed hardware, from ACPI 6.4 section 4.8: every register as a list of bytes, the timer by long division.
#include "tests/properties/reference.h"

namespace dejavm {
namespace {

class Reference {
 public:
  void reset() {
    const bool wide = wide_;
    *this = Reference();
    wide_ = wide;
  }
  void wait(uint64_t to) {
    // 4.8.2.1: the status bit sets whenever the last bit of the 24-bit timer changes; every half period is looked at.
    for (; half_periods_ < ticks(to) / 0x800000; ++half_periods_)
      if (!wide_ || half_periods_ % 256 == 255) set(0);  // of the 32-bit timer: 256 times as long
    now_ = to;
  }
  uint64_t perform(const DeviceOp& op) {
    uint64_t answer = 0;
    switch (op.kind) {
      case DeviceOp::Kind::kRead:
        for (unsigned i = 0; i < op.size; ++i) answer |= uint64_t{byte(op.a + i)} << (8 * i);
        return answer;
      case DeviceOp::Kind::kWrite:
        for (unsigned i = 0; i < op.size; ++i) write(op.a + i, static_cast<uint8_t>(op.b >> (8 * i)));
        return 0;
      case DeviceOp::Kind::kLine:
        if (op.a && !pressed_[op.index]) set(op.index == 0 ? 8 : op.index == 1 ? 9 : 10);  // PWRBTN, SLPBTN, RTC
        pressed_[op.index] = op.a != 0;
        return 0;
      case DeviceOp::Kind::kCall:
        if (op.index == 0) return off_;
        wide_ = op.a & 1;
        return 0;
      default: return 1;
    }
  }
  uint64_t lines() const {
    for (int bit : {0, 5, 8, 9, 10})
      if (status_[bit] && enable_[bit]) return 1;
    return 0;
  }

 private:
  static unsigned __int128 ticks(uint64_t ns) { return static_cast<unsigned __int128>(ns) * 3579545 / 1000000000; }
  void set(int bit) { status_[bit] = true; }
  uint8_t byte(uint64_t at) const {
    uint8_t v = 0;
    for (int b = 0; b < 8; ++b) {
      bool on = false;
      switch (at) {
        case 0: on = status_[b]; break;
        case 1: on = status_[8 + b]; break;
        case 2: on = enable_[b]; break;
        case 3: on = enable_[8 + b]; break;
        case 4: on = b == 0 || (b == 1 && rld_); break;  // SCI_EN, BM_RLD
        case 5: on = b >= 2 && b <= 4 && (type_ >> (b - 2) & 1); break;
        case 8:
        case 9:
        case 10: on = static_cast<uint64_t>(ticks(now_)) >> (8 * (at - 8) + static_cast<unsigned>(b)) & 1; break;
        case 11: on = wide_ && (static_cast<uint64_t>(ticks(now_)) >> (24 + b) & 1); break;
        default: on = true;
      }
      v |= static_cast<uint8_t>(on << b);
    }
    return v;
  }
  void write(uint64_t at, uint8_t v) {
    for (int b = 0; b < 8; ++b) {
      const bool on = v >> b & 1;
      const int bit = static_cast<int>(at % 2) * 8 + b;
      const bool event = bit == 0 || bit == 5 || (bit >= 8 && bit <= 10);
      if (at <= 1 && on) status_[bit] = false;
      if ((at == 2 || at == 3) && event) enable_[bit] = on;
      if (at == 4 && b == 1) rld_ = on;
    }
    if (at != 5) return;
    type_ = v >> 2 & 7;
    if (!(v & 0x20)) return;  // SLP_EN
    if (type_ == 5) off_ = true;
    else set(15);  // WAK
  }
  uint64_t now_ = 0, half_periods_ = 0;
  bool status_[16] = {}, enable_[16] = {}, pressed_[3] = {}, rld_ = false, off_ = false, wide_ = false;
  unsigned type_ = 0;
};

RC_GTEST_PROP(VpmtmrReference, AgreesWithAcpi4_8, ()) {
  expect_agreement<Reference>("vpmtmr", {.max_wait_ns = 20'000'000'000});
}

}  // namespace
}  // namespace dejavm
