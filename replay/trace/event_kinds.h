// The kinds of events, a descriptor each: what it is and what it consists of. Encoding, decoding, text, JSON,
// Perfetto's export, the tables in FORMAT.md and the second reader follow from these, as schemas, codec and goldens
// follow from a state's fields().
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace dejavm {

// The numbers are those in files. Room for kMaxEventKinds; a new kind gets the next one, and a descriptor below.
enum class EventKind : uint16_t {
  kIoRead = 0,
  kIoWrite = 1,
  kMmioRead = 2,
  kMmioWrite = 3,
  kMsrRead = 4,
  kMsrWrite = 5,
  kCr8Read = 6,
  kCr8Write = 7,
  kCpuid = 8,
  kInterrupt = 9,
  kConsole = 10,
  kStop = 11,
  kIdle = 12,
  kControl = 13,
  kPlace = 14,
  kDmaRead = 15,
};
inline constexpr unsigned kEventKinds = 16;
inline constexpr unsigned kMaxEventKinds = 1 << 14;

// The members of an Event that operands are kept in.
enum class EventField : uint8_t {
  kAddress,
  kValue,
  kSubleaf,
  kCr4,
  kXcr0,
  kEax,
  kEbx,
  kEcx,
  kEdx,
  kSize,
  kOk,
  kData,
  kNow,
  kNextEvent
};

// How an operand stands in a file: FORMAT.md, "Events".
enum class OperandForm : uint8_t {
  kSize,          // bits 6:4 of the tag: bytes - 1
  kFlag,          // bit 7 of the tag
  kLast,          // the difference from this operand in the last event of this kind; bit 7 of the tag: there is none
  kNumber,        // varint
  kNumberIfFlag,  // varint, only if the event's flag is set; else 0
  kSuccessor,     // varint of one more; 0: all ones, for "none"
  kBytes,         // varint of their number, 1 to kMaxConsoleBytes; the bytes
  kBytesIfFlag,   // so many as the operand before says, only if the event's flag is set
  kWord,          // 8 bytes
  kTime,          // a time, as the difference from what the last base makes of the position
  kLater,         // a time, as the difference from the operand before; it gives a new base
  kDue,           // a time not before the operand before, as one more than the difference; 0: never
};

// How people see it.
enum class OperandText : uint8_t { kHex, kDecimal, kHash, kTime, kCharacters, kUtf8, kBytes, kIfSet, kIfClear };

struct EventOperand {
  std::string_view name{};   // in JSON and FORMAT.md
  std::string_view label{};  // before it in text; of kIfSet and kIfClear, all of it
  OperandForm form = OperandForm::kNumber;
  EventField field = EventField::kValue;
  OperandText text = OperandText::kHex;
  uint64_t max = ~uint64_t{0};  // of kSize: bit n - 1 set if n bytes may be
  std::string_view none{};      // what text says instead of "none"
};

enum class EventRole : uint8_t {
  kExit,   // an instruction, or the taking of an interrupt, met a device; an answer is the device's
  kInput,  // something from outside, which the run loop asks for
  kTime,   // time is skipped
  kPlace,  // where the guest is
  kDma,    // a device reached guest memory
};

// Of exits: who answers.
enum class EventTarget : uint8_t { kNobody, kPort, kGpa, kMsr, kLocalApic, kCpu, kConsole };

struct EventDescriptor {
  std::string_view name;
  std::string_view meaning;  // for FORMAT.md
  EventRole role = EventRole::kExit;
  bool guest_sees = true;
  EventTarget target = EventTarget::kNobody;
  std::array<EventOperand, 8> operands{};
  uint8_t operand_count = 0;

  constexpr const EventOperand* begin() const { return operands.data(); }
  constexpr const EventOperand* end() const { return operands.data() + operand_count; }
};

extern const std::array<EventDescriptor, kEventKinds> kEventDescriptors;

inline const EventDescriptor& descriptor_of(EventKind kind) { return kEventDescriptors[static_cast<unsigned>(kind)]; }
inline std::string_view name_of(EventKind kind) { return descriptor_of(kind).name; }
inline bool is_exit(EventKind kind) {
  return kind <= EventKind::kInterrupt || descriptor_of(kind).role == EventRole::kExit;
}
// What Inputs::take() answers.
inline bool is_taken(EventKind kind) { return descriptor_of(kind).role == EventRole::kInput; }

// The table of kinds in FORMAT.md, with a line end after each line.
std::string event_table();

}  // namespace dejavm
