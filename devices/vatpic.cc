#include "devices/vatpic.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

using Chip = Vatpic::Chip;
using Stage = Vatpic::Stage;

constexpr unsigned kMaster = 0, kSlave = 1;
constexpr unsigned kCascade = 2;  // the master's input that the slave's INT drives
constexpr unsigned kDefault = 7;  // the input that answers an acknowledge without a request
constexpr int kNone = -1;
constexpr uint8_t kElcrWritable[2] = {0xf8, 0xde};  // IRQ0-2, 8 and 13 are always edge-triggered (ICH9 13.4.10-11)

enum class Icw1 : uint8_t {
  kIcw4Needed = 0x01,
  kSingle = 0x02,
  kInterval4 = 0x04,
  kLevelTriggered = 0x08,
  kIsIcw1 = 0x10
};
enum class Icw4 : uint8_t { kMode8086 = 0x01, kAutoEoi = 0x02, kFullyNestedSpecial = 0x10, kIcw4Bits = 0x1f };
enum class Ocw2 : uint8_t { kEoi = 0x20, kSpecific = 0x40, kRotate = 0x80 };
enum class Ocw3 : uint8_t {
  kReadIsr = 0x01,
  kReadRegister = 0x02,
  kPoll = 0x04,
  kIsOcw3 = 0x08,
  kSetSmm = 0x20,
  kEnableSmm = 0x40
};

constexpr uint8_t bit(unsigned n) { return static_cast<uint8_t>(1u << (n & 7)); }
void set(uint8_t& mask, unsigned n, bool on) { mask = static_cast<uint8_t>(on ? mask | bit(n) : mask & ~bit(n)); }

uint8_t level_inputs(const Chip& c) { return c.icw1 & Icw1::kLevelTriggered ? 0xff : c.elcr; }

// An edge that falls again before its acknowledge is no request any more (datasheet: "interrupt triggered by").
uint8_t irr(const Chip& c) { return c.lines & (level_inputs(c) | c.edges); }

bool is_slave_input(const Chip& c, unsigned which, unsigned n) {
  return which == kMaster && !(c.icw1 & Icw1::kSingle) && (c.icw3 & bit(n));
}

// ISR bits that hold off others and that a non-specific EOI can see: in special mask mode not the masked ones.
uint8_t blocking(const Chip& c) { return static_cast<uint8_t>(c.special_mask ? c.isr & ~c.imr : c.isr); }

// The input that INT stands for, or kNone.
int request(const Chip& c, unsigned which) {
  if (c.stage != Stage::kReady) return kNone;
  const uint8_t wanted = static_cast<uint8_t>(irr(c) & ~c.imr);
  const uint8_t busy = blocking(c);
  for (unsigned i = 1; i <= 8; ++i) {
    const unsigned n = (c.lowest + i) & 7;
    const bool again = (c.icw4 & Icw4::kFullyNestedSpecial) && is_slave_input(c, which, n);
    const bool in_service = busy & bit(n);
    if ((wanted & bit(n)) && (!in_service || again)) return static_cast<int>(n);
    if (in_service) return kNone;
  }
  return kNone;
}

void set_input(Chip& c, unsigned n, bool level) {
  const bool was = c.lines & bit(n);
  if (level != was) set(c.edges, n, level);
  set(c.lines, n, level);
}

// Carries the slave's INT to the master's input.
void cascade(Vatpic::State& s) { set_input(s.chip[kMaster], kCascade, request(s.chip[kSlave], kSlave) != kNone); }

// INT drops at an acknowledge even when another request follows at once, which is an edge for the master.
void drop_int(Vatpic::State& s, unsigned which) {
  if (which == kSlave) set_input(s.chip[kMaster], kCascade, false);
}

void end_of_interrupt(Chip& c, unsigned n, bool rotate) {
  set(c.isr, n, false);
  if (rotate) c.lowest = static_cast<uint8_t>(n);
}

// One chip's part of an acknowledge or a poll: returns the input taken, or kNone.
int take_request(Vatpic::State& s, unsigned which) {
  Chip& c = s.chip[which];
  const int taken = request(c, which);
  if (taken == kNone) return kNone;
  const auto n = static_cast<unsigned>(taken);
  set(c.edges, n, false);
  set(c.isr, n, true);
  if (c.icw4 & Icw4::kAutoEoi) end_of_interrupt(c, n, c.rotate_on_aeoi);
  drop_int(s, which);
  return taken;
}

// What the chip drives on the second INTA: a vector, or in 8080 mode the low byte of the CALL's address.
uint8_t vector(const Chip& c, unsigned n) {
  if (c.icw4 & Icw4::kMode8086) return static_cast<uint8_t>((c.icw2 & 0xf8) | n);
  if (c.icw1 & Icw1::kInterval4) return static_cast<uint8_t>((c.icw1 & 0xe0) | n << 2);
  return static_cast<uint8_t>((c.icw1 & 0xc0) | n << 3);
}

void write_icw1(Chip& c, unsigned which, uint8_t value) {
  c.icw1 = value;
  c.icw2 = 0;
  c.icw3 = which == kSlave ? 7 : 0;
  c.icw4 = 0;
  c.edges = 0;
  c.isr = 0;
  c.imr = 0;
  c.lowest = 7;
  c.rotate_on_aeoi = c.special_mask = c.read_isr = c.poll = false;
  c.stage = Stage::kIcw2;
}

