#include "devices/i8042.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

using State = I8042::State;
using Expect = I8042::Expect;

enum class Status : uint8_t { kObf = 0x01, kSystem = 0x04, kWasCommand = 0x08, kNotLocked = 0x10 };
enum class CommandByte : uint8_t {
  kIrq1On = 0x01,
  kIrq12On = 0x02,
  kSystemFlag = 0x04,
  kKeyboardOff = 0x10,
  kAuxOff = 0x20,
  kTranslate = 0x40
};
enum class OutputPort : uint8_t { kNoReset = 0x01, kA20 = 0x02, kKeyboardFull = 0x10, kAuxFull = 0x20 };
constexpr uint8_t kFirmwareCommandByte =
    number(CommandByte::kIrq1On | CommandByte::kSystemFlag | CommandByte::kAuxOff | CommandByte::kTranslate);
constexpr uint8_t kOutputPortAtReset = 0xcf;
constexpr uint8_t kOutputPortStored = static_cast<uint8_t>(~(OutputPort::kKeyboardFull | OutputPort::kAuxFull));
constexpr uint8_t kInputPort = 0xa0;  // not locked, no manufacturing jumper
constexpr uint8_t kAck = 0xfa, kResend = 0xfe, kTestPassed = 0xaa, kFirstKeyboardCommand = 0xed;

uint8_t& command_byte(State& s) { return s.ram[0]; }

// Scan code set 2 to set 1, for the bytes that this keyboard sends and that are codes in it.
uint8_t translate(uint8_t byte) {
  switch (byte) {
    case 0x01: return 0x43;
    case 0x02: return 0x41;
    case 0x03: return 0x3f;
    case 0x83: return 0x41;
    default: return byte;
  }
}

bool keyboard_waits(const State& s) { return s.queue_len && !(s.ram[0] & CommandByte::kKeyboardOff); }

// Moves the next waiting byte into the output buffer, if that is empty and its time has come.
void load(State& s) {
  if (s.full || s.now_ns < s.ready_ns) return;
  if (s.reply_waiting) {
    s.out = s.reply;
    s.out_origin = s.reply_origin;
    s.reply_waiting = false;
    s.reply = s.reply_origin = 0;
    s.full = true;
  } else if (keyboard_waits(s)) {
    s.out = command_byte(s) & CommandByte::kTranslate ? translate(s.queue[0]) : s.queue[0];
    s.out_origin = I8042::kKeyboard;
    std::copy(s.queue.begin() + 1, s.queue.end(), s.queue.begin());
    s.queue.back() = 0;
    --s.queue_len;
    s.full = true;
  }
}

// An answer of the controller itself. Into an empty buffer it goes at once: the command was an access of its own since
// the last byte was taken, so the interrupt's edge is not lost.
void reply(State& s, uint8_t byte, uint8_t origin = I8042::kKeyboard) {
  s.reply_waiting = true;
  s.reply = byte;
  s.reply_origin = origin;
  if (!s.full) s.ready_ns = s.now_ns;
}

void send(State& s, uint8_t byte) {
  s.keyboard_last = byte;
  if (s.queue_len < s.queue.size()) s.queue[s.queue_len++] = byte;
}

void clear_queue(State& s) {
  s.queue.fill(0);
  s.queue_len = 0;
}

void keyboard_parameter(State& s, uint8_t command, uint8_t byte) {
  if (command == 0xf0) {
    if (byte > 3) return send(s, kResend);
    send(s, kAck);
    if (byte) s.keyboard_set = byte;
    else send(s, s.keyboard_set);
  } else {
    send(s, kAck);
  }
}

void keyboard_byte(State& s, uint8_t byte) {
  const uint8_t command = s.keyboard_command;
  s.keyboard_command = 0;
  if (command && byte < kFirstKeyboardCommand) return keyboard_parameter(s, command, byte);
  switch (byte) {
    case 0xed:  // LEDs
    case 0xf0:  // scan code set
    case 0xf3:  // typematic rate and delay
      s.keyboard_command = byte;
      return send(s, kAck);
    case 0xee: return send(s, 0xee);
    case 0xf2:
      send(s, kAck);
      send(s, 0xab);
      return send(s, 0x83);
    case 0xf4:  // enable
      clear_queue(s);
      return send(s, kAck);
    case 0xf5:  // defaults, disable
    case 0xf6:  // defaults
      clear_queue(s);
      s.keyboard_set = 2;
      return send(s, kAck);
    case 0xf7:
    case 0xf8:
    case 0xf9:
    case 0xfa:  // make, break and typematic of all keys
      return send(s, kAck);
    case 0xfe: return send(s, s.keyboard_last);
    case 0xff:
      clear_queue(s);
      s.keyboard_set = 2;
      send(s, kAck);
      return send(s, kTestPassed);
    default: return send(s, kResend);
  }
}

void write_output_port(State& s, uint8_t value) {
  s.output_port = value & kOutputPortStored;
  if (!(value & OutputPort::kNoReset)) s.reset_requested = true;
}

void data_byte(State& s, uint8_t byte) {
  const Expect expect = s.expect;
  const uint8_t index = s.expect_index;
  s.last_was_command = false;
  s.expect = Expect::kNone;
  s.expect_index = 0;
  switch (expect) {
    case Expect::kNone:
      command_byte(s) &= static_cast<uint8_t>(~CommandByte::kKeyboardOff);
      return keyboard_byte(s, byte);
    case Expect::kRam: s.ram[index] = byte; return;
    case Expect::kOutputPort: return write_output_port(s, byte);
    case Expect::kKeyboardBuffer: return reply(s, byte);
    case Expect::kAuxBuffer: return reply(s, byte, I8042::kAux);
    case Expect::kAuxDevice:
      command_byte(s) &= static_cast<uint8_t>(~CommandByte::kAuxOff);
      return reply(s, kResend, I8042::kAux | I8042::kTimeout);
  }
}

