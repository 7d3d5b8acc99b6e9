#include "devices/virtioblk.h"

#include <algorithm>
#include <cstring>

#include "devices/virtio/on_pci.h"

namespace dejavm {
namespace {

using State = Virtioblk::State;
using Step = Virtioblk::Step;
using virtio::Phase;

enum Request : uint32_t { kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11, kWriteZeroes = 13 };
enum Status : uint8_t { kOk = 0, kFailed = 1, kUnsupported = 2 };
enum Feature : uint64_t {
  kSizeMax = 1 << 1,
  kSegMax = 1 << 2,
  kReadOnly = 1 << 5,
  kBlockSize = 1 << 6,
  kFlushing = 1 << 9,
  kTopology = 1 << 10,
  kConfigWce = 1 << 11,
  kSeveralQueues = 1 << 12,
  kDiscards = 1 << 13,
  kZeroes = 1 << 14,
};
constexpr uint64_t kFeatures =
    kSizeMax | kSegMax | kBlockSize | kFlushing | kTopology | kConfigWce | kSeveralQueues | kDiscards | kZeroes;
constexpr virtio::Kind kKind{Virtioblk::kPci, kFeatures}, kReadOnlyKind{Virtioblk::kPci, kFeatures | kReadOnly};
constexpr uint64_t kWriteback = 32;

const virtio::Kind& kind_of(const State& s) { return s.read_only ? kReadOnlyKind : kKind; }
virtio::Device device(State& s) { return {kind_of(s), s.pci, s.core, s.queue}; }

// The device's configuration (5.2.4).
std::array<uint8_t, 60> configuration(const State& s) {
  std::array<uint8_t, 60> out{};
  const auto put = [&](size_t at, auto value) { std::memcpy(&out[at], &value, sizeof value); };
  put(0, s.sectors);
  put(8, Virtioblk::kMaxSegmentBytes);
  put(12, Virtioblk::kMaxDataSegments);
  put(20, s.block_bytes);
  put(26, uint16_t{1});  // the smallest write, in blocks
  put(28, uint32_t{1});  // the best one
  put(kWriteback, static_cast<uint8_t>(s.write_cache));
  put(34, static_cast<uint16_t>(Virtioblk::kQueues));
  put(36, Virtioblk::kMaxRangeSectors);
  put(40, uint32_t{Virtioblk::kRanges});
  put(44, s.block_bytes / Virtioblk::kSectorBytes);
  put(48, Virtioblk::kMaxRangeSectors);
  put(52, uint32_t{Virtioblk::kRanges});
  out[56] = 1;  // zeroes may be given back
  return out;
}

void forget_request(State& s) {
  s.sector = s.position = s.length = 0;
  s.type = 0;
  s.step = Step::kHeader;
  s.status = kOk;
  s.range = 0;
  s.data = {};
}

bool in_disk(const State& s, uint64_t sector, uint64_t bytes) {
  return sector <= s.sectors && bytes / Virtioblk::kSectorBytes <= s.sectors - sector;
}

void end(State& s, uint8_t status) {
  s.status = status;
  s.step = Step::kStatus;
  s.position = 0;
  s.length = 1;
  s.data[0] = status;
}

struct Range {
  uint64_t sector;
  uint32_t count, flags;
};
Range range_in_turn(const State& s) {
  Range out;
  const uint8_t* const at = &s.data[s.range % Virtioblk::kRanges * Virtioblk::kRangeBytes];
  std::memcpy(&out.sector, at, 8);
  std::memcpy(&out.count, at + 8, 4);
  std::memcpy(&out.flags, at + 12, 4);
  return out;
}

uint64_t range_count(const State& s) { return (s.core.readable - Virtioblk::kHeaderBytes) / Virtioblk::kRangeBytes; }

bool is_range_request(uint32_t type) { return type == kDiscard || type == kWriteZeroes; }

// Before any of them is done all are looked at (5.2.6.2).
uint8_t check_ranges(State& s) {
  for (s.range = 0; s.range < range_count(s); ++s.range) {
    const Range range = range_in_turn(s);
    const uint32_t known = s.type == kWriteZeroes ? 1 : 0;
    if (range.flags & ~known) return kUnsupported;
    if (range.count > Virtioblk::kMaxRangeSectors) return kFailed;
    if (!in_disk(s, range.sector, uint64_t{range.count} * Virtioblk::kSectorBytes)) return kFailed;
  }
  return kOk;
}

// Empty ranges are passed over.
void next_range(State& s) {
  while (s.range < range_count(s) && range_in_turn(s).count == 0) ++s.range;
  if (s.range >= range_count(s)) return end(s, kOk);
  s.step = Step::kData;
  s.sector = range_in_turn(s).sector;
  s.position = 0;
  s.length = uint64_t{range_in_turn(s).count} * Virtioblk::kSectorBytes;
}

void ranges_arrived(State& s) {
  const uint8_t bad = check_ranges(s);
  s.range = 0;
  if (bad != kOk) return end(s, bad);
  s.unflushed = true;
  next_range(s);
}

void begin_data(State& s, uint64_t bytes) {
  const bool whole = bytes % Virtioblk::kSectorBytes == 0;
  if (!whole || bytes > Virtioblk::kMaxDataBytes || !in_disk(s, s.sector, bytes)) return end(s, kFailed);
  if (s.type == kOut) s.unflushed = true;
  if (bytes == 0) return end(s, kOk);
  s.step = Step::kData;
  s.position = 0;
  s.length = bytes;
}

void begin_ranges(State& s) {
  const uint64_t bytes = s.core.readable - Virtioblk::kHeaderBytes;
  if (bytes == 0 || bytes % Virtioblk::kRangeBytes != 0 || range_count(s) > Virtioblk::kRanges) return end(s, kFailed);
  s.data = {};
  s.step = Step::kRanges;
  s.position = 0;
  s.length = bytes;
}

void header_arrived(State& s) {
  std::memcpy(&s.type, s.data.data(), 4);
  std::memcpy(&s.sector, &s.data[8], 8);
  const bool writes = s.type == kOut || is_range_request(s.type);
  if (writes && s.read_only) return end(s, kFailed);
  switch (s.type) {
    case kIn: return begin_data(s, s.core.writable - 1);
    case kOut: return begin_data(s, s.core.readable - Virtioblk::kHeaderBytes);
    case kFlush:
      s.step = Step::kData;
      s.position = s.length = 0;
      return;
    case kGetId:
      s.data = {};
      std::ranges::copy(s.serial, s.data.begin());
      s.step = Step::kData;
      s.position = 0;
      s.length = std::min<uint64_t>(Virtioblk::kIdBytes, s.core.writable - 1);
      return s.length == 0 ? end(s, kOk) : void();
    case kDiscard:
    case kWriteZeroes: return begin_ranges(s);
    default: return end(s, kUnsupported);
  }
}

// Where the next piece of the request is in memory.
struct Piece {
  uint64_t address = 0;
  uint32_t len_bytes = 0;
};
Piece next_piece(const State& s) {
  const bool to_driver = s.step == Step::kStatus || (s.step == Step::kData && s.type != kOut);
  uint64_t offset = s.position;
  if (s.step == Step::kStatus) offset = s.core.writable - 1;
  else if (s.step != Step::kHeader && !to_driver) offset += Virtioblk::kHeaderBytes;
  uint64_t address = 0, room = 0;
  if (!virtio::place(s.core, to_driver, offset, address, room)) return {};
  const uint64_t left = s.length - s.position;
  return {address, static_cast<uint32_t>(std::min({room, left, uint64_t{kMaxTransferBytes}}))};
}

// The disk's own steps have no place in memory.
bool on_disk_alone(const State& s) { return s.step == Step::kData && (s.type == kFlush || is_range_request(s.type)); }
uint64_t disk_bytes(const State& s) { return std::min<uint64_t>(Virtioblk::kZeroBytes, s.length - s.position); }

void disk_step_done(State& s) {
  if (s.type == kFlush) {
    s.unflushed = false;
    return end(s, kOk);
  }
  s.position += disk_bytes(s);
  if (s.position < s.length) return;
  ++s.range;
  next_range(s);
}

void give_back(State& s) {
  const bool read = s.status == kOk && (s.type == kIn || s.type == kGetId);
  const uint64_t data = !read ? 0 : s.type == kIn ? s.core.writable - 1 : Virtioblk::kIdBytes;
  const auto written = static_cast<uint32_t>(1 + std::min(data, s.core.writable - 1));
  forget_request(s);
  virtio::served(device(s), written);
}

void piece_moved(State& s, uint32_t len_bytes, std::span<const uint8_t> bytes) {
  if (s.step == Step::kHeader || s.step == Step::kRanges)
    std::ranges::copy(bytes, s.data.begin() + static_cast<ptrdiff_t>(s.position));
  s.position += len_bytes;
  if (s.position < s.length) return;
  switch (s.step) {
    case Step::kHeader: return header_arrived(s);
    case Step::kRanges: return ranges_arrived(s);
    case Step::kData: return end(s, kOk);
    case Step::kStatus: return give_back(s);
  }
}

// A chain has arrived: it must have room for a header and for a status.
void begin_request(State& s) {
  forget_request(s);
  if (s.core.readable < Virtioblk::kHeaderBytes || s.core.writable == 0) return virtio::broken(device(s));
  s.length = Virtioblk::kHeaderBytes;
}

void reset_device(State& s) {
  forget_request(s);
  virtio::reset(s.core, s.queue);
}

}  // namespace

uint64_t Virtioblk::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  return virtio::read({device(s), s.vector, configuration(s)}, offset, size);
}

