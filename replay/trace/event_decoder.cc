#include <fmt/format.h>

#include "replay/trace/event_codec.h"
#include "replay/trace/events.h"

namespace dejavm {
namespace {

// The same kind of member as operand_value() reads, written.
void set(Event& e, EventField field, uint64_t value) {
  switch (field) {
    case EventField::kAddress: e.address = value; break;
    case EventField::kValue: e.value = value; break;
    case EventField::kSubleaf: e.subleaf = static_cast<uint32_t>(value); break;
    case EventField::kCr4: e.cr4 = value; break;
    case EventField::kXcr0: e.xcr0 = value; break;
    case EventField::kEax: e.cpuid.eax = static_cast<uint32_t>(value); break;
    case EventField::kEbx: e.cpuid.ebx = static_cast<uint32_t>(value); break;
    case EventField::kEcx: e.cpuid.ecx = static_cast<uint32_t>(value); break;
    case EventField::kEdx: e.cpuid.edx = static_cast<uint32_t>(value); break;
    case EventField::kSize: e.size = static_cast<uint8_t>(value); break;
    case EventField::kOk: e.ok = value != 0; break;
    case EventField::kNow: e.now = {value}; break;
    case EventField::kNextEvent: e.next_event = {value}; break;
    case EventField::kData: break;
  }
}

// The bits of the tag that an event of this kind may have set, besides the kind.
uint8_t allowed_bits(const EventDescriptor& d) {
  uint8_t bits = 0;
  for (const EventOperand& o : d) {
    if (o.form == OperandForm::kSize) bits |= kSizeMask;
    if (o.form == OperandForm::kFlag || o.form == OperandForm::kLast) bits |= kFlagBit;
  }
  return bits;
}

}  // namespace

bool EventDecoder::fail(std::string_view why) {
  if (error_.empty()) error_ = fmt::format("event at byte {} of the batch: {}", pos_, why);
  return false;
}
bool EventDecoder::varint(uint64_t& value) {
  return get_varint(in_, pos_, value) || fail("a number is cut off or not in its shortest form");
}
bool EventDecoder::small(uint64_t& value, uint64_t max, std::string_view what) {
  if (!varint(value)) return false;
  return value <= max || fail(fmt::format("{} {:#x} is more than {:#x}", what, value, max));
}

bool EventDecoder::next(Event& e) {
  if (!error_.empty() || pos_ == in_.size()) return false;
  e = Event{.data = std::move(e.data)};
  e.data.clear();
  uint8_t tag = 0;
  return start(tag, e.kind) && position(e) && operands(tag, e);
}

bool EventDecoder::start(uint8_t& tag, EventKind& kind) {
  tag = in_[pos_++];
  if (tag == kVcpuTag) {
    if (!change_vcpu()) return false;
    tag = in_[pos_++];
  }
  uint64_t number = tag & kKindMask;
  if (number == kVcpuTag) return fail(fmt::format("unknown event {:#x}", tag));
  if (number == kLongKindTag && version_ >= 2) {
    if (!small(number, kMaxEventKinds - 1, "event kind")) return false;
    if (number < kLongKindTag) return fail("the kind of an event is not in its shortest form");
  }
  if (number >= kEventKinds) return fail(fmt::format("unknown event {:#x}", number));
  kind = static_cast<EventKind>(number);
  const uint8_t unknown = tag & ~(kKindMask | allowed_bits(descriptor_of(kind)));
  return unknown == 0 || fail(fmt::format("unknown event flags {:#x}", tag));
}

bool EventDecoder::change_vcpu() {
  uint64_t vcpu;
  if (!small(vcpu, EventContext::kMaxVcpus - 1, "vCPU")) return false;
  if (vcpu == context_.vcpu) return fail("a change to the same vCPU");
  context_.vcpu = static_cast<uint32_t>(vcpu);
  return pos_ != in_.size() || fail("the batch ends after a change of vCPU");
}

bool EventDecoder::position(Event& e) {
  uint64_t distance;
  if (!varint(distance)) return false;
  if (version_ == 1 && retired_of_.size() <= context_.vcpu) retired_of_.resize(context_.vcpu + 1);
  uint64_t& retired = version_ == 1 ? retired_of_[context_.vcpu] : context_.retired;
  if (distance > ~retired) return fail("the position overflows");
  retired += distance;
  e.at = {context_.vcpu, {retired}};
  return true;
}

bool EventDecoder::operands(uint8_t tag, Event& e) {
  const EventDescriptor& d = descriptor_of(e.kind);
  for (const EventOperand& o : d)
    if (o.form == OperandForm::kFlag) set(e, o.field, (tag & kFlagBit) != 0);
  uint64_t before = 0;
  for (const EventOperand& o : d) {
    if (!operand(tag, o, e, before)) return false;
    before = operand_value(e, o);
  }
  return true;
}

bool EventDecoder::operand(uint8_t tag, const EventOperand& o, Event& e, uint64_t before) {
  uint64_t value = 0;
  switch (o.form) {
    case OperandForm::kFlag: return true;
    case OperandForm::kSize: return size_operand(tag, o, e);
    case OperandForm::kLast: return last_operand(tag, o, e);
    case OperandForm::kNumberIfFlag:
      if (!e.ok) return true;
      [[fallthrough]];
    case OperandForm::kNumber:
      if (!small(value, o.max, o.name)) return false;
      break;
    case OperandForm::kSuccessor:
      if (!small(value, o.max + 1, o.name)) return false;
      --value;
      break;
    case OperandForm::kBytes: return bytes_operand(e);
    case OperandForm::kBytesIfFlag: return !e.ok || take_bytes(before, e);
    case OperandForm::kWord: return word_operand(o, e);
    case OperandForm::kTime:
    case OperandForm::kLater:
    case OperandForm::kDue: return time_operand(o, e, before);
  }
  set(e, o.field, value);
  return true;
}

bool EventDecoder::size_operand(uint8_t tag, const EventOperand& o, Event& e) {
  const unsigned size = ((tag & kSizeMask) >> kSizeShift) + 1;
  set(e, o.field, size);
  return (o.max >> (size - 1) & 1) || fail(fmt::format("a port access of {} bytes", size));
}

bool EventDecoder::last_operand(uint8_t tag, const EventOperand& o, Event& e) {
  uint64_t& last = context_.last[static_cast<unsigned>(e.kind)];
  if (!(tag & kFlagBit)) {
    uint64_t difference;
    if (!varint(difference)) return false;
    if (difference == 0) return fail(fmt::format("a repeated {} is written out", o.name));
    last += unzigzag(difference);
  }
  set(e, o.field, last);
  return last <= o.max || fail(fmt::format("{} {:#x} is more than {:#x}", o.name, last, o.max));
}

bool EventDecoder::take_bytes(uint64_t count, Event& e) {
  if (count == 0) return fail("bytes of which there are none");
  if (count > in_.size() - pos_) return fail("the bytes of an event are cut off");
  const auto bytes = in_.subspan(pos_, count);
  e.data.assign(bytes.begin(), bytes.end());
  pos_ += count;
  return true;
}

bool EventDecoder::bytes_operand(Event& e) {
  uint64_t count;
  if (!small(count, kMaxConsoleBytes, "bytes of an input")) return false;
  return take_bytes(count, e);
}

bool EventDecoder::word_operand(const EventOperand& o, Event& e) {
  if (in_.size() - pos_ < 8) return fail(fmt::format("{} is cut off", o.name));
  uint64_t value = 0;
  for (unsigned n = 0; n < 8; ++n) value |= uint64_t{in_[pos_++]} << 8 * n;
  set(e, o.field, value);
  return true;
}

bool EventDecoder::time_operand(const EventOperand& o, Event& e, uint64_t before) {
  uint64_t v;
  if (!varint(v)) return false;
  if (o.form == OperandForm::kTime) {
    set(e, o.field, e.at.retired.value + context_.time_base + unzigzag(v));
    return true;
  }
  if (o.form == OperandForm::kDue) {
    if (v == 0) {
      set(e, o.field, kNever.value);
      return true;
    }
    --v;
  }
  if (v > ~before) return fail(fmt::format("{} overflows", o.name));
  const uint64_t time = before + v;
  if (o.form == OperandForm::kDue && time == kNever.value) return fail("'never' is not in its own form");
  if (o.form == OperandForm::kLater) context_.time_base = time - e.at.retired.value;
  set(e, o.field, time);
  return true;
}

}  // namespace dejavm
