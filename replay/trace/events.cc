#include "replay/trace/events.h"

#include <bit>

#include <fmt/format.h>
#include <xxhash.h>

namespace dejavm {
namespace {

// A number of an event, by its field. kData is none.
uint64_t get(const Event& e, EventField field) {
  switch (field) {
    case EventField::kAddress: return e.address;
    case EventField::kValue: return e.value;
    case EventField::kSubleaf: return e.subleaf;
    case EventField::kCr4: return e.cr4;
    case EventField::kXcr0: return e.xcr0;
    case EventField::kEax: return e.cpuid.eax;
    case EventField::kEbx: return e.cpuid.ebx;
    case EventField::kEcx: return e.cpuid.ecx;
    case EventField::kEdx: return e.cpuid.edx;
    case EventField::kSize: return e.size;
    case EventField::kOk: return e.ok;
    case EventField::kNow: return e.now.value;
    case EventField::kNextEvent: return e.next_event.value;
    case EventField::kData: break;
  }
  return e.data.size();
}

std::string printable(std::span<const uint8_t> bytes) {
  std::string out;
  for (const uint8_t b : bytes) {
    const bool plain = b >= 0x20 && b < 0x7f && b != '\\';
    out += plain ? std::string(1, static_cast<char>(b)) : fmt::format("\\x{:02x}", b);
  }
  return out;
}

std::string describe(const Event& e, const EventOperand& operand) {
  const uint64_t value = get(e, operand.field);
  if (!operand.none.empty() && value == ~uint64_t{0}) return std::string(operand.none);
  switch (operand.text) {
    case OperandText::kHex: return fmt::format("{}{:#x}", operand.label, value);
    case OperandText::kDecimal: return fmt::format("{}{}", operand.label, value);
    case OperandText::kHash: return fmt::format("{}{:016x}", operand.label, value);
    case OperandText::kTime: return fmt::format("{}{} ns", operand.label, value);
    case OperandText::kUtf8:
    case OperandText::kCharacters: return std::string(operand.label) + printable(e.data);
    case OperandText::kBytes: {
      std::string text(operand.label);
      for (const uint8_t byte : e.data) text += fmt::format("{:02x}", byte);
      return text;
    }
    case OperandText::kIfSet: return value != 0 ? std::string(operand.label) : std::string();
    case OperandText::kIfClear: return value == 0 ? std::string(operand.label) : std::string();
  }
  return {};
}

}  // namespace

uint64_t operand_value(const Event& e, const EventOperand& operand) { return get(e, operand.field); }

std::string describe(const Event& e) {
  std::string text = fmt::format("{} vcpu {} at {}", name_of(e.kind), e.at.vcpu, e.at.retired.value);
  const EventDescriptor& d = descriptor_of(e.kind);
  if (d.operand_count != 0) text += ':';
  for (const EventOperand& operand : d) text += describe(e, operand);
  return text;
}

uint64_t place_hash(const Registers& r) {
  static_assert(std::endian::native == std::endian::little);
  return XXH3_64bits(r.gpr.data(), sizeof r.gpr);
}

Event place_event(Position at, const Registers& r, bool nmi) {
  return {.kind = EventKind::kPlace, .ok = nmi, .at = at, .address = r.rip, .value = place_hash(r)};
}

}  // namespace dejavm
