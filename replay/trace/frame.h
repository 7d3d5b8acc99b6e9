// The trace file's outer shape: a preamble, frames, an index and a trailer. FORMAT.md defines each byte; the constants
// of that text are here. Everything is little-endian.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "devices/core/result.h"

namespace dejavm {

inline constexpr uint32_t kTraceVersion = 2;        // that is written
inline constexpr uint32_t kOldestTraceVersion = 1;  // that is read
inline constexpr std::array<uint8_t, 8> kTraceMagic{0x89, 'D', 'J', 'V', 'T', '\r', '\n', 0x1a};
inline constexpr std::array<uint8_t, 8> kTrailerMagic{0x89, 'D', 'J', 'V', 'E', '\r', '\n', 0x1a};
inline constexpr uint32_t kPreambleBytes = 16;  // magic, version, zero
inline constexpr uint32_t kTrailerBytes = 16;   // offset of the index frame, magic
inline constexpr uint32_t kFrameHeadBytes = 64;
inline constexpr uint32_t kFrameMagic = 0x46564a44;  // "DJVF"

enum class FrameKind : uint8_t {
  kHeader = 1,    // exactly one, the first: CBOR, what was recorded
  kMemory = 2,    // pages of the snapshot that follows
  kSnapshot = 3,  // CBOR: a keyframe's state; completes the memory frames before it. The first one is the initial state
  kEvents = 4,    // a batch of events
  kEnd = 5,       // CBOR: how the run ended
  kIndex = 6,     // the heads of all frames before it
  kBlocks = 7,    // pieces of the images of disks, each when it was first read
};
std::string_view name_of(FrameKind);

// The most that a frame of each kind may hold once decompressed; a reader allocates no more, whatever the file says.
uint32_t max_raw_bytes(FrameKind);
inline constexpr uint32_t kPagesPerFrame = 256;
inline constexpr uint32_t kEventBatchBytes = 256 << 10;  // the writer closes a batch at this size
inline constexpr uint32_t kBlockBatchBytes = 512 << 10;  // and blocks at this one
inline constexpr uint32_t kMaxConsoleBytes = 4096;       // in one console event

struct FrameHead {
  FrameKind kind = FrameKind::kHeader;
  bool compressed = false;     // zstd
  uint32_t sequence = 0;       // 0 for the first frame of the file
  uint32_t stored_bytes = 0;   // of the payload in the file
  uint32_t raw_bytes = 0;      // of the payload when decompressed
  uint32_t count = 0;          // events or pages; else 0
  uint64_t first_event = 0;    // events before this frame
  uint64_t first_retired = 0;  // of the first event, or of the snapshot
  uint64_t last_retired = 0;   // of the last event, or of the snapshot
  uint64_t payload_hash = 0;   // XXH3-64 of the stored payload, seeded with the sequence
  bool operator==(const FrameHead&) const = default;
};

void store_frame_head(const FrameHead&, std::span<uint8_t, kFrameHeadBytes> to);
// Empty: fine. Else why the head is refused.
std::string load_frame_head(std::span<const uint8_t, kFrameHeadBytes> from, FrameHead& head);
uint64_t payload_hash(uint32_t sequence, std::span<const uint8_t> stored);

std::array<uint8_t, kPreambleBytes> make_preamble();
std::array<uint8_t, kTrailerBytes> make_trailer(uint64_t index_offset);

template <class T>
void store_le(uint8_t* to, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<uint8_t>(value >> (8 * i));
}
template <class T>
T load_le(const uint8_t* from) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;)
    value = static_cast<T>(static_cast<T>(value << (sizeof(T) > 1 ? 8 : 0)) | from[i]);
  return value;
}

// LEB128: seven bits a byte, least significant first, the last byte without bit 7. The shortest form is the only one.
template <class Out>
void put_varint(Out& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<uint8_t>(value | 0x80));
  out.push_back(static_cast<uint8_t>(value));
}
// Advances `pos`; false at the end of input or for a form that is not the shortest.
inline bool get_varint(std::span<const uint8_t> in, size_t& pos, uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 70 && pos < in.size(); shift += 7) {
    const uint8_t byte = in[pos++];
    if (shift == 63 && byte > 1) return false;
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return byte != 0 || shift == 0;
  }
  return false;
}
// Signed differences as unsigned: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
constexpr uint64_t zigzag(uint64_t difference) { return (difference << 1) ^ (0 - (difference >> 63)); }
constexpr uint64_t unzigzag(uint64_t value) { return (value >> 1) ^ (0 - (value & 1)); }

}  // namespace dejavm
