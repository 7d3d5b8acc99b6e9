// The 8254, from Intel's data sheet (231164), clock pulse by clock pulse.
#include "tests/properties/reference.h"

namespace dejavm {
namespace {

struct Counter {
  unsigned mode = 0, access = 3;
  bool bcd = false, gate = true, out = false, null = false;
  bool second_write = false, second_read = false;
  uint8_t first_byte = 0;
  uint32_t count = 0;            // the count register; 0: none
  uint32_t element = 0;          // the counting element
  bool counting = false;         // it has been loaded
  bool load = false;             // the next pulse loads it
  bool ahead = false;            // a count was written that may be seen before it is loaded
  bool stopped = false;          // mode 0: half of a new count was written
  bool strobe = false;           // modes 0, 1, 4, 5: reaching zero has not acted on OUT yet
  bool odd = false;              // mode 3
  std::vector<uint8_t> latched;  // bytes of the output latch that are still to be read
  bool latch = false, latch_unknown = false;
  bool status = false;
  uint8_t status_byte = 0;

  uint32_t modulus() const { return bcd ? 10000 : 65536; }
  void control(uint8_t v) {
    access = v >> 4 & 3;
    mode = (v >> 1 & 7) > 5 ? (v >> 1 & 3) : v >> 1 & 7;
    bcd = v & 1;
    out = mode != 0;
    null = true;
    second_write = second_read = false;
    latch = status = false;
    count = element = 0;
    counting = load = strobe = ahead = stopped = false;
  }
  void complete(unsigned raw) {
    count = raw;
    if (bcd) count = ((raw >> 12) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15)) % 10000;
    if (count == 0) count = modulus();
    null = true;
    ahead = true;
    stopped = false;
    switch (mode) {
      case 0:
        out = false;
        load = true;
        break;
      case 4: load = true; break;
      case 2:
      case 3:
        if (!counting) load = true;
        break;
      default: break;  // 1 and 5 wait for the gate
    }
  }
  void write(uint8_t v) {
    if (access == 1) return complete(v);
    if (access == 2) return complete(unsigned{v} << 8);
    if (!second_write) {
      first_byte = v;
      second_write = true;
      if (mode == 0) {
        out = counting = false;
        stopped = true;
      }  // the first byte stops the counting
      return;
    }
    second_write = false;
    complete(first_byte | unsigned{v} << 8);
  }
  void set_gate(bool level) {
    const bool rise = level && !gate;
    gate = level;
    if (mode == 2 || mode == 3) {
      if (!level) out = true;
      if (rise && count) load = ahead = true;
    }
    if ((mode == 1 || mode == 5) && rise && count) load = ahead = true;
  }
  void pulse() {
    if (load) {
      load = null = ahead = false;
      strobe = true;
      counting = !stopped;
      odd = mode == 3 && count % 2;
      element = mode == 3 ? count & ~1u : count;
      if (mode == 3 && count == 1) element = 0;
      if (mode == 1) out = false;
      if (mode >= 2) out = true;
      return;
    }
    if (!counting) return;
    if (mode == 4) out = true;  // the strobe is one pulse long, whatever the gate does
    const bool stops = mode != 1 && mode != 5;
    if (stops && !gate) return;
    switch (mode) {
      case 0:
      case 1:
        element = (element + modulus() - 1) % modulus();
        if (element == 0 && strobe) {
          out = true;
          strobe = false;
        }
        break;
      case 4:
      case 5:
        out = true;
        element = (element + modulus() - 1) % modulus();
        if (element == 0 && strobe) {
          out = false;
          strobe = false;
        }
        break;
      case 2:
        if (element == 1) {
          element = count;
          null = ahead = false;
          out = true;
        } else {
          --element;
          if (element == 1) out = false;
        }
        break;
      default: break;
    }
    if (mode == 3) square();
  }
  void square() {
    const bool long_half = odd && out;
    if (element > 2 || (element == 2 && long_half)) {
      element -= 2;
      return;
    }
    // The count has expired: OUT changes, and the next half begins with what CR holds now.
    out = count == 1 || !out;  // the illegal count 1 leaves it high
    null = ahead = false;
    odd = count % 2;
    element = count & ~1u;
  }
  uint16_t visible() const {
    const uint32_t v = element % modulus();
    if (!bcd) return static_cast<uint16_t>(v);
    return static_cast<uint16_t>(v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
  }
  void latch_count() {
    if (latch) return;
    latch = true;
    latch_unknown = ahead;
    const uint16_t v = visible();
    latched.clear();
    if (access != 2) latched.push_back(static_cast<uint8_t>(v));
    if (access != 1) latched.push_back(static_cast<uint8_t>(v >> 8));
    if (access == 3 && second_read) latched.erase(latched.begin());
  }
  void latch_status(uint8_t control_bits) {
    if (status) return;
    status = true;
    status_byte = static_cast<uint8_t>(out << 7 | null << 6 | control_bits);
  }
};

class Reference {
 public:
  bool unknown = false;
  Reference() { c_[2].gate = false; }
  void reset() { *this = Reference(); }
  void wait(uint64_t ns) {
    const auto end = static_cast<uint64_t>(static_cast<unsigned __int128>(ns) * 1193182 / 1'000'000'000);
    for (; ticks_ < end; ++ticks_)
      for (Counter& c : c_) c.pulse();
    now_ = ns;
  }
  uint64_t lines() const { return (c_[0].out ? 1 : 0) | (c_[2].out ? 4 : 0); }
  uint64_t perform(const DeviceOp& op) {
    unknown = false;
    uint64_t answer = 0;
    if (op.kind == DeviceOp::Kind::kRead)
      for (unsigned i = 0; i < op.size; ++i) answer |= uint64_t{read(op.a + i)} << (8 * i);
    if (op.kind == DeviceOp::Kind::kWrite)
      for (unsigned i = 0; i < op.size; ++i) write(op.a + i, static_cast<uint8_t>(op.b >> (8 * i)));
    if (op.kind == DeviceOp::Kind::kMessage) return 1;
    return answer;
  }

 private:
  uint8_t read(uint64_t port) {
    if (port == 0x61) return static_cast<uint8_t>(port61_ | (now_ / 15085 & 1) << 4 | c_[2].out << 5);
    if (port < 0x40 || port > 0x42) return 0xff;
    Counter& c = c_[port - 0x40];
    if (c.status) {
      c.status = false;
      return c.status_byte;
    }
    if (c.latch) {
      if (c.latch_unknown) unknown = true;
      const uint8_t v = c.latched.front();
      c.latched.erase(c.latched.begin());
      if (c.access == 3) c.second_read = !c.second_read;
      if (c.latched.empty()) c.latch = false;
      return v;
    }
    if (c.ahead) unknown = true;
    const bool high = c.access == 2 || (c.access == 3 && c.second_read);
    if (c.access == 3) c.second_read = !c.second_read;
    return static_cast<uint8_t>(c.visible() >> (high ? 8 : 0));
  }
  void write(uint64_t port, uint8_t v) {
    if (port == 0x61) {
      port61_ = v & 15;
      c_[2].set_gate(v & 1);
    } else if (port >= 0x40 && port <= 0x42) {
      c_[port - 0x40].write(v);
    } else if (port == 0x43) {
      const unsigned n = v >> 6;
      if (n == 3) {
        for (unsigned i = 0; i < 3; ++i) {
          if (!(v >> (1 + i) & 1)) continue;
          if (!(v & 0x20)) c_[i].latch_count();
          if (!(v & 0x10)) c_[i].latch_status(control_[i]);
        }
      } else if ((v & 0x30) == 0) {
        c_[n].latch_count();
      } else {
        control_[n] = v & 0x3f;
        c_[n].control(v);
      }
    }
  }
  Counter c_[3];
  uint8_t control_[3] = {0x30, 0x30, 0x30}, port61_ = 0;
  uint64_t ticks_ = 0, now_ = 0;
};

RC_GTEST_PROP(VatpitReference, AgreesWithIntel231164, ()) {
  expect_agreement<Reference>("vatpit", {.max_wait_ns = 70'000'000});
}

}  // namespace
}  // namespace dejavm
