#include "replay/trace/events.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <set>

#include "replay/trace/frame.h"
#include "tests/replay/trace/sample_trace.h"

namespace dejavm {
namespace {

std::vector<Event> decode(std::span<const uint8_t> batch, std::string& error) {
  std::vector<Event> out;
  EventDecoder d(batch);
  for (Event e; d.next(e);) out.push_back(e);
  error = d.error();
  return out;
}

Bytes encode(const std::vector<Event>& events) {
  EventEncoder encoder;
  for (const Event& e : events) encoder.append(e);
  return encoder.take();
}

rc::Gen<uint64_t> any_width() {
  return rc::gen::apply([](uint64_t v, unsigned shift) { return v >> shift; }, rc::gen::arbitrary<uint64_t>(),
                        rc::gen::inRange(0u, 64u));
}

// Any event that a machine can make, in an order that it can make them in: positions never go back.
std::vector<Event> any_events() {
  std::vector<Event> events(*rc::gen::inRange<size_t>(0, 60));
  uint64_t retired = 0;
  for (Event& e : events) {
    e.kind = static_cast<EventKind>(*rc::gen::inRange(0, static_cast<int>(kEventKinds)));
    e.at.vcpu = *rc::gen::inRange(0u, 3u);
    retired += *any_width() >> 8;
    e.at.retired = {retired};
    switch (e.kind) {
      case EventKind::kIoRead:
      case EventKind::kIoWrite:
        e.size = static_cast<uint8_t>(1 << *rc::gen::inRange(0, 3));
        e.address = *rc::gen::element<uint64_t>(0, 0x20, 0x21, 0x3f8, 0xffff);
        e.value = *any_width();
        break;
      case EventKind::kMmioRead:
      case EventKind::kMmioWrite:
        e.size = static_cast<uint8_t>(*rc::gen::inRange(1, 9));
        e.address = *rc::gen::oneOf(any_width(), rc::gen::element<uint64_t>(0xfee000b0, 0xfec00010));
        e.value = *any_width();
        break;
      case EventKind::kMsrRead:
      case EventKind::kMsrWrite:
        e.ok = *rc::gen::arbitrary<bool>();
        e.address = *rc::gen::arbitrary<uint32_t>();
        if (e.ok || e.kind == EventKind::kMsrWrite) e.value = *any_width();
        break;
      case EventKind::kCpuid:
        e.address = *rc::gen::arbitrary<uint32_t>();
        e.subleaf = *rc::gen::arbitrary<uint32_t>();
        e.cr4 = *any_width();
        e.xcr0 = *any_width();
        e.cpuid = {*rc::gen::arbitrary<uint32_t>(), 0, *rc::gen::arbitrary<uint32_t>(), 7};
        break;
      case EventKind::kInterrupt: e.value = *rc::gen::inRange<uint64_t>(0, 257) - 1; break;
      case EventKind::kControl:
      case EventKind::kConsole: e.data = *rc::gen::nonEmpty(rc::gen::arbitrary<std::vector<uint8_t>>()); break;
      case EventKind::kStop: break;
      case EventKind::kDmaRead:
        e.ok = *rc::gen::arbitrary<bool>();
        e.subleaf = *rc::gen::arbitrary<uint16_t>();
        e.address = *any_width();
        e.value = *rc::gen::inRange<uint64_t>(1, 100);
        if (e.ok) e.data.assign(e.value, *rc::gen::arbitrary<uint8_t>());
        break;
      case EventKind::kPlace:
        e.ok = *rc::gen::arbitrary<bool>();
        e.address = *any_width();
        e.value = *rc::gen::arbitrary<uint64_t>();
        break;
      case EventKind::kIdle:
        e.now = {*any_width() >> 2};
        e.value = e.now.value + (*any_width() >> 2);
        e.next_event = *rc::gen::arbitrary<bool>() ? kNever : Nanos{e.value + (*any_width() >> 2)};
        break;
      default: e.value = *rc::gen::inRange(0, 16);
    }
  }
  return events;
}

RC_GTEST_PROP(Events, WhatIsEncodedIsDecoded, ()) {
  const auto events = any_events();
  std::string error;
  RC_ASSERT(decode(encode(events), error) == events);
  RC_ASSERT(error.empty());
}

RC_GTEST_PROP(Events, AnyBytesAreEitherTheEncodingOfWhatTheyDecodeToOrRefused, (std::vector<uint8_t> bytes)) {
  std::string error;
  const auto events = decode(bytes, error);
  // Positions may have overflowed into no valid order only if refused; so this must not fail a CHECK.
  if (error.empty()) RC_ASSERT(encode(events) == bytes);
}

RC_GTEST_PROP(Events, ADamagedBatchIsRefusedOrAnotherBatch, ()) {
  Bytes bytes = encode(any_events());
  RC_PRE(!bytes.empty());
  bytes[*rc::gen::inRange<size_t>(0, bytes.size())] ^= static_cast<uint8_t>(*rc::gen::inRange(1, 256));
  std::string error;
  const auto events = decode(bytes, error);
  if (error.empty()) RC_ASSERT(encode(events) == bytes);
}

TEST(Events, ARepeatedPortReadTakesThreeBytesAndItsValue) {
  // Tag with the "same address" bit, a distance of one byte, and the value: FORMAT.md, "Events".
  std::vector<Event> events(3, Event{.kind = EventKind::kIoRead, .size = 1, .address = 0x3fd, .value = 0x60});
  for (unsigned i = 0; i < 3; ++i) events[i].at.retired.value = 100 + 5 * i;
  const Bytes expected{0x00, 100, 0xfa, 0x0f, 0x60, 0x80, 5, 0x60, 0x80, 5, 0x60};  // zigzag(0x3fd) = 0x7fa
  EXPECT_EQ(encode(events), expected);
}

TEST(Events, EachDamageIsNamed) {
  const std::pair<Bytes, const char*> cases[] = {
      {{0x0f, 1, 0x0f, 0}, "unknown event"},
      {{0x0e, 0x0e, 0, 5, 1, 2, 3}, "registers_hash is cut off"},
      {{0x0e, 0x0d, 0, 1, 'a'}, "shortest"},
      {{0x0e, 0x10, 0}, "unknown event"},
      {{0x0e, 0x80, 0x80, 0x01}, "event kind 0x4000"},
      {{0x14, 0}, "unknown event flags"},
      {{0x00, 0x80}, "cut off"},
      {{0x00, 0x80, 0x00, 0, 0}, "shortest"},
      {{0x20, 0, 2, 0}, "port access of 3 bytes"},
      {{0x00, 0, 0, 0}, "repeated address"},
      {{0x00, 0, 1, 0}, "address 0xffffffffffffffff"},
      {{0x09, 0, 0x82, 0x02}, "vector"},
      {{0x0a, 0, 0}, "none"},
      {{0x0a, 0, 5, 'a'}, "cut off"},
      {{0x0d, 0, 0}, "none"},
      {{0x0f, 0, 0x0b, 0}, "same vCPU"},
      {{0x0f, 0x80, 0x02}, "vCPU 0x100"},
      {{0x0f, 1}, "ends after"},
  };
  for (const auto& [bytes, reason] : cases) {
    std::string error;
    decode(bytes, error);
    EXPECT_NE(error.find(reason), std::string::npos) << "got: " << error << "; wanted: " << reason;
  }
}

TEST(Events, TheTableOfTheFormatIsMadeFromTheDescriptors) {
  std::ifstream file(DEJAVM_FORMAT);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(text.find("\n" + event_table() + "\n"), std::string::npos) << "replay/FORMAT.md must have this table:\n"
                                                                       << event_table();
}

// Of each kind the operands are members of an Event that no other operand of it is, and a sample of it is in the sample
// trace.
TEST(Events, EachDescriptorIsSound) {
  std::set<EventKind> sampled;
  for (const Event& e : sample_events()) sampled.insert(e.kind);
  EXPECT_EQ(sampled.size(), kEventKinds);
  std::set<std::string_view> names;
  for (const EventDescriptor& d : kEventDescriptors) {
    EXPECT_TRUE(names.insert(d.name).second) << d.name;
    std::set<EventField> fields;
    unsigned flags = 0;
    for (const EventOperand& o : d) {
      EXPECT_TRUE(fields.insert(o.field).second) << d.name << ' ' << o.name;
      flags += o.form == OperandForm::kFlag || o.form == OperandForm::kLast;
    }
    EXPECT_LE(flags, 1u) << d.name;
  }
}

TEST(Events, ADescriptionShowsOperandsAndResult) {
  std::string text;
  for (const Event& e : sample_events()) text += describe(e) + "\n";
  EXPECT_NE(text.find("io_read vcpu 0 at 10: port 0x3fd size 1 -> 0x60"), std::string::npos) << text;
  EXPECT_NE(text.find("msr_read vcpu 0 at 41: msr 0xc0000bad -> 0x0 #GP"), std::string::npos) << text;
  EXPECT_NE(text.find("console vcpu 0 at 50: ls\\x0a"), std::string::npos) << text;
  EXPECT_NE(text.find("idle vcpu 0 at 61: now 1001 ns -> 1001 ns next never"), std::string::npos) << text;
}

}  // namespace
}  // namespace dejavm
