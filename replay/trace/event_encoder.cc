#include "replay/trace/event_codec.h"
#include "replay/trace/events.h"

namespace dejavm {

void EventEncoder::begin(EventKind kind, unsigned tag_bits, Position at) {
  EventContext& c = context_;
  if (at.vcpu != c.vcpu) {
    CHECK(at.vcpu < EventContext::kMaxVcpus);
    out_.push_back(kVcpuTag);
    put_varint(out_, at.vcpu);
    c.vcpu = at.vcpu;
  }
  const unsigned number = static_cast<unsigned>(kind);
  if (number < kLongKindTag) {
    out_.push_back(static_cast<uint8_t>(number | tag_bits));
  } else {
    out_.push_back(static_cast<uint8_t>(kLongKindTag | tag_bits));
    put_varint(out_, number);
  }
  CHECK(at.retired.value >= c.retired);
  put_varint(out_, at.retired.value - c.retired);
  c.retired = at.retired.value;
  if (count_++ == 0) first_retired_ = c.retired;
  last_retired_ = c.retired;
}

void EventEncoder::access(EventKind kind, Position at, uint64_t address, unsigned size, uint64_t value) {
  uint64_t& last = context_.last[static_cast<unsigned>(kind)];
  const bool same = address == last;
  begin(kind, (size - 1) << kSizeShift | (same ? kFlagBit : 0), at);
  if (!same) put_varint(out_, zigzag(address - last));
  last = address;
  put_varint(out_, value);
}

void EventEncoder::append(const Event& e) {
  const EventDescriptor& d = descriptor_of(e.kind);
  unsigned tag_bits = 0;
  for (const EventOperand& o : d) {
    const uint64_t value = operand_value(e, o);
    if (o.form == OperandForm::kSize) tag_bits |= static_cast<unsigned>(value - 1) << kSizeShift;
    if (o.form == OperandForm::kFlag && value != 0) tag_bits |= kFlagBit;
    if (o.form == OperandForm::kLast && value == context_.last[static_cast<unsigned>(e.kind)]) tag_bits |= kFlagBit;
  }
  begin(e.kind, tag_bits, e.at);
  uint64_t before = 0;
  for (const EventOperand& o : d) {
    const uint64_t value = operand_value(e, o);
    operand(e, o, value, before);
    before = value;
  }
}

void EventEncoder::operand(const Event& e, const EventOperand& o, uint64_t value, uint64_t before) {
  switch (o.form) {
    case OperandForm::kSize:
    case OperandForm::kFlag: break;
    case OperandForm::kLast: {
      uint64_t& last = context_.last[static_cast<unsigned>(e.kind)];
      if (value != last) put_varint(out_, zigzag(value - last));
      last = value;
      break;
    }
    case OperandForm::kNumber: put_varint(out_, value); break;
    case OperandForm::kNumberIfFlag:
      if (e.ok) put_varint(out_, value);
      break;
    case OperandForm::kSuccessor: put_varint(out_, value + 1); break;
    case OperandForm::kBytes:
      CHECK(!e.data.empty() && e.data.size() <= kMaxConsoleBytes);
      put_varint(out_, e.data.size());
      out_.insert(out_.end(), e.data.begin(), e.data.end());
      break;
    case OperandForm::kBytesIfFlag:
      CHECK(e.data.size() == (e.ok ? before : 0));
      out_.insert(out_.end(), e.data.begin(), e.data.end());
      break;
    case OperandForm::kWord:
      for (unsigned n = 0; n < 8; ++n) out_.push_back(static_cast<uint8_t>(value >> 8 * n));
      break;
    case OperandForm::kTime: put_varint(out_, zigzag(value - e.at.retired.value - context_.time_base)); break;
    case OperandForm::kLater:
      put_varint(out_, value - before);
      context_.time_base = value - e.at.retired.value;
      break;
    case OperandForm::kDue: put_varint(out_, value == kNever.value ? 0 : value - before + 1); break;
  }
}

Bytes EventEncoder::take() {
  Bytes out = std::move(out_);
  out_ = {};
  context_ = {};
  count_ = 0;
  first_retired_ = last_retired_ = 0;
  return out;
}

}  // namespace dejavm
