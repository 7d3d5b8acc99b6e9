#include "devices/fwcfg.h"

#include <algorithm>
#include <cstring>

namespace dejavm {
namespace {

using State = Fwcfg::State;
using Phase = Fwcfg::Phase;

enum Register : uint64_t { kSelector = 0, kData = 1, kAddressHigh = 4, kAddressLow = 8 };
// The control word of a transfer.
enum Control : uint32_t { kError = 1, kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16 };
constexpr std::string_view kDmaSignature = "QEMU CFG";
constexpr std::array<uint8_t, kMaxTransferBytes> kZeros{};

uint32_t big_endian(std::span<const uint8_t> bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

// What is left of the selected item; none: of one that there is not.
std::span<const uint8_t> rest(const State& s) {
  for (unsigned n = 0; n < s.item_count; ++n) {
    const Fwcfg::Item& item = s.item[n];
    if (item.key != s.selector) continue;
    const uint32_t passed = std::min(s.offset, item.len_bytes);
    return std::span(s.content).subspan(item.at + passed, item.len_bytes - passed);
  }
  return {};
}

void skip(State& s, uint32_t bytes) { s.offset += static_cast<uint32_t>(std::min<size_t>(bytes, rest(s).size())); }

void select(State& s, uint16_t key) {
  s.selector = key;
  s.offset = 0;
}

void end_transfer(State& s, bool failed) {
  s.left = s.slice = 0;
  s.to = 0;
  s.status = {0, 0, 0, failed ? uint8_t{kError} : uint8_t{0}};
  s.phase = Phase::kStatus;
}

void control_arrived(State& s, std::span<const uint8_t> bytes) {
  const uint32_t control = big_endian(bytes), len_bytes = big_endian(bytes.subspan(4));
  if (control & kSelect) select(s, static_cast<uint16_t>(control >> 16));
  if (control & kRead) {
    s.to = uint64_t{big_endian(bytes.subspan(8))} << 32 | big_endian(bytes.subspan(12));
    s.left = len_bytes;
    s.slice = 0;
    s.phase = Phase::kData;
    return len_bytes == 0 ? end_transfer(s, false) : void();
  }
  if (!(control & kWrite) && (control & kSkip)) skip(s, len_bytes);
  end_transfer(s, control & kWrite);
}

// The piece that is written next: of the item, then of zeros.
std::span<const uint8_t> next_piece(const State& s) {
  const std::span<const uint8_t> from = rest(s);
  const std::span<const uint8_t> whole = from.empty() ? std::span<const uint8_t>(kZeros) : from;
  return whole.first(std::min({whole.size(), size_t{s.left}, size_t{kMaxTransferBytes}}));
}

void piece_moved(State& s) {
  const auto moved = static_cast<uint32_t>(next_piece(s).size());
  skip(s, moved);
  s.to += moved;
  s.left -= moved;
  s.slice += moved;
  if (s.left == 0) return end_transfer(s, false);
  const bool time_ends = s.now_ns > ~uint64_t{0} - Fwcfg::kSliceNs;
  if (s.slice + kMaxTransferBytes <= Fwcfg::kSliceBytes || time_ends) {
    s.slice %= Fwcfg::kSliceBytes;
    return;
  }
  s.slice = 0;
  s.phase = Phase::kPause;
  s.due_ns = s.now_ns + Fwcfg::kSliceNs;
}

}  // namespace

uint64_t Fwcfg::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  if (offset == kData && size == 1) {
    const std::span<const uint8_t> bytes = rest(s);
    const uint64_t value = bytes.empty() ? 0 : bytes[0];
    skip(s, 1);
    return value;
  }
  if (offset < kAddressHigh || offset >= kWindowBytes || size > kWindowBytes - offset) return open_bus(size);
  uint64_t value = 0;
  std::memcpy(&value, &kDmaSignature[offset - kAddressHigh], size);
  return value;
}

void Fwcfg::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  if (offset == kSelector && size == 2) return select(s, static_cast<uint16_t>(value));
  if (size != 4) return;
  const uint32_t word = __builtin_bswap32(static_cast<uint32_t>(value));
  if (offset == kAddressHigh) s.address = uint64_t{word} << 32;
  if (offset != kAddressLow) return;
  const uint64_t address = s.address | word;
  s.address = 0;
  if (s.phase != Phase::kIdle) return;  // one is at hand
  s.control_at = address;
  s.phase = Phase::kControl;
}

