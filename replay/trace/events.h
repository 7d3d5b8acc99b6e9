// Events: everything that a trace logs between two snapshots, in the order in which it happened: each exit with its
// operands and its result, and each input. The encoding is relative to the events before it in the same batch;
// FORMAT.md has it byte by byte.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/result.h"
#include "replay/store/cbor.h"
#include "vmm/engine.h"

namespace dejavm {

enum class EventKind : uint8_t {
  kIoRead = 0,     // address: port; size; value: result
  kIoWrite = 1,    // address: port; size; value
  kMmioRead = 2,   // address: Gpa; size; value: result
  kMmioWrite = 3,  // address: Gpa; size; value
  kMsrRead = 4,    // address: index; ok; value: result, 0 unless ok
  kMsrWrite = 5,   // address: index; ok; value
  kCr8Read = 6,    // value: result
  kCr8Write = 7,   // value
  kCpuid = 8,      // address: leaf; subleaf, cr4, xcr0; cpuid: result
  kInterrupt = 9,  // value: the vector acknowledged, or all ones for none
  kConsole = 10,   // data: typed bytes, 1 to kMaxConsoleBytes
  kStop = 11,      // the user ended the run
  kControl = 13,   // data: a request to the machine's keeper, as text; 1 to kMaxConsoleBytes. The guest sees nothing of it
  kPlace = 14,     // address: RIP; value: place_hash(); ok: of an NMI, else of the interrupt that comes next. KVM's recordings only
  kIdle = 12,      // now, next_event: asked with; value: the time skipped to
};
inline constexpr unsigned kEventKinds = 15;
std::string_view name_of(EventKind);
inline bool is_exit(EventKind kind) { return kind <= EventKind::kInterrupt; }
// What Inputs::take() answers.
inline bool is_taken(EventKind kind) { return kind == EventKind::kConsole || kind == EventKind::kStop || kind == EventKind::kControl; }

struct Event {
  EventKind kind = EventKind::kIoRead;
  bool ok = false;
  uint8_t size = 0;          // bytes, 1-8, of port and memory accesses
  Position at{};
  uint64_t address = 0;
  uint64_t value = 0;
  uint32_t subleaf = 0;
  uint64_t cr4 = 0, xcr0 = 0;
  CpuidResult cpuid{};
  Nanos now{}, next_event{};  // kIdle
  std::vector<uint8_t> data{};
  bool operator==(const Event&) const = default;
};
inline constexpr uint64_t kNoVector = ~uint64_t{0};
// XXH3-64 of the general registers, little-endian, in their order.
uint64_t place_hash(const Registers&);
Event place_event(Position, const Registers&, bool nmi);

// One line without a line end: "io_read  vcpu 0 at 1234: port 0x3f8 size 1 -> 0x60".
std::string describe(const Event&);

// What both sides of the codec remember within a batch.
struct EventContext {
  static constexpr uint32_t kMaxVcpus = 256;
  uint32_t vcpu = 0;
  std::vector<uint64_t> retired = {0};  // of each vCPU's latest event; grows on the first event of a vCPU
  uint64_t port[2] = {0, 0};            // of the latest read and write
  uint64_t gpa[2] = {0, 0};
  uint64_t time_base = 0;               // now - retired, after the latest idle
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

  // Exits that make up nearly all of a trace, without an Event in between.
  void access(EventKind, Position, uint64_t address, unsigned size, uint64_t value);

 private:
  void begin(uint8_t tag, Position);
  Bytes out_;
  EventContext context_;
  uint32_t count_ = 0;
  uint64_t first_retired_ = 0, last_retired_ = 0;
};

// Reads one batch. next() is false at the end and on damage; then error() is empty or says what, with the offset in the
// batch. It accepts only what EventEncoder writes.
class EventDecoder {
 public:
  EventDecoder() = default;
  explicit EventDecoder(std::span<const uint8_t> batch) : in_(batch) {}
  bool next(Event&);
  const std::string& error() const { return error_; }
  size_t offset() const { return pos_; }

 private:
  bool fail(std::string_view why);
  bool varint(uint64_t& value);
  bool small(uint64_t& value, uint64_t max, std::string_view what);
  bool fields(uint8_t tag, Event&);
  std::span<const uint8_t> in_;
  size_t pos_ = 0;
  EventContext context_;
  std::string error_;
};

}  // namespace dejavm
