// Events: everything that a trace logs between two snapshots, in the order in which it happened: each exit with its
// operands and its result, and each input. The encoding is relative to the events before it in the same batch;
// FORMAT.md has it byte by byte.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/result.h"
#include "replay/store/cbor.h"
#include "replay/trace/event_kinds.h"
#include "replay/trace/frame.h"
#include "vmm/engine.h"

namespace dejavm {

struct Event {
  EventKind kind = EventKind::kIoRead;
  bool ok = false;   // of a place: it is an NMI's
  uint8_t size = 0;  // bytes, 1-8, of port and memory accesses
  Position at{};
  uint64_t address = 0;  // port, Gpa, MSR, CPUID leaf, RIP
  uint64_t value = 0;    // written, or the answer; the vector; of a place the hash; of an idle the time skipped to
  uint32_t subleaf = 0;
  uint64_t cr4 = 0, xcr0 = 0;
  CpuidResult cpuid{};
  Nanos now{}, next_event{};    // kIdle: asked with
  std::vector<uint8_t> data{};  // typed bytes, a request as text, what a device read
  bool operator==(const Event&) const = default;
};
inline constexpr uint64_t kNoVector = ~uint64_t{0};
// XXH3-64 of the general registers, little-endian, in their order.
uint64_t place_hash(const Registers&);
Event place_event(Position, const Registers&, bool nmi);

// An operand as a number; of kBytes their number, of flags 0 or 1. All ones: none, or never.
uint64_t operand_value(const Event&, const EventOperand&);

// One line without a line end: "io_read vcpu 0 at 1234: port 0x3f8 size 1 -> 0x60".
std::string describe(const Event&);

// What both sides of the codec remember within a batch.
struct EventContext {
  static constexpr uint32_t kMaxVcpus = 256;
  uint32_t vcpu = 0;
  uint64_t retired = 0;                      // of the latest event
  std::array<uint64_t, kEventKinds> last{};  // what OperandForm::kLast refers to
  uint64_t time_base = 0;                    // now - retired, after the latest idle
};

class EventEncoder {
 public:
  void append(const Event&);
  // The batch so far; reset() begins the next one.
  const Bytes& out() const { return out_; }
  uint32_t count() const { return count_; }
  uint64_t first_retired() const { return first_retired_; }
  uint64_t last_retired() const { return last_retired_; }
  Bytes take();  // and resets

  // Port and memory accesses, which make up nearly all of a trace, without an Event in between.
  void access(EventKind, Position, uint64_t address, unsigned size, uint64_t value);

 private:
  void begin(EventKind, unsigned tag_bits, Position);
  void operand(const Event&, const EventOperand&, uint64_t value, uint64_t before);
  Bytes out_;
  EventContext context_;
  uint32_t count_ = 0;
  uint64_t first_retired_ = 0, last_retired_ = 0;
};

// Reads one batch. next() is false at the end and on damage; then error() is empty or says what, with the offset in the
// batch. Of the present version it accepts only what EventEncoder writes.
class EventDecoder {
 public:
  EventDecoder() = default;
  // `version`: of the trace file.
  explicit EventDecoder(std::span<const uint8_t> batch, uint32_t version = kTraceVersion)
      : in_(batch), version_(version) {}
  bool next(Event&);
  const std::string& error() const { return error_; }
  size_t offset() const { return pos_; }

 private:
  bool fail(std::string_view why);
  bool varint(uint64_t& value);
  bool small(uint64_t& value, uint64_t max, std::string_view what);
  bool start(uint8_t& tag, EventKind&);
  bool change_vcpu();
  bool position(Event&);
  bool operands(uint8_t tag, Event&);
  bool operand(uint8_t tag, const EventOperand&, Event&, uint64_t before);
  bool last_operand(uint8_t tag, const EventOperand&, Event&);
  bool size_operand(uint8_t tag, const EventOperand&, Event&);
  bool bytes_operand(Event&);
  bool take_bytes(uint64_t count, Event&);
  bool word_operand(const EventOperand&, Event&);
  bool time_operand(const EventOperand&, Event&, uint64_t before);
  std::span<const uint8_t> in_;
  uint32_t version_ = kTraceVersion;
  size_t pos_ = 0;
  EventContext context_;
  std::vector<uint64_t> retired_of_;  // version 1: of each vCPU's latest event
  std::string error_;
};

}  // namespace dejavm