void Virtioblk::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  const virtio::Written written = virtio::write({device(s), s.vector, configuration(s)}, offset, size, value);
  switch (written.left) {
    case virtio::Left::kNothing: return;
    case virtio::Left::kResetDevice: return reset_device(s);
    case virtio::Left::kConfigured:
      if (written.config_offset == kWriteback && size == 1) s.write_cache = value & 1;
      return;
    case virtio::Left::kResetFunction: {
      const uint64_t time = s.core.now_ns;
      reset(s);
      s.core.now_ns = time;
    }
  }
}

void Virtioblk::advance(State& s, Nanos now) { virtio::advance(device(s), now); }

Nanos Virtioblk::next_event(const State& s) { return s.core.due_ns != 0 ? Nanos{s.core.due_ns} : kNever; }

uint64_t Virtioblk::lines(const State& s) { return s.core.isr != 0 && pci::drives_intx(s.pci) ? uint64_t{kInta} : 0; }

bool Virtioblk::pop_message(State& s, BusMessage& message) { return pci::pop_message(kPci, s.pci, s.vector, message); }

bool Virtioblk::next_transfer(const State& s, Transfer& t) {
  if (!pci::may_master(s.pci)) return false;
  if (s.core.phase != Phase::kServing) return virtio::next_transfer(s.core, s.queue, t);
  using Kind = Transfer::Kind;
  t = {};
  t.disk_offset = s.sector * kSectorBytes + s.position;
  if (on_disk_alone(s)) {
    t.kind = s.type == kFlush ? Kind::kFlushDisk : s.type == kDiscard ? Kind::kDiscardDisk : Kind::kZeroDisk;
    t.disk_bytes = disk_bytes(s);
    if (s.type == kFlush) t.disk_offset = 0;
    return true;
  }
  const Piece piece = next_piece(s);
  t.address = piece.address;
  t.len_bytes = piece.len_bytes;
  if (s.step == Step::kHeader || s.step == Step::kRanges) {
    t.disk_offset = 0;
  } else if (s.step == Step::kData && s.type != kGetId) {
    t.kind = s.type == kOut ? Kind::kToDisk : Kind::kFromDisk;
  } else {
    t.kind = Kind::kWrite;
    t.disk_offset = 0;
    t.bytes = std::span(s.data).subspan(s.step == Step::kStatus ? 0 : s.position, piece.len_bytes);
  }
  return true;
}

