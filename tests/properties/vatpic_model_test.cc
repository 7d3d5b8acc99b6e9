// The 8259A pair, from Intel's data sheet (231468) and the ELCR of PC chipsets: wires and flip-flops as arrays of bool.
#include "tests/properties/reference.h"

namespace dejavm {
namespace {

struct Chip8259 {
  bool line[8] = {}, latch[8] = {}, isr[8] = {}, imr[8] = {}, level[8] = {};
  int words = -1;  // initialisation words that are still to come: 2, 3, 4 by number; 0: none; -1: never begun
  bool single = false, calls = true, adi = false, needs4 = false, ltim = false, aeoi = false, nested = false,
       rotating = false, special = false, want_isr = false, polling = false;
  uint8_t base = 0, cascade = 0, page = 0;
  int bottom = 7;
  bool is_master = false;

  void pin(int i, bool high) {
    if (high && !line[i]) latch[i] = true;
    if (!high) latch[i] = false;
    line[i] = high;
  }
  bool request(int i) const { return ltim || level[i] ? line[i] : latch[i]; }
  // The input that would interrupt now; -1: none. Fully nested: an input in service holds back itself and those below
  // it.
  int winner() const {
    if (words != 0) return -1;
    for (int k = 1; k <= 8; ++k) {
      const int i = (bottom + k) % 8;
      if (request(i) && !imr[i] && (!isr[i] || again(i))) return i;
      const bool holds = isr[i] && !(special && imr[i]);
      if (holds) return -1;
    }
    return -1;
  }
  // Special fully nested mode: an input with a slave may interrupt again while it is in service.
  bool again(int i) const { return nested && !single && (cascade >> i & 1) && is_master; }
  void take(int i) {
    latch[i] = false;
    if (!aeoi) isr[i] = true;
    else if (rotating) bottom = i;
  }
  void end(int i, bool rotate) {
    isr[i] = false;
    if (rotate) bottom = i;
  }
  // In MCS-80/85 mode the second byte of a CALL, with an interval of 4 or 8; else the 8086's vector.
  uint8_t vector(int i) const {
    if (!calls) return static_cast<uint8_t>(base + i);
    return static_cast<uint8_t>(adi ? page | i << 2 : (page & 0xc0) | i << 3);
  }
  int in_service() const {
    for (int k = 1; k <= 8; ++k)
      if (const int i = (bottom + k) % 8; isr[i] && !(special && imr[i])) return i;
    return -1;
  }
  void even(uint8_t v, bool slave) {
    if (v & 0x10) {  // ICW1
      for (int i = 0; i < 8; ++i) latch[i] = isr[i] = imr[i] = false;
      bottom = 7;
      special = want_isr = polling = rotating = false;
      page = v & 0xe0;
      adi = v & 4;
      ltim = v & 8;
      single = v & 2;
      needs4 = v & 1;
      base = 0;
      cascade = slave ? 7 : 0;
      aeoi = nested = false;
      calls = true;  // the slave's address becomes 7; ICW4's functions end
      words = 2;
    } else if (v & 8) {  // OCW3
      polling = v & 4;   // the read that follows this very command
      if (v & 2) want_isr = v & 1;
      if (v & 0x40) special = v & 0x20;
    } else {  // OCW2
      const int l = v & 7;
      switch (v >> 5) {
        case 0: rotating = false; break;
        case 4: rotating = true; break;
        case 1:
        case 5:
          if (const int i = in_service(); i >= 0) end(i, v & 0x80);
          break;
        case 3: end(l, false); break;
        case 7: end(l, true); break;
        case 6: bottom = l; break;
        default: break;
      }
    }
  }
  void odd(uint8_t v) {
    switch (words) {
      case 2:
        base = v & 0xf8;
        words = single ? (needs4 ? 4 : 0) : 3;
        break;
      case 3:
        cascade = v;
        words = needs4 ? 4 : 0;
        break;
      case 4:
        calls = !(v & 1);
        aeoi = v & 2;
        nested = v & 0x10;
        words = 0;
        break;
      default:
        for (int i = 0; i < 8; ++i) imr[i] = v >> i & 1;
    }
  }
};

uint8_t bits(const bool (&b)[8]) {
  uint8_t v = 0;
  for (int i = 0; i < 8; ++i) v |= static_cast<uint8_t>(b[i] << i);
  return v;
}

class Reference {
 public:
  Reference() { chip_[0].is_master = true; }
  void reset() {
    // Power-on: the inputs are outside and keep their levels... to a model they are part of what is reset.
    *this = Reference();
  }
  void wait(uint64_t) {}
  uint64_t lines() const { return chip_[0].winner() >= 0; }
  uint64_t perform(const DeviceOp& op) {
    uint64_t answer = 0;
    switch (op.kind) {
      case DeviceOp::Kind::kRead:
        for (unsigned i = 0; i < op.size; ++i) answer |= uint64_t{read(op.a + i)} << (8 * i);
        break;
      case DeviceOp::Kind::kWrite:
        for (unsigned i = 0; i < op.size; ++i) write(op.a + i, static_cast<uint8_t>(op.b >> (8 * i)));
        break;
      case DeviceOp::Kind::kLine:
        if (op.index != 2) chip_[op.index / 8].pin(op.index % 8, op.a & 1);
        break;
      case DeviceOp::Kind::kCall: answer = acknowledge(); break;
      default: answer = 1;
    }
    cascade();
    return answer;
  }

