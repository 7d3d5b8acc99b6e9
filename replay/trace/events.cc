#include "replay/trace/events.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>
#include <xxhash.h>

#include "replay/trace/frame.h"

namespace dejavm {
namespace {

// The tag byte: kind in bits 3:0; for accesses size - 1 in bits 6:4 and "same address as the last one of this kind" in
// bit 7; for MSRs `ok` in bit 7. Tag 0x0f changes the vCPU of the events that follow; every other bit is zero.
constexpr uint8_t kVcpuTag = 0x0f;
constexpr uint8_t kFlag = 0x80;

bool is_access(EventKind k) { return k <= EventKind::kMmioWrite; }
bool has_ok(EventKind k) { return k == EventKind::kMsrRead || k == EventKind::kMsrWrite || k == EventKind::kPlace; }

uint64_t& last_address(EventContext& c, EventKind kind) {
  const unsigned k = static_cast<unsigned>(kind);
  return k < 2 ? c.port[k] : c.gpa[k - 2];
}

}  // namespace

std::string_view name_of(EventKind kind) {
  static constexpr std::string_view kNames[kEventKinds] = {"io_read", "io_write", "mmio_read", "mmio_write", "msr_read",
    "msr_write", "cr8_read", "cr8_write", "cpuid", "interrupt", "console", "stop", "idle", "control", "place"};
  return kNames[static_cast<unsigned>(kind)];
}

std::string describe(const Event& e) {
  std::string s = fmt::format("{} vcpu {} at {}", name_of(e.kind), e.at.vcpu, e.at.retired.value);
  const char* ok = e.ok ? "" : " #GP";
  switch (e.kind) {
    case EventKind::kIoRead: return s + fmt::format(": port {:#x} size {} -> {:#x}", e.address, e.size, e.value);
    case EventKind::kIoWrite: return s + fmt::format(": port {:#x} size {} <- {:#x}", e.address, e.size, e.value);
    case EventKind::kMmioRead: return s + fmt::format(": address {:#x} size {} -> {:#x}", e.address, e.size, e.value);
    case EventKind::kMmioWrite: return s + fmt::format(": address {:#x} size {} <- {:#x}", e.address, e.size, e.value);
    case EventKind::kMsrRead: return s + fmt::format(": msr {:#x} -> {:#x}{}", e.address, e.value, ok);
    case EventKind::kMsrWrite: return s + fmt::format(": msr {:#x} <- {:#x}{}", e.address, e.value, ok);
    case EventKind::kCr8Read: return s + fmt::format(": -> {:#x}", e.value);
    case EventKind::kCr8Write: return s + fmt::format(": <- {:#x}", e.value);
    case EventKind::kCpuid:
      return s + fmt::format(": leaf {:#x} subleaf {:#x} cr4 {:#x} xcr0 {:#x} -> {:#x} {:#x} {:#x} {:#x}",
                             e.address, e.subleaf, e.cr4, e.xcr0, e.cpuid.eax, e.cpuid.ebx, e.cpuid.ecx,
                             e.cpuid.edx);
    case EventKind::kInterrupt:
      return s + (e.value == kNoVector ? std::string(": no vector") : fmt::format(": vector {:#x}", e.value));
    case EventKind::kControl:
    case EventKind::kConsole: {
      s += ": ";
      for (const uint8_t b : e.data)
        s += b >= 0x20 && b < 0x7f && b != '\\' ? std::string(1, static_cast<char>(b))
                                                : fmt::format("\\x{:02x}", b);
      return s;
    }
    case EventKind::kStop: return s;
    case EventKind::kPlace: return s + fmt::format(": rip {:#x} registers {:016x}{}", e.address, e.value, e.ok ? " nmi" : "");
    case EventKind::kIdle:
      return s + fmt::format(
                     ": now {} ns next {} -> {} ns", e.now.value,
                     e.next_event == kNever ? std::string("never") : fmt::format("{} ns", e.next_event.value),
                     e.value);
  }
  return s;
}

uint64_t place_hash(const Registers& r) {
  static_assert(std::endian::native == std::endian::little);
  return XXH3_64bits(r.gpr.data(), sizeof r.gpr);
}

Event place_event(Position at, const Registers& r, bool nmi) {
  return {.kind = EventKind::kPlace, .ok = nmi, .at = at, .address = r.rip, .value = place_hash(r)};
}

void EventEncoder::begin(uint8_t tag, Position at) {
  EventContext& c = context_;
  if (at.vcpu != c.vcpu) {
    CHECK(at.vcpu < EventContext::kMaxVcpus);
    out_.push_back(kVcpuTag);
    put_varint(out_, at.vcpu);
    c.vcpu = at.vcpu;
    if (c.retired.size() <= at.vcpu) c.retired.resize(at.vcpu + 1);
  }
  out_.push_back(tag);
  uint64_t& last = c.retired[at.vcpu];
  CHECK(at.retired.value >= last);
  put_varint(out_, at.retired.value - last);
  last = at.retired.value;
  if (count_++ == 0) first_retired_ = last;
  last_retired_ = last;
}

void EventEncoder::access(EventKind kind, Position at, uint64_t address, unsigned size, uint64_t value) {
  uint64_t& last = last_address(context_, kind);
  const bool same = address == last;
  begin(static_cast<uint8_t>(static_cast<unsigned>(kind) | (size - 1) << 4 | (same ? kFlag : 0)), at);
  if (!same) put_varint(out_, zigzag(address - last));
  last = address;
  put_varint(out_, value);
}

void EventEncoder::append(const Event& e) {
  if (is_access(e.kind)) return access(e.kind, e.at, e.address, e.size, e.value);
  begin(static_cast<uint8_t>(static_cast<unsigned>(e.kind) | (has_ok(e.kind) && e.ok ? kFlag : 0)), e.at);
  switch (e.kind) {
    case EventKind::kMsrRead:
    case EventKind::kMsrWrite:
      put_varint(out_, e.address);
      if (e.ok || e.kind == EventKind::kMsrWrite) put_varint(out_, e.value);
      break;
    case EventKind::kCpuid:
      for (const uint64_t v : {e.address, uint64_t{e.subleaf}, e.cr4, e.xcr0, uint64_t{e.cpuid.eax},
                               uint64_t{e.cpuid.ebx}, uint64_t{e.cpuid.ecx}, uint64_t{e.cpuid.edx}})
        put_varint(out_, v);
      break;
    case EventKind::kInterrupt: put_varint(out_, e.value + 1); break;
    case EventKind::kControl:
    case EventKind::kConsole:
      CHECK(!e.data.empty() && e.data.size() <= kMaxConsoleBytes);
      put_varint(out_, e.data.size());
      out_.insert(out_.end(), e.data.begin(), e.data.end());
      break;
    case EventKind::kStop: break;
    case EventKind::kPlace:
      put_varint(out_, e.address);
      for (unsigned n = 0; n < 8; ++n) out_.push_back(static_cast<uint8_t>(e.value >> 8 * n));
      break;
    case EventKind::kIdle:
      put_varint(out_, zigzag(e.now.value - e.at.retired.value - context_.time_base));
      put_varint(out_, e.value - e.now.value);
      // 0: never; else one more than the time left to the event after the skip.
      put_varint(out_, e.next_event == kNever ? 0 : e.next_event.value - e.value + 1);
      context_.time_base = e.value - e.at.retired.value;
      break;
    default: put_varint(out_, e.value); break;  // CR8
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
  uint8_t tag = in_[pos_++];
  uint64_t v;
  if (tag == kVcpuTag) {
    if (!small(v, EventContext::kMaxVcpus - 1, "vCPU")) return false;
    if (v == context_.vcpu) return fail("a change to the same vCPU");
    context_.vcpu = static_cast<uint32_t>(v);
    if (context_.retired.size() <= v) context_.retired.resize(v + 1);
    if (pos_ == in_.size()) return fail("the batch ends after a change of vCPU");
    tag = in_[pos_++];
  }
  if ((tag & 15) >= kEventKinds) return fail(fmt::format("unknown event {:#x}", tag));
  const EventKind kind = static_cast<EventKind>(tag & 15);
  const uint8_t allowed = is_access(kind) ? 0xff : has_ok(kind) ? 0x8f : 0x0f;
  if (tag & ~allowed) return fail(fmt::format("unknown event flags {:#x}", tag));
  e.kind = kind;
  e.ok = false;
  e.size = 0;
  e.address = e.value = e.cr4 = e.xcr0 = 0;
  e.subleaf = 0;
  e.cpuid = {};
  e.now = e.next_event = {};
  e.data.clear();
  uint64_t& retired = context_.retired[context_.vcpu];
  if (!varint(v)) return false;
  if (v > ~retired) return fail("the position overflows");
  retired += v;
  e.at = {context_.vcpu, {retired}};
  return fields(tag, e);
}

bool EventDecoder::fields(uint8_t tag, Event& e) {
  uint64_t v;
  if (is_access(e.kind)) {
    const bool io = e.kind <= EventKind::kIoWrite;
    uint64_t& last = last_address(context_, e.kind);
    e.size = static_cast<uint8_t>((tag >> 4 & 7) + 1);
    if (io && e.size != 1 && e.size != 2 && e.size != 4) return fail(fmt::format("a port access of {} bytes", e.size));
    if (!(tag & kFlag)) {
      if (!varint(v)) return false;
      if (v == 0) return fail("a repeated address is written out");
      last += unzigzag(v);
    }
    if (io && last > 0xffff) return fail(fmt::format("port {:#x}", last));
    e.address = last;
    return varint(e.value);
  }
  switch (e.kind) {
    case EventKind::kMsrRead:
    case EventKind::kMsrWrite:
      e.ok = (tag & kFlag) != 0;
      if (!small(e.address, 0xffffffff, "MSR")) return false;
      return e.ok || e.kind == EventKind::kMsrWrite ? varint(e.value) : true;
    case EventKind::kCpuid: {
      uint64_t n[8];
      for (unsigned i = 0; i < 8; ++i)
        if (!small(n[i], i == 2 || i == 3 ? ~uint64_t{0} : 0xffffffff, "CPUID value")) return false;
      e.address = n[0];
      e.subleaf = static_cast<uint32_t>(n[1]);
      e.cr4 = n[2];
      e.xcr0 = n[3];
      e.cpuid = {static_cast<uint32_t>(n[4]), static_cast<uint32_t>(n[5]), static_cast<uint32_t>(n[6]),
                 static_cast<uint32_t>(n[7])};
      return true;
    }
    case EventKind::kInterrupt:
      if (!small(v, 256, "vector + 1")) return false;
      e.value = v - 1;
      return true;
    case EventKind::kControl:
    case EventKind::kConsole: {
      if (!small(v, kMaxConsoleBytes, "bytes of an input")) return false;
      if (v == 0) return fail("an input without bytes");
      if (v > in_.size() - pos_) return fail("the bytes of an input are cut off");
      const auto bytes = in_.subspan(pos_, v);
      e.data.assign(bytes.begin(), bytes.end());
      pos_ += v;
      return true;
    }
    case EventKind::kStop: return true;
    case EventKind::kPlace:
      e.ok = (tag & kFlag) != 0;
      if (!varint(e.address)) return false;
      if (in_.size() - pos_ < 8) return fail("the hash of a place is cut off");
      for (unsigned n = 0; n < 8; ++n) e.value |= uint64_t{in_[pos_++]} << 8 * n;
      return true;
    case EventKind::kIdle: {
      uint64_t base_delta, skip, rest;
      if (!varint(base_delta) || !varint(skip) || !varint(rest)) return false;
      const uint64_t base = context_.time_base + unzigzag(base_delta);
      e.now = {e.at.retired.value + base};
      if (skip > ~e.now.value) return fail("the time skipped to overflows");
      e.value = e.now.value + skip;
      if (rest != 0 && rest - 1 > ~e.value) return fail("the time of the next event overflows");
      e.next_event = rest == 0 ? kNever : Nanos{e.value + (rest - 1)};
      if (rest != 0 && e.next_event == kNever) return fail("'never' is not in its own form");
      context_.time_base = e.value - e.at.retired.value;
      return true;
    }
    default: return varint(e.value);  // CR8
  }
}

}  // namespace dejavm
