// The 16550A, from National's PC16550D data sheet: FIFOs as deques, interrupt sources as a list by priority; in time, a
// list of what happens when.
#include <deque>
#include <optional>

#include "tests/properties/reference.h"

namespace dejavm {
namespace {

class Reference {
 public:
  void reset() {
    const bool timed = timed_;
    *this = Reference();
    timed_ = timed;
  }
  void wait(uint64_t now) {
    while (true) {
      const uint64_t sent = shifter_ ? shifter_->second : ~uint64_t{0},
                     idle = quiet_since_ ? *quiet_since_ + 4 * quiet_unit_ : ~uint64_t{0};
      const uint64_t first = std::min(sent, idle);
      if (first > now) break;
      now_ = first;
      if (sent == first) character_ends();
      if (idle == first && quiet_since_ && *quiet_since_ + 4 * quiet_unit_ == first) {
        quiet_since_.reset();
        timeout_ = true;
      }
    }
    now_ = std::max(now_, now);
  }
  uint64_t lines() const { return (mcr_ & 8) && source() != 1; }
  uint64_t perform(const DeviceOp& op) {
    uint64_t answer = 0;
    switch (op.kind) {
      case DeviceOp::Kind::kRead:
        for (unsigned i = 0; i < op.size; ++i)
          answer |= uint64_t{op.a + i < 8 ? read(op.a + i) : uint8_t{0xff}} << (8 * i);
        return answer;
      case DeviceOp::Kind::kWrite:
        for (unsigned i = 0; i < op.size; ++i)
          if (op.a + i < 8) write(op.a + i, static_cast<uint8_t>(op.b >> (8 * i)));
        return 0;
      case DeviceOp::Kind::kCall:
        if (op.index == 0) {  // a byte from the far end
          if ((mcr_ & 0x10) || rx_.size() >= (fifo_ ? 16u : 1u) || (timed_ && now_ < line_busy_until_)) return 0;
          arrives(static_cast<uint8_t>(op.a));
          line_busy_until_ = now_ + character();
          return 1;
        }
        if (op.index == 2) {  // the line's speed; what is on its way arrives
          if (timed_ == (op.a & 1)) return 0;
          while (shifter_) character_ends();
          timed_ = op.a & 1;
          line_busy_until_ = 0;
          quiet_since_.reset();
          timeout_ = false;
          touch_fifo();
          return 0;
        }
        if (tx_.empty()) return ~uint64_t{0};
        answer = tx_.front();
        tx_.pop_front();
        return answer;
      default: return 1;
    }
  }