void write_ocw2(Chip& c, uint8_t value) {
  const bool rotate = value & Ocw2::kRotate;
  const unsigned level = value & 7;
  if (value & Ocw2::kEoi) {
    if (value & Ocw2::kSpecific) return end_of_interrupt(c, level, rotate);
    const uint8_t busy = blocking(c);
    for (unsigned i = 1; i <= 8; ++i) {
      const unsigned n = (c.lowest + i) & 7;
      if (busy & bit(n)) return end_of_interrupt(c, n, rotate);
    }
  } else if (value & Ocw2::kSpecific) {
    if (rotate) c.lowest = static_cast<uint8_t>(level);  // set priority; without R: no operation
  } else {
    c.rotate_on_aeoi = rotate;
  }
}

void write_ocw3(Chip& c, uint8_t value) {
  if (value & Ocw3::kEnableSmm) c.special_mask = value & Ocw3::kSetSmm;
  if (value & Ocw3::kReadRegister) c.read_isr = value & Ocw3::kReadIsr;
  c.poll = value & Ocw3::kPoll;
}

void write_odd(Chip& c, uint8_t value) {
  switch (c.stage) {
    case Stage::kIcw2:
      c.icw2 = value;
      c.stage = !(c.icw1 & Icw1::kSingle) ? Stage::kIcw3 : c.icw1 & Icw1::kIcw4Needed ? Stage::kIcw4 : Stage::kReady;
      break;
    case Stage::kIcw3:
      c.icw3 = value;
      c.stage = c.icw1 & Icw1::kIcw4Needed ? Stage::kIcw4 : Stage::kReady;
      break;
    case Stage::kIcw4:
      c.icw4 = value & Icw4::kIcw4Bits;
      c.stage = Stage::kReady;
      break;
    case Stage::kNeverInitialised:
    case Stage::kReady: c.imr = value; break;
  }
}

void write_even(Chip& c, unsigned which, uint8_t value) {
  if (value & Icw1::kIsIcw1) write_icw1(c, which, value);
  else if (value & Ocw3::kIsOcw3) write_ocw3(c, value);
  else write_ocw2(c, value);
}

uint8_t read_chip(Vatpic::State& s, unsigned which, bool odd) {
  Chip& c = s.chip[which];
  if (c.poll) {
    c.poll = false;
    const int taken = take_request(s, which);
    return taken == kNone ? uint8_t{0} : static_cast<uint8_t>(0x80 | taken);
  }
  if (odd) return c.imr;
  return c.read_isr ? c.isr : irr(c);
}

uint8_t read_port(Vatpic::State& s, uint64_t port) {
  switch (port) {
    case 0x20:
    case 0x21: return read_chip(s, kMaster, port & 1);
    case 0xa0:
    case 0xa1: return read_chip(s, kSlave, port & 1);
    case 0x4d0:
    case 0x4d1: return s.chip[port & 1].elcr;
    default: return 0xff;
  }
}

void write_port(Vatpic::State& s, uint64_t port, uint8_t value) {
  switch (port) {
    case 0x20: return write_even(s.chip[kMaster], kMaster, value);
    case 0x21: return write_odd(s.chip[kMaster], value);
    case 0xa0: return write_even(s.chip[kSlave], kSlave, value);
    case 0xa1: return write_odd(s.chip[kSlave], value);
    case 0x4d0:
    case 0x4d1: s.chip[port & 1].elcr = value & kElcrWritable[port & 1]; return;
    default: return;
  }
}

}  // namespace

const char* Vatpic::invalid(const State& s) {
  for (unsigned which : {kMaster, kSlave}) {
    const Chip& c = s.chip[which];
    if (c.edges & ~c.lines) return "an edge is latched on an input that is low";
    if (c.elcr & ~kElcrWritable[which]) return "ELCR has a bit that is always zero";
    if (c.icw4 & ~Icw4::kIcw4Bits) return "ICW4 has a bit that is always zero";
  }
  const bool slave_int = request(s.chip[kSlave], kSlave) != kNone;
  if (slave_int != ((s.chip[kMaster].lines & bit(kCascade)) != 0)) return "the master's input 2 is not the slave's INT";
  return nullptr;
}

void Vatpic::reset(State& s) {
  s = State{};
  for (Chip& c : s.chip) c.lowest = 7;
}

uint64_t Vatpic::read(State& s, Nanos, uint64_t offset, unsigned size) {
  uint64_t out = 0;
  for (unsigned i = 0; i < std::min(size, 8u); ++i) {
    out |= uint64_t{read_port(s, offset + i)} << (8 * i);
    cascade(s);
  }
  return out;
}

void Vatpic::write(State& s, Nanos, uint64_t offset, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < std::min(size, 8u); ++i) {
    write_port(s, offset + i, static_cast<uint8_t>(value >> (8 * i)));
    cascade(s);
  }
}

uint64_t Vatpic::lines(const State& s) { return request(s.chip[kMaster], kMaster) != kNone ? uint64_t{kIntr} : 0; }

void Vatpic::set_line(State& s, Nanos, unsigned input, bool level) {
  if (input >= 16 || input == kCascade) return;
  set_input(s.chip[input / 8], input % 8, level);
  cascade(s);
}

uint8_t Vatpic::acknowledge(State& s, Nanos) {
  const int taken = take_request(s, kMaster);
  const unsigned n = taken == kNone ? kDefault : static_cast<unsigned>(taken);
  const Chip& master = s.chip[kMaster];
  if (!is_slave_input(master, kMaster, n)) return vector(master, n);
  // The master puts the input's number on the cascade lines, and the slave of that number drives the bus.
  const Chip& slave = s.chip[kSlave];
  if ((slave.icw1 & Icw1::kSingle) || (slave.icw3 & 7) != n) return 0xff;
  const int slave_taken = take_request(s, kSlave);
  const uint8_t answer = vector(slave, slave_taken == kNone ? kDefault : static_cast<unsigned>(slave_taken));
  cascade(s);
  return answer;
}

}  // namespace dejavm
