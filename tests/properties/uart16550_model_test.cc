// The 16550A, from National's PC16550D data sheet: FIFOs as deques, interrupt sources as a list by priority.
#include <deque>

#include "tests/properties/reference.h"

namespace dejavm {
namespace {

class Reference {
 public:
  void reset() { *this = Reference(); }
  void wait(uint64_t) {}
  uint64_t lines() const { return (mcr_ & 8) && source() != 1; }
  uint64_t perform(const DeviceOp& op) {
    uint64_t answer = 0;
    switch (op.kind) {
      case DeviceOp::Kind::kRead:
        for (unsigned i = 0; i < op.size; ++i) answer |= uint64_t{op.a + i < 8 ? read(op.a + i) : uint8_t{0xff}} << (8 * i);
        return answer;
      case DeviceOp::Kind::kWrite:
        for (unsigned i = 0; i < op.size; ++i)
          if (op.a + i < 8) write(op.a + i, static_cast<uint8_t>(op.b >> (8 * i)));
        return 0;
      case DeviceOp::Kind::kCall:
        if (op.index == 0) {  // a byte from the far end
          if ((mcr_ & 0x10) || rx_.size() >= (fifo_ ? 16u : 1u)) return 0;
          rx_.push_back(static_cast<uint8_t>(op.a));
          return 1;
        }
        if (tx_.empty()) return ~uint64_t{0};
        answer = tx_.front();
        tx_.pop_front();
        return answer;
      default: return 1;
    }
  }

 private:
  // 8.6: what IIR shows, by priority.
  unsigned source() const {
    static constexpr unsigned kTrigger[] = {1, 4, 8, 14};
    if ((ier_ & 4) && overrun_) return 6;
    if ((ier_ & 1) && !rx_.empty()) return !fifo_ || rx_.size() >= kTrigger[level_] ? 4 : 12;
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
        const uint8_t v = static_cast<uint8_t>(0x60 | (rx_.empty() ? 0 : 1) | (overrun_ ? 2 : 0));
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
        thre_ = true;  // it has left at once
        if (!(mcr_ & 0x10)) {
          if (tx_.size() < 16) tx_.push_back(v);
        } else if (rx_.size() < (fifo_ ? 16u : 1u)) {
          rx_.push_back(v);
        } else {
          overrun_ = true;
          if (!fifo_) rx_.back() = v;  // the shift register's byte replaces the buffer's; a full FIFO keeps its own
        }
        break;
      case 1:
        if (lcr_ & 0x80) {
          dlm_ = v;
          break;
        }
        if (!(ier_ & 2) && (v & 2)) thre_ = true;  // enabled while it is empty
        ier_ = v & 15;
        break;
      case 2: {
        const bool on = v & 1;
        if (on != fifo_) rx_.clear();  // the transmitter is empty: what was written has left
        fifo_ = on;
        if (!on) {
          level_ = 0;
          break;
        }
        if (v & 2) rx_.clear();
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
  std::deque<uint8_t> rx_, tx_;
  bool fifo_ = false, thre_ = false, overrun_ = false;
  unsigned level_ = 0, deltas_ = 0;
  uint8_t ier_ = 0, lcr_ = 0, mcr_ = 0, scr_ = 0, dll_ = 12, dlm_ = 0;
};

RC_GTEST_PROP(Uart16550Reference, AgreesWithPc16550d, ()) { expect_agreement<Reference>("uart16550", {}); }

}  // namespace
}  // namespace dejavm
