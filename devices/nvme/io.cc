// Commands of the NVM command set (chapter 6).
#include <algorithm>
#include <cstring>

#include "devices/nvme/parts.h"

namespace dejavm::nvme {
namespace {

enum Opcode : uint8_t {
  kFlush = 0x00,
  kWrite = 0x01,
  kRead = 0x02,
  kCompare = 0x05,
  kWriteZeroes = 0x08,
  kDatasetManagement = 0x09,
  kVerify = 0x0c,
};
constexpr uint32_t kRangeBytes = 16;

void refuse(State& s, uint16_t status) { complete(s, status | kDoNotRetry); }

uint64_t block_count(const State& s) { return (s.command[12] & 0xffff) + 1; }
bool in_range(const State& s, uint64_t first, uint64_t count) { return first <= s.blocks && count <= s.blocks - first; }
bool writes(const State& s) {
  return opcode(s) == kWrite || opcode(s) == kWriteZeroes || opcode(s) == kDatasetManagement;
}

struct Range {
  uint64_t first = 0, count = 0;
};
// Of Dataset Management: the one whose turn it is.
Range range_in_turn(const State& s) {
  Range out;
  uint32_t count = 0;
  const uint8_t* const at = &s.data[s.in_turn % 256 * kRangeBytes];
  std::memcpy(&count, at + 4, sizeof count);
  std::memcpy(&out.first, at + 8, sizeof out.first);
  out.count = count;
  return out;
}
uint32_t range_count(const State& s) { return (s.command[10] & 0xff) + 1; }

uint64_t discarded_bytes(const State& s) {
  return std::min(range_in_turn(s).count << s.block_shift, Nvme::kDiscardBytes - s.position);
}

// Ranges that are empty, or not of this disk, are passed over; the others are the disk's to forget. `position` counts
// the bytes that it has been told so far.
void next_range(State& s) {
  while (s.in_turn < range_count(s) && s.position < Nvme::kDiscardBytes) {
    const Range range = range_in_turn(s);
    if (range.count != 0 && in_range(s, range.first, range.count)) {
      s.phase = Phase::kData;
      return;
    }
    ++s.in_turn;
  }
  complete(s, kSuccess);
}

void begin_dataset_management(State& s) {
  constexpr uint32_t kDeallocate = 4;
  if (!(s.command[11] & kDeallocate)) return complete(s, kSuccess);
  move(s, uint64_t{range_count(s)} * kRangeBytes);
}

void begin_blocks(State& s) {
  const uint64_t count = block_count(s);
  if (!in_range(s, first_block(s), count)) return refuse(s, kLbaOutOfRange);
  const uint64_t bytes = count << s.block_shift;
  const bool has_data = opcode(s) == kRead || opcode(s) == kWrite || opcode(s) == kCompare;
  if (has_data && bytes > Nvme::kMaxTransferBytes) return refuse(s, kInvalidField);
  if (opcode(s) == kRead) {
    ++s.read_commands;
    s.read_blocks += count;
  } else if (opcode(s) == kWrite || opcode(s) == kWriteZeroes) {
    ++s.write_commands;
    s.written_blocks += count;
    s.unflushed = true;
  }
  if (has_data) return move(s, bytes);
  s.length = bytes;
  s.phase = Phase::kData;
}

}  // namespace

void begin_io(State& s) {
  constexpr uint32_t kBroadcast = 0xffffffff;
  const uint32_t ns = s.command[1];
  if (ns != 1 && !(ns == kBroadcast && opcode(s) == kFlush)) return refuse(s, kInvalidNamespace);
  if (writes(s) && s.read_only) return refuse(s, kWriteToReadOnly);
  switch (opcode(s)) {
    case kFlush: s.phase = Phase::kData; return;
    case kRead:
    case kWrite:
    case kCompare:
    case kWriteZeroes:
    case kVerify: return begin_blocks(s);
    case kDatasetManagement: return begin_dataset_management(s);
    default: return refuse(s, kInvalidOpcode);
  }
}

void io_transfer(const State& s, uint64_t address, uint32_t len_bytes, Transfer& t) {
  using Kind = Transfer::Kind;
  t.address = address;
  t.len_bytes = len_bytes;
  t.disk_offset = (first_block(s) << s.block_shift) + s.position;
  switch (opcode(s)) {
    case kRead: t.kind = Kind::kFromDisk; break;
    case kWrite: t.kind = Kind::kToDisk; break;
    case kCompare: t.kind = Kind::kCompareDisk; break;
    case kFlush: t = {.kind = Kind::kFlushDisk}; break;
    case kVerify:
    case kWriteZeroes:
      t = {.kind = opcode(s) == kVerify ? Kind::kVerifyDisk : Kind::kZeroDisk,
           .disk_offset = t.disk_offset,
           .disk_bytes = std::min<uint64_t>(Nvme::kZeroBytes, s.length - s.position)};
      break;
    default:
      if (s.length != 0) return;  // the ranges
      const Range range = range_in_turn(s);
      t = {.kind = Kind::kDiscardDisk, .disk_offset = range.first << s.block_shift, .disk_bytes = discarded_bytes(s)};
      break;
  }
}

bool io_moved(State& s, std::span<const uint8_t> bytes) {
  switch (opcode(s)) {
    case kFlush:
      s.unflushed = false;
      complete(s, kSuccess);
      return false;
    case kCompare:
      if (bytes.empty() || bytes[0] == 0) complete(s, kCompareFailure);
      return s.phase == Phase::kData;
    case kVerify:
    case kWriteZeroes:
      s.position += std::min<uint64_t>(Nvme::kZeroBytes, s.length - s.position);
      if (s.position == s.length) complete(s, kSuccess);
      return false;
    case kDatasetManagement:
      if (s.length != 0) {
        std::copy(bytes.begin(), bytes.end(), s.data.begin() + static_cast<ptrdiff_t>(s.position));
        return true;
      }
      s.position += discarded_bytes(s);
      ++s.in_turn;
      next_range(s);
      return false;
    default: return true;
  }
}

void io_data_arrived(State& s) {
  if (opcode(s) != kDatasetManagement) return complete(s, kSuccess);
  s.position = s.length = 0;
  s.in_turn = 0;
  next_range(s);
}

const char* io_invalid(const State& s) {
  constexpr const char* kOutside = "the command's blocks are outside the disk";
  const uint8_t op = opcode(s);
  if (op == kFlush) return nullptr;
  if (op == kDatasetManagement) {
    if (s.length != 0)
      return s.length != uint64_t{range_count(s)} * kRangeBytes ? "length is not that of its ranges" : nullptr;
    const Range range = range_in_turn(s);
    if (s.in_turn >= range_count(s)) return "in_turn is beyond the ranges";
    if (s.position >= Nvme::kDiscardBytes) return "position is beyond what one command gives back";
    return in_range(s, range.first, range.count) && range.count != 0 ? nullptr : kOutside;
  }
  const bool has_data = op == kRead || op == kWrite || op == kCompare;
  if (!has_data && op != kWriteZeroes && op != kVerify) return "command has no data";
  if (s.length == 0 || s.length % (uint64_t{1} << s.block_shift) != 0) return "length is not of whole blocks";
  if (has_data && s.length > Nvme::kMaxTransferBytes) return "length is beyond the largest transfer";
  return in_range(s, first_block(s), s.length >> s.block_shift) ? nullptr : kOutside;
}

}  // namespace dejavm::nvme
