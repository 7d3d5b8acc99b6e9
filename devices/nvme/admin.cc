// Commands of administration (chapter 5).
#include <algorithm>

#include "devices/nvme/parts.h"

namespace dejavm::nvme {
namespace {

enum Opcode : uint8_t {
  kDeleteSubmissionQueue = 0x00,
  kCreateSubmissionQueue = 0x01,
  kGetLogPage = 0x02,
  kDeleteCompletionQueue = 0x04,
  kCreateCompletionQueue = 0x05,
  kIdentify = 0x06,
  kAbort = 0x08,
  kSetFeatures = 0x09,
  kGetFeatures = 0x0a,
  kAsyncEvent = 0x0c,
};

void refuse(State& s, uint16_t status) { complete(s, status | kDoNotRetry); }

uint32_t queue_id(const State& s) { return s.command[10] & 0xffff; }
uint32_t queue_entries(const State& s) { return (s.command[10] >> 16) + 1; }

// 5.3
void create_completion_queue(State& s) {
  const uint32_t id = queue_id(s), entries = queue_entries(s), vector = s.command[11] >> 16;
  constexpr uint32_t kContiguous = 1, kInterrupts = 2;
  if (id == 0 || id >= Nvme::kQueues || s.completion[id].entries != 0) return refuse(s, kInvalidQueue);
  if (entries < 2 || entries > Nvme::kMaxEntries) return refuse(s, kInvalidQueueSize);
  if (vector >= Nvme::kVectors) return refuse(s, kInvalidVector);
  if (!(s.command[11] & kContiguous)) return refuse(s, kInvalidField);
  if (prp1(s) % Nvme::kPage != 0) return refuse(s, kInvalidPrpOffset);
  s.completion[id] = {.base = prp1(s),
                      .entries = entries,
                      .vector = static_cast<uint16_t>(vector),
                      .phase = true,
                      .interrupts = (s.command[11] & kInterrupts) != 0};
  complete(s, kSuccess);
}

// 5.4
void create_submission_queue(State& s) {
  const uint32_t id = queue_id(s), entries = queue_entries(s), completion = s.command[11] >> 16;
  constexpr uint32_t kContiguous = 1;
  if (completion == 0 || completion >= Nvme::kQueues || s.completion[completion].entries == 0)
    return refuse(s, kInvalidCompletionQueue);
  if (id == 0 || id >= Nvme::kQueues || s.submission[id].entries != 0) return refuse(s, kInvalidQueue);
  if (entries < 2 || entries > Nvme::kMaxEntries) return refuse(s, kInvalidQueueSize);
  if (!(s.command[11] & kContiguous)) return refuse(s, kInvalidField);
  if (prp1(s) % Nvme::kPage != 0) return refuse(s, kInvalidPrpOffset);
  s.submission[id] = {.base = prp1(s), .entries = entries, .completion = static_cast<uint16_t>(completion)};
  complete(s, kSuccess);
}

// 5.5, 5.6. Commands are served one at a time, so none of the queue's is under way.
void delete_queue(State& s, bool submission) {
  const uint32_t id = queue_id(s);
  if (id == 0 || id >= Nvme::kQueues) return refuse(s, kInvalidQueue);
  if (submission) {
    if (s.submission[id].entries == 0) return refuse(s, kInvalidQueue);
    s.submission[id] = {};
    return complete(s, kSuccess);
  }
  if (s.completion[id].entries == 0) return refuse(s, kInvalidQueue);
  for (const Nvme::Submission& sq : s.submission)
    if (sq.entries != 0 && sq.completion == id) return refuse(s, kInvalidQueueDeletion);
  s.completion[id] = {};
  complete(s, kSuccess);
}

// Features (5.21.1).
enum Feature : uint8_t {
  kArbitration = 0x01,
  kPowerManagement = 0x02,
  kTemperature = 0x04,
  kErrorRecovery = 0x05,
  kWriteCache = 0x06,
  kQueueCount = 0x07,
  kCoalescing = 0x08,
  kVectorConfiguration = 0x09,
  kAtomicity = 0x0a,
  kAsyncConfiguration = 0x0b,
};

constexpr uint32_t kQueueCounts = (Nvme::kQueues - 2) | (Nvme::kQueues - 2)
                                                            << 16;  // beside that of administration, less 1

bool temperature(const State& s, uint16_t& kelvin, uint32_t dword11) {
  constexpr uint32_t kComposite = 0, kUnder = 1;
  const uint32_t sensor = dword11 >> 16 & 15, which = dword11 >> 20 & 3;
  if (sensor != kComposite || which > kUnder) return false;
  kelvin = which == kUnder ? s.temperature_under : s.temperature_over;
  return true;
}

void get_features(State& s) {
  constexpr uint32_t kDefault = 1, kCurrent = 0, kSaved = 2;
  const uint32_t which = s.command[10] >> 8 & 7;
  State asked = s;
  if (which == kDefault || which == kSaved) Nvme::reset(asked);
  else if (which != kCurrent) return refuse(s, kInvalidField);
  uint16_t kelvin = 0;
  switch (static_cast<uint8_t>(s.command[10])) {
    case kArbitration: return complete(s, kSuccess, asked.arbitration);
    case kPowerManagement: return complete(s, kSuccess, 0);
    case kTemperature:
      return temperature(asked, kelvin, s.command[11]) ? complete(s, kSuccess, kelvin) : refuse(s, kInvalidField);
    case kErrorRecovery: return complete(s, kSuccess, 0);
    case kWriteCache: return complete(s, kSuccess, asked.write_cache);
    case kQueueCount: return complete(s, kSuccess, kQueueCounts);
    case kCoalescing: return complete(s, kSuccess, 0);
    case kVectorConfiguration:
      return (s.command[11] & 0xffff) < Nvme::kVectors ? complete(s, kSuccess, s.command[11] & 0xffff)
                                                       : refuse(s, kInvalidField);
    case kAtomicity: return complete(s, kSuccess, 0);
    case kAsyncConfiguration: return complete(s, kSuccess, asked.async_config);
    default: return refuse(s, kInvalidField);
  }
}

void set_features(State& s) {
  constexpr uint32_t kSave = 1u << 31;
  const uint32_t value = s.command[11];
  uint16_t kelvin = 0;
  if (s.command[10] & kSave) return refuse(s, kFeatureNotSaveable);
  switch (static_cast<uint8_t>(s.command[10])) {
    case kArbitration: s.arbitration = value; return complete(s, kSuccess);
    case kPowerManagement: return (value & 31) == 0 ? complete(s, kSuccess) : refuse(s, kInvalidField);
    case kTemperature:
      if (!temperature(s, kelvin, value)) return refuse(s, kInvalidField);
      (value >> 20 & 3 ? s.temperature_under : s.temperature_over) = static_cast<uint16_t>(value);
      return complete(s, kSuccess);
    case kErrorRecovery:
    case kCoalescing:
    case kVectorConfiguration:
    case kAtomicity: return complete(s, kSuccess);
    case kWriteCache: s.write_cache = value & 1; return complete(s, kSuccess);
    case kQueueCount:
      if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff) return refuse(s, kInvalidField);
      return complete(s, kSuccess, kQueueCounts);
    case kAsyncConfiguration: s.async_config = value & 0xff; return complete(s, kSuccess);
    default: return refuse(s, kInvalidField);
  }
}

// 5.2: kept until there is something to tell, which there is not: nothing here wears out or grows hot.
void async_event(State& s) {
  if (s.async_count == Nvme::kAsyncEvents) return refuse(s, kTooManyAsyncEvents);
  ++s.async_count;
  drop(s);
}

void tell(State& s, uint16_t status, uint64_t bytes) {
  if (status != kSuccess) return refuse(s, status);
  move(s, bytes);
}

}  // namespace

void begin_admin(State& s) {
  constexpr uint32_t kNotAborted = 1;
  switch (opcode(s)) {
    case kDeleteSubmissionQueue: return delete_queue(s, true);
    case kCreateSubmissionQueue: return create_submission_queue(s);
    case kDeleteCompletionQueue: return delete_queue(s, false);
    case kCreateCompletionQueue: return create_completion_queue(s);
    case kIdentify: return tell(s, identify(s), Nvme::kPage);
    case kGetLogPage: {
      uint64_t bytes = 0;
      const uint16_t status = log_page(s, bytes);
      return tell(s, status, bytes);
    }
    case kAbort: return complete(s, kSuccess, kNotAborted);
    case kSetFeatures: return set_features(s);
    case kGetFeatures: return get_features(s);
    case kAsyncEvent: return async_event(s);
    default: return refuse(s, kInvalidOpcode);
  }
}

}  // namespace dejavm::nvme