void Virtioblk::transferred(State& s, Nanos now, bool ok, std::span<const uint8_t> bytes) {
  advance(s, now);
  if (s.core.phase != Phase::kServing) {
    virtio::transferred(device(s), ok, bytes);
    if (s.core.phase == Phase::kServing) begin_request(s);
    return;
  }
  if (on_disk_alone(s)) return ok ? disk_step_done(s) : end(s, kFailed);
  // Data that are nowhere fail the request; a header or status, the driver.
  if (!ok) {
    pci::received_master_abort(s.pci);
    return s.step == Step::kData ? end(s, kFailed) : virtio::broken(device(s));
  }
  piece_moved(s, next_piece(s).len_bytes, bytes);
}

void Virtioblk::set_disk(State& s, uint64_t bytes, unsigned block_bytes, std::string_view serial, bool read_only) {
  s.block_bytes = block_bytes == 4096 ? 4096 : kSectorBytes;
  s.sectors = bytes / kSectorBytes;
  s.serial.fill(0);
  std::copy_n(serial.begin(), std::min(serial.size(), s.serial.size()), s.serial.begin());
  s.read_only = read_only;
}

void Virtioblk::reset(State& s) {
  State fresh{};
  fresh.sectors = s.sectors;
  fresh.serial = s.serial;
  fresh.block_bytes = s.block_bytes == 4096 ? 4096 : kSectorBytes;
  fresh.read_only = s.read_only;
  s = fresh;
}

