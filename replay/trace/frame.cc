#include "replay/trace/frame.h"

#include <algorithm>

#include <fmt/format.h>

#include "replay/store/hash.h"

namespace dejavm {

std::string_view name_of(FrameKind kind) {
  switch (kind) {
    case FrameKind::kHeader: return "header";
    case FrameKind::kMemory: return "memory";
    case FrameKind::kSnapshot: return "snapshot";
    case FrameKind::kEvents: return "events";
    case FrameKind::kEnd: return "end";
    case FrameKind::kIndex: return "index";
    case FrameKind::kBlocks: return "blocks";
  }
  return "unknown";
}

uint32_t max_raw_bytes(FrameKind kind) {
  switch (kind) {
    case FrameKind::kHeader: return 4 << 20;
    case FrameKind::kMemory: return kPagesPerFrame * (4096 + 10);
    case FrameKind::kSnapshot: return 64 << 20;
    case FrameKind::kEvents: return 2 * kEventBatchBytes;
    case FrameKind::kEnd: return 1 << 20;
    case FrameKind::kIndex: return 256 << 20;
    case FrameKind::kBlocks: return 2 * kBlockBatchBytes;
  }
  return 0;
}

void store_frame_head(const FrameHead& h, std::span<uint8_t, kFrameHeadBytes> to) {
  uint8_t* p = to.data();
  store_le<uint32_t>(p, kFrameMagic);
  p[4] = static_cast<uint8_t>(h.kind);
  p[5] = h.compressed ? 1 : 0;
  p[6] = p[7] = 0;
  store_le<uint32_t>(p + 8, h.sequence);
  store_le<uint32_t>(p + 12, h.stored_bytes);
  store_le<uint32_t>(p + 16, h.raw_bytes);
  store_le<uint32_t>(p + 20, h.count);
  store_le<uint64_t>(p + 24, h.first_event);
  store_le<uint64_t>(p + 32, h.first_retired);
  store_le<uint64_t>(p + 40, h.last_retired);
  store_le<uint64_t>(p + 48, h.payload_hash);
  store_le<uint64_t>(p + 56, hash64({p, 56}));
}

std::string load_frame_head(std::span<const uint8_t, kFrameHeadBytes> from, FrameHead& h) {
  const uint8_t* p = from.data();
  if (load_le<uint32_t>(p) != kFrameMagic) return "no frame begins here";
  if (load_le<uint64_t>(p + 56) != hash64({p, 56})) return "the frame's head is damaged (checksum)";
  if (p[4] < 1 || p[4] > 7) return fmt::format("unknown frame kind {}", p[4]);
  if (p[5] > 1 || p[6] != 0 || p[7] != 0) return "unknown frame flags";
  h.kind = static_cast<FrameKind>(p[4]);
  h.compressed = p[5] == 1;
  h.sequence = load_le<uint32_t>(p + 8);
  h.stored_bytes = load_le<uint32_t>(p + 12);
  h.raw_bytes = load_le<uint32_t>(p + 16);
  h.count = load_le<uint32_t>(p + 20);
  h.first_event = load_le<uint64_t>(p + 24);
  h.first_retired = load_le<uint64_t>(p + 32);
  h.last_retired = load_le<uint64_t>(p + 40);
  h.payload_hash = load_le<uint64_t>(p + 48);
  if (h.raw_bytes > max_raw_bytes(h.kind))
    return fmt::format("a frame of kind '{}' says {} bytes; the limit is {}", name_of(h.kind), h.raw_bytes,
                       max_raw_bytes(h.kind));
  if (h.compressed ? h.stored_bytes >= h.raw_bytes : h.stored_bytes != h.raw_bytes)
    return "the frame's lengths do not fit together";
  // Each event and each page takes at least one byte.
  if (h.count > h.raw_bytes) return "the frame's count does not fit its length";
  return {};
}

uint64_t payload_hash(uint32_t sequence, std::span<const uint8_t> stored) { return hash64(stored, sequence); }

std::array<uint8_t, kPreambleBytes> make_preamble() {
  std::array<uint8_t, kPreambleBytes> out{};
  std::copy(kTraceMagic.begin(), kTraceMagic.end(), out.begin());
  store_le<uint32_t>(out.data() + 8, kTraceVersion);
  return out;
}

std::array<uint8_t, kTrailerBytes> make_trailer(uint64_t index_offset) {
  std::array<uint8_t, kTrailerBytes> out{};
  store_le<uint64_t>(out.data(), index_offset);
  std::copy(kTrailerMagic.begin(), kTrailerMagic.end(), out.begin() + 8);
  return out;
}

}  // namespace dejavm