 private:
  void cascade() { chip_[0].pin(2, chip_[1].winner() >= 0); }
  uint8_t acknowledge() {
    Chip8259 &m = chip_[0], &s = chip_[1];
    const int taken = m.winner(), i = taken < 0 ? 7 : taken;  // a request that vanished is as input 7's, without ISR
    if (taken >= 0) m.take(i);
    if (m.single || !(m.cascade >> i & 1)) return m.vector(i);
    // The cascade lines call the slave whose number this is.
    if ((s.cascade & 7) != i || s.single) return 0xff;
    const int k = s.winner();
    if (k >= 0) {
      s.take(k);
      m.pin(2, false);
    }
    return s.vector(k < 0 ? 7 : k);
  }
  uint8_t read(uint64_t port) {
    if (port == 0x4d0 || port == 0x4d1) return bits(chip_[port & 1].level);
    if (port != 0x20 && port != 0x21 && port != 0xa0 && port != 0xa1) return 0xff;
    const bool master = port < 0x80;
    Chip8259& c = chip_[master ? 0 : 1];
    if (c.polling) {
      c.polling = false;
      const int i = c.winner();
      if (i < 0) return 0;
      c.take(i);
      if (!master) chip_[0].pin(2, false);  // INT falls as its request is taken, also if another follows
      cascade();
      return static_cast<uint8_t>(0x80 | i);
    }
    if (port & 1) return bits(c.imr);
    if (c.want_isr) return bits(c.isr);
    bool irr[8];
    for (int i = 0; i < 8; ++i) irr[i] = c.request(i);
    return bits(irr);
  }
  void write(uint64_t port, uint8_t v) {
    if (port == 0x4d0 || port == 0x4d1) {
      const uint8_t mask = port & 1 ? 0xde : 0xf8;
      for (int i = 0; i < 8; ++i) chip_[port & 1].level[i] = (v & mask) >> i & 1;
    } else if (port == 0x20 || port == 0xa0) {
      chip_[port == 0xa0].even(v, port == 0xa0);
    } else if (port == 0x21 || port == 0xa1) {
      chip_[port == 0xa1].odd(v);
    }
    cascade();
  }
  Chip8259 chip_[2];
};

RC_GTEST_PROP(VatpicReference, AgreesWithIntel231468, ()) { expect_agreement<Reference>("vatpic", {}); }

}  // namespace
}  // namespace dejavm