const char* Virtioblk::invalid(const State& s) {
  if (s.block_bytes != kSectorBytes && s.block_bytes != 4096) return "block_bytes is neither 512 nor 4096";
  if (const char* why = virtio::invalid(kind_of(s), s.core, s.queue)) return why;
  if (s.core.phase == Phase::kServing) {
    if (s.core.readable < kHeaderBytes || s.core.writable == 0) return "a request without header or status";
    const bool alone = on_disk_alone(s);
    if (s.type != kFlush || s.step != Step::kData) {
      if (s.position >= s.length) return "position is outside the request's data";
    } else if (s.position != 0 || s.length != 0) {
      return "a flush that has data";
    }
    if (s.step == Step::kHeader && s.length != kHeaderBytes) return "length is not that of a header";
    if (s.step == Step::kStatus && s.length != 1) return "length is not that of a status";
    if (is_range_request(s.type) && (s.step == Step::kRanges || s.step == Step::kData)) {
      if (range_count(s) > kRanges || (s.core.readable - kHeaderBytes) % kRangeBytes != 0) return "too many ranges";
      if (s.step == Step::kData && s.range >= range_count(s)) return "range is beyond the request's";
    }
    if (s.step == Step::kRanges && (!is_range_request(s.type) || s.length != s.core.readable - kHeaderBytes))
      return "length is not that of the ranges";
    if (s.step == Step::kData && s.type == kGetId && s.length > kIdBytes) return "length is not that of an id";
    const bool of_disk = s.step == Step::kData && s.type != kGetId && s.type != kFlush;
    if (of_disk && (s.length % kSectorBytes != 0 || !in_disk(s, s.sector, s.length) ||
                    s.length > (alone ? uint64_t{kMaxRangeSectors} * kSectorBytes : kMaxDataBytes)))
      return "the request's sectors are outside the disk";
    const uint64_t in_chain = s.type == kOut ? s.core.readable - kHeaderBytes : s.core.writable - 1;
    if (s.step == Step::kData && !alone && (s.type == kGetId ? s.length > in_chain : s.length != in_chain))
      return "length is not that of the chain's data";
    if (!alone && next_piece(s).len_bytes == 0) return "the request's data have no place";
  }
  return pci::invalid(kPci, s.pci);
}

}  // namespace dejavm