void command(State& s, uint8_t byte) {
  s.last_was_command = true;
  s.expect = Expect::kNone;
  s.expect_index = 0;
  if (byte >= 0x20 && byte <= 0x3f) return reply(s, s.ram[byte & 0x1f]);
  if (byte >= 0x60 && byte <= 0x7f) {
    s.expect = Expect::kRam;
    s.expect_index = byte & 0x1f;
    return;
  }
  if (byte >= 0xf0) {  // pulses low the output port bits 0-3 that are 0 in the command
    if (!(byte & OutputPort::kNoReset)) s.reset_requested = true;
    return;
  }
  switch (byte) {
    case 0xa4: return reply(s, 0xf1);  // no password
    case 0xa7: command_byte(s) |= CommandByte::kAuxOff; return;
    case 0xa8: command_byte(s) &= static_cast<uint8_t>(~CommandByte::kAuxOff); return;
    case 0xa9: return reply(s, 0x00);  // auxiliary interface test: no error
    case 0xaa: command_byte(s) |= CommandByte::kSystemFlag; return reply(s, 0x55);
    case 0xab: return reply(s, 0x00);  // keyboard interface test: no error
    case 0xad: command_byte(s) |= CommandByte::kKeyboardOff; return;
    case 0xae: command_byte(s) &= static_cast<uint8_t>(~CommandByte::kKeyboardOff); return;
    case 0xc0: return reply(s, kInputPort);
    case 0xd0: {
      const OutputPort waiting = s.out_origin & I8042::kAux ? OutputPort::kAuxFull : OutputPort::kKeyboardFull;
      return reply(s, s.output_port | bits_if(s.full, waiting));
    }
    case 0xd1: s.expect = Expect::kOutputPort; return;
    case 0xd2: s.expect = Expect::kKeyboardBuffer; return;
    case 0xd3: s.expect = Expect::kAuxBuffer; return;
    case 0xd4: s.expect = Expect::kAuxDevice; return;
    case 0xdd: s.output_port &= static_cast<uint8_t>(~OutputPort::kA20); return;
    case 0xdf: s.output_port |= OutputPort::kA20; return;
    case 0xe0:
      return reply(s, command_byte(s) & CommandByte::kKeyboardOff ? 0x02 : 0x03);  // T1 data, T0 clock: idle high
    default: return;
  }
}

uint8_t read_data(State& s) {
  if (s.full) {
    s.full = false;
    s.out_origin = 0;
    s.ready_ns = s.now_ns + std::min(I8042::kByteGapNs, kNever.value - s.now_ns);
  }
  return s.out;
}

uint8_t read_status(const State& s) {
  uint8_t status = Status::kNotLocked | s.out_origin;
  if (s.full) status |= Status::kObf;
  if (s.ram[0] & CommandByte::kSystemFlag) status |= Status::kSystem;
  if (s.last_was_command) status |= Status::kWasCommand;
  return status;
}

bool is_origin(uint8_t bits) { return !(bits & ~(I8042::kAux | I8042::kTimeout)); }

}  // namespace

const char* I8042::invalid(const State& s) {
  if (!std::all_of(s.queue.begin() + s.queue_len, s.queue.end(), [](uint8_t b) { return b == 0; }))
    return "bytes past the end of the keyboard's queue are not zero";
  if (!is_origin(s.out_origin) || !is_origin(s.reply_origin)) return "an origin holds other bits";
  if (!s.full && s.out_origin) return "an empty output buffer has an origin";
  if (!s.reply_waiting && (s.reply || s.reply_origin)) return "no answer waits but its byte is not zero";
  if (s.expect != Expect::kRam && s.expect_index) return "a RAM index without a RAM write to come";
  if (s.output_port & ~kOutputPortStored) return "the output port holds bits that are not stored";
  const uint8_t c = s.keyboard_command;
  if (c != 0 && c != 0xed && c != 0xf0 && c != 0xf3) return "the keyboard awaits a parameter of a command without one";
  return nullptr;
}

void I8042::reset(State& s) {
  s = State{};
  command_byte(s) = kFirmwareCommandByte;
  s.output_port = kOutputPortAtReset;
}

uint64_t I8042::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const uint64_t port = offset + i;
    const uint8_t byte = port == kDataPort ? read_data(s) : port == kCommandPort ? read_status(s) : uint8_t{0xff};
    value |= uint64_t{byte} << (8 * i);
  }
  return value;
}

void I8042::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  for (unsigned i = 0; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(value >> (8 * i));
    if (offset + i == kDataPort) data_byte(s, byte);
    else if (offset + i == kCommandPort) command(s, byte);
    else continue;
    load(s);
  }
}

void I8042::advance(State& s, Nanos now) {
  s.now_ns = std::max(s.now_ns, now.value);
  load(s);
}

Nanos I8042::next_event(const State& s) {
  return !s.full && (s.reply_waiting || keyboard_waits(s)) ? Nanos{s.ready_ns} : kNever;
}

uint64_t I8042::lines(const State& s) {
  uint64_t lines = 0;
  const bool aux = s.out_origin & kAux;
  if (s.full && !aux && (s.ram[0] & CommandByte::kIrq1On)) lines |= kIrq1;
  if (s.full && aux && (s.ram[0] & CommandByte::kIrq12On)) lines |= kIrq12;
  if (s.reset_requested) lines |= kReset;
  return lines;
}

}  // namespace dejavm
