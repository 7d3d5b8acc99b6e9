#include "devices/vioapic.h"

#include <bit>

namespace dejavm {
namespace {

enum Offset : uint64_t { kSelect = 0x00, kWindow = 0x10, kEoi = 0x40 };
enum Indirect : uint8_t { kId = 0x00, kVersion = 0x01, kArbitration = 0x02, kTable = 0x10 };

constexpr uint32_t kVersionValue = (Vioapic::kPins - 1) << 16 | 0x20;
constexpr unsigned kIdShift = 24;

bool pin_bit(uint32_t mask, unsigned pin) { return mask >> pin & 1; }

unsigned delivery_bits(uint64_t entry) { return entry >> Vioapic::kDeliveryShift & 7; }

bool sends(uint64_t entry) { return delivery_bits(entry) != 3 && delivery_bits(entry) != 6; }

// Only fixed and lowest-priority interrupts are ended by an EOI, so only they can be level-triggered.
bool is_level(uint64_t entry) { return (entry & Vioapic::kLevel) && delivery_bits(entry) <= 1; }

void request(Vioapic::State& s, unsigned pin) {
  if (sends(s.entry[pin])) s.pending |= 1u << pin;
}

bool level_wants_service(const Vioapic::State& s, unsigned pin) {
  const uint64_t entry = s.entry[pin];
  return is_level(entry) && pin_bit(s.levels, pin) && !(entry & (Vioapic::kMasked | Vioapic::kRemoteIrr));
}

void evaluate_level(Vioapic::State& s, unsigned pin) {
  if (level_wants_service(s, pin)) request(s, pin);
}

void write_entry(Vioapic::State& s, unsigned pin, bool high, uint32_t value) {
  uint64_t& entry = s.entry[pin];
  const unsigned shift = high ? 32 : 0;
  const uint64_t written = (uint64_t{0xffffffff} << shift) & Vioapic::kWritable;
  entry = (entry & ~written) | (uint64_t{value} << shift & written);
  if (!is_level(entry)) entry &= ~uint64_t{Vioapic::kRemoteIrr};
  if (!sends(entry)) s.pending &= ~(1u << pin);
  evaluate_level(s, pin);
}

uint32_t read_entry(const Vioapic::State& s, unsigned pin, bool high) {
  const uint64_t status = pin_bit(s.pending, pin) ? uint64_t{Vioapic::kDeliveryStatus} : 0;
  return static_cast<uint32_t>((s.entry[pin] | status) >> (high ? 32 : 0));
}

uint32_t read_indirect(const Vioapic::State& s) {
  switch (s.select) {
    case kId:
    case kArbitration: return uint32_t{s.id} << kIdShift;
    case kVersion: return kVersionValue;
    default: break;
  }
  const unsigned word = s.select - unsigned{kTable};  // wraps below the table to beyond it
  return word < 2 * Vioapic::kPins ? read_entry(s, word / 2, word & 1) : 0;
}

void write_indirect(Vioapic::State& s, uint32_t value) {
  if (s.select == kId) s.id = value >> kIdShift & 0xf;
  const unsigned word = s.select - unsigned{kTable};
  if (word < 2 * Vioapic::kPins) write_entry(s, word / 2, word & 1, value);
}

}  // namespace

const char* Vioapic::invalid(const State& s) {
  for (unsigned pin = 0; pin < kPins; ++pin) {
    const uint64_t entry = s.entry[pin];
    if (entry & ~uint64_t{kStored} || entry & kDeliveryStatus) return "an entry has a bit that is always zero";
    if ((entry & kRemoteIrr) && !is_level(entry)) return "remote IRR is set on an edge-triggered pin";
    if (pin_bit(s.pending, pin) && !sends(entry)) return "a pin with a reserved delivery mode has a message";
    if (level_wants_service(s, pin) && !pin_bit(s.pending, pin)) return "an asserted level pin has sent nothing";
  }
  return nullptr;
}

void Vioapic::reset(State& s) {
  s = State{};
  s.entry.fill(kMasked);
}

uint64_t Vioapic::read(State& s, Nanos, uint64_t offset, unsigned size) {
  const uint64_t base = offset & ~uint64_t{3};
  if ((base != kSelect && base != kWindow) || size > 4 || offset % 4 + size > 4) return open_bus(size);
  const uint64_t value = base == kSelect ? s.select : read_indirect(s);
  return value >> (8 * (offset % 4)) & open_bus(size);
}

void Vioapic::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  switch (offset) {
    case kSelect: s.select = static_cast<uint8_t>(value); return;
    case kWindow:
      if (size == 4 || size == 8) write_indirect(s, static_cast<uint32_t>(value));
      return;
    case kEoi: eoi(s, now, static_cast<uint8_t>(value)); return;
    default: return;
  }
}

void Vioapic::set_line(State& s, Nanos, unsigned input, bool level) {
  if (input >= kPins) return;
  const bool rise = level && !pin_bit(s.levels, input);
  s.levels = (s.levels & ~(1u << input)) | uint32_t{level} << input;
  const uint64_t entry = s.entry[input];
  if (is_level(entry)) evaluate_level(s, input);
  else if (rise && !(entry & kMasked)) request(s, input);
}

bool Vioapic::pop_message(State& s, BusMessage& message) {
  if (s.pending == 0) return false;
  const auto pin = static_cast<unsigned>(std::countr_zero(s.pending));
  s.pending &= s.pending - 1;
  uint64_t& entry = s.entry[pin];
  message = BusMessage{};
  message.delivery = static_cast<Delivery>(delivery_bits(entry));
  message.logical = entry & kLogical;
  message.level = is_level(entry);
  message.vector = static_cast<uint8_t>(entry & kVectorMask);
  message.destination = static_cast<uint32_t>(entry >> kDestinationShift);
  if (message.level) entry |= kRemoteIrr;
  return true;
}

void Vioapic::eoi(State& s, Nanos, uint8_t vector) {
  for (unsigned pin = 0; pin < kPins; ++pin) {
    if ((s.entry[pin] & kVectorMask) != vector || !(s.entry[pin] & kRemoteIrr)) continue;
    s.entry[pin] &= ~uint64_t{kRemoteIrr};
    evaluate_level(s, pin);
  }
}

}  // namespace dejavm