 private:
  // 8.1, 8.2: a character's bits at the baud rate, with the half bit of 1.5 stop bits.
  uint64_t character() const {
    static constexpr unsigned kBitsTimesTwo[2][4] = {{14, 16, 18, 20},
                                                     {15, 18, 20, 22}};  // by stop bits and word length
    const unsigned bits = kBitsTimesTwo[lcr_ >> 2 & 1][lcr_ & 3] + (lcr_ & 8 ? 2 : 0);
    const unsigned divisor = dlm_ * 256u + dll_;
    const unsigned __int128 ns = static_cast<unsigned __int128>(bits) * (divisor ? divisor : 1) * 8 * 1'000'000'000;
    return static_cast<uint64_t>((ns + 1843199) / 1843200);
  }
  void touch_fifo() {
    quiet_since_.reset();
    if (!timed_ || !fifo_ || rx_.empty()) return;
    quiet_since_ = now_;
    quiet_unit_ = character();
  }
  void arrives(uint8_t byte) {
    rx_.push_back(byte);
    if (!timeout_) touch_fifo();
  }
  void leaves(uint8_t byte) {
    if (!(mcr_ & 0x10)) {
      if (tx_.size() < 16) tx_.push_back(byte);
    } else if (rx_.size() < (fifo_ ? 16u : 1u)) {
      arrives(byte);
    } else {
      overrun_ = true;
      if (!fifo_) rx_.back() = byte;  // the shift register's byte replaces the buffer's; a full FIFO keeps its own
    }
  }
  void character_ends() {
    const auto [byte, end] = *shifter_;
    shifter_.reset();
    const uint64_t now = now_;
    now_ = end;
    leaves(byte);
    if (!waiting_.empty()) {
      shifter_ = {waiting_.front(), end + character()};
      waiting_.pop_front();
      if (waiting_.empty()) thre_ = true;
    }
    now_ = now;
  }
  void forget_received() {
    rx_.clear();
    quiet_since_.reset();
    timeout_ = false;
  }
  void forget_waiting() {
    if (!waiting_.empty()) thre_ = true;
    waiting_.clear();
  }
  // 8.5: what IIR shows, by priority.
  unsigned source() const {
    static constexpr unsigned kTrigger[] = {1, 4, 8, 14};
    if ((ier_ & 4) && overrun_) return 6;
    if ((ier_ & 1) && !rx_.empty()) {
      if (!fifo_ || rx_.size() >= kTrigger[level_]) return 4;
      if (!timed_ || timeout_) return 12;
    }
    if ((ier_ & 2) && thre_) return 2;
    if ((ier_ & 8) && (deltas_ & 15)) return 0;
    return 1;
  }
  unsigned modem() const {  // CTS, DSR, RI, DCD as bits 0 to 3
    if (!(mcr_ & 0x10)) return 0b1011;
    return (mcr_ & 2 ? 1 : 0) | (mcr_ & 1 ? 2 : 0) | (mcr_ & 4 ? 4 : 0) | (mcr_ & 8 ? 8 : 0);
  }
  uint8_t read(uint64_t reg) {
    switch (reg) {
      case 0: {
        if (lcr_ & 0x80) return dll_;
        if (rx_.empty()) return 0;
        const uint8_t v = rx_.front();
        rx_.pop_front();
        timeout_ = false;
        touch_fifo();
        return v;
      }
      case 1: return lcr_ & 0x80 ? dlm_ : ier_;
      case 2: {
        const unsigned s = source();
        if (s == 2) thre_ = false;
        return static_cast<uint8_t>(s | (fifo_ ? 0xc0 : 0));
      }
      case 3: return lcr_;
      case 4: return mcr_;
      case 5: {
        const uint8_t v =
            static_cast<uint8_t>((waiting_.empty() ? 0x20 : 0) | (waiting_.empty() && !shifter_ ? 0x40 : 0) |
                                 (rx_.empty() ? 0 : 1) | (overrun_ ? 2 : 0));
        overrun_ = false;
        return v;
      }
      case 6: {
        const uint8_t v = static_cast<uint8_t>(modem() << 4 | deltas_);
        deltas_ = 0;
        return v;
      }
      default: return scr_;
    }
  }
  void write(uint64_t reg, uint8_t v) {
    switch (reg) {
      case 0:
        if (lcr_ & 0x80) {
          dll_ = v;
          break;
        }
        if (!timed_) {
          leaves(v);
          thre_ = true;  // it has left at once
        } else if (!shifter_) {
          shifter_ = {v, now_ + character()};
          thre_ = true;
        } else {
          thre_ = false;
          if (waiting_.size() < (fifo_ ? 16u : 1u)) waiting_.push_back(v);
          else if (!fifo_) waiting_.back() = v;
        }
        break;
      case 1:
        if (lcr_ & 0x80) {
          dlm_ = v;
          break;
        }
        if (!(ier_ & 2) && (v & 2)) thre_ = waiting_.empty();  // enabled while it is empty
        ier_ = v & 15;
        break;
      case 2: {
        const bool on = v & 1;
        if (on != fifo_) {
          forget_received();
          forget_waiting();
        }
        fifo_ = on;
        if (!on) {
          level_ = 0;
          break;
        }
        if (v & 2) forget_received();
        if (v & 4) forget_waiting();
        level_ = v >> 6;
        break;
      }
      case 3: lcr_ = v; break;
      case 4: {
        const unsigned before = modem();
        mcr_ = v & 0x1f;
        const unsigned after = modem(), changed = before ^ after;
        deltas_ |= changed & 0b1011;
        if ((changed & 4) && !(after & 4)) deltas_ |= 4;  // TERI: the trailing edge only
        break;
      }
      case 7: scr_ = v; break;
      default: break;
    }
  }
  uint64_t now_ = 0, line_busy_until_ = 0, quiet_unit_ = 0;
  std::optional<uint64_t> quiet_since_;                  // the FIFO was last touched; none: the timeout's clock stands
  std::optional<std::pair<uint8_t, uint64_t>> shifter_;  // the character, and when it ends
  bool timed_ = false, timeout_ = false;
  std::deque<uint8_t> rx_, tx_, waiting_;
  bool fifo_ = false, thre_ = false, overrun_ = false;
  unsigned level_ = 0, deltas_ = 0;
  uint8_t ier_ = 0, lcr_ = 0, mcr_ = 0, scr_ = 0, dll_ = 12, dlm_ = 0;
};

RC_GTEST_PROP(Uart16550Reference, AgreesWithPc16550d, ()) {
  expect_agreement<Reference>("uart16550", {.max_wait_ns = 20'000'000});
}

}  // namespace
}  // namespace dejavm