void Fwcfg::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  s.now_ns = now.value;
  if (s.due_ns == 0 || s.due_ns > s.now_ns) return;
  s.due_ns = 0;
  s.phase = Phase::kData;
}

Nanos Fwcfg::next_event(const State& s) { return s.due_ns != 0 ? Nanos{s.due_ns} : kNever; }

bool Fwcfg::next_transfer(const State& s, Transfer& t) {
  t = {};
  switch (s.phase) {
    case Phase::kIdle:
    case Phase::kPause: return false;
    case Phase::kControl:
      t.address = s.control_at;
      t.len_bytes = kControlBytes;
      return true;
    case Phase::kData: t.bytes = next_piece(s); break;
    case Phase::kStatus: t.bytes = s.status; break;
  }
  t.kind = Transfer::Kind::kWrite;
  t.address = s.phase == Phase::kData ? s.to : s.control_at;
  t.len_bytes = static_cast<uint32_t>(t.bytes.size());
  return true;
}

void Fwcfg::transferred(State& s, Nanos now, bool ok, std::span<const uint8_t> bytes) {
  advance(s, now);
  switch (s.phase) {
    case Phase::kIdle:
    case Phase::kPause: return;
    case Phase::kControl: return ok ? control_arrived(s, bytes) : end_transfer(s, true);
    case Phase::kData: return ok ? piece_moved(s) : end_transfer(s, true);
    case Phase::kStatus:  // if it cannot be written, nobody is told
      s.phase = Phase::kIdle;
      s.control_at = 0;
      s.status = {};
      return;
  }
}

bool Fwcfg::add(State& s, uint16_t key, std::span<const uint8_t> content) {
  uint32_t end = 0;
  for (unsigned n = 0; n < s.item_count; ++n) end = std::max(end, s.item[n].at + s.item[n].len_bytes);
  if (s.item_count == kItems || content.size() > kContentBytes - end) return false;
  std::ranges::copy(content, s.content.begin() + end);
  s.item[s.item_count++] = {.at = end, .len_bytes = static_cast<uint32_t>(content.size()), .key = key};
  return true;
}

bool Fwcfg::add_files(State& s, std::span<const File> files) {
  constexpr size_t kEntryBytes = 8 + kNameBytes;
  std::array<uint8_t, 4 + kItems * kEntryBytes> directory{};
  if (files.size() > kItems) return false;
  const auto put = [&](size_t at, size_t value, unsigned bytes) {
    for (unsigned n = 0; n < bytes; ++n) directory[at + n] = static_cast<uint8_t>(value >> (8 * (bytes - 1 - n)));
  };
  put(0, files.size(), 4);
  size_t end = 4;
  uint16_t key = kFirstFile;
  for (const File& file : files) {
    if (file.name.size() >= kNameBytes || !add(s, key, file.content)) return false;
    put(end, file.content.size(), 4);
    put(end + 4, key++, 2);
    std::ranges::copy(file.name, directory.begin() + static_cast<ptrdiff_t>(end) + 8);
    end += kEntryBytes;
  }
  return add(s, kDirectory, std::span(directory).first(end));
}

void Fwcfg::reset(State& s) {
  State fresh{};
  fresh.item_count = s.item_count;
  fresh.item = s.item;
  fresh.content = s.content;
  s = fresh;
}

const char* Fwcfg::invalid(const State& s) {
  for (unsigned n = 0; n < kItems; ++n) {
    const Item& item = s.item[n];
    if (item.at > kContentBytes || item.len_bytes > kContentBytes - item.at) return "an item is outside the content";
  }
  if ((s.due_ns != 0) != (s.phase == Phase::kPause)) return "due_ns is not of a transfer that pauses";
  if (s.due_ns != 0 && (s.due_ns <= s.now_ns || s.due_ns - s.now_ns > kSliceNs)) return "due_ns is not within its time";
  const bool moving = s.phase == Phase::kData || s.phase == Phase::kPause;
  if (moving != (s.left != 0)) return "left is not of a transfer of data";
  if (s.slice + (moving ? 1 : 0) > kSliceBytes) return "slice is outside its bounds";
  return nullptr;
}

}  // namespace dejavm
