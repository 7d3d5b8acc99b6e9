#include "replay/trace/disk_pieces.h"

#include <algorithm>

#include <fmt/format.h>

#include "replay/trace/reader.h"

namespace dejavm {
namespace {

Result<void> add_pieces(const TraceReader& trace, uint32_t frame, DiskPieces& out) {
  auto content = trace.payload(frame);
  if (!content) return content.error();
  size_t pos = 0;
  for (uint32_t n = 0; n < trace.frames()[frame].head.count; ++n) {
    const auto bad = [&](std::string_view why) { return trace.damaged(frame, fmt::format("block {} {}", n, why)); };
    uint64_t disk = 0, piece = 0, length = 0;
    if (!get_varint(*content, pos, disk) || !get_varint(*content, pos, piece) || !get_varint(*content, pos, length))
      return bad("is cut off");
    const auto& disks = trace.header().config.disks;
    if (disk >= disks.size()) return bad("is of a disk that the machine has not");
    const uint64_t bytes = disks[disk].bytes;
    if (piece >= (bytes + kDiskPieceBytes - 1) / kDiskPieceBytes) return bad("is beyond its disk");
    const uint64_t expected = std::min(kDiskPieceBytes, bytes - piece * kDiskPieceBytes);
    const bool zero = length == 0;
    if (!zero && length != expected) return bad(fmt::format("has {} bytes instead of {}", length, expected));
    if (length > content->size() - pos) return bad("is cut off");
    const DiskPiece place{frame, static_cast<uint32_t>(pos), static_cast<uint32_t>(expected), zero};
    if (!out[disk].emplace(piece, place).second) return bad("is there twice");
    pos += length;
  }
  return pos == content->size() ? Result<void>() : trace.damaged(frame, "bytes after the last block");
}

}  // namespace

Result<DiskPieces> find_disk_pieces(const TraceReader& trace) {
  DiskPieces out(trace.header().config.disks.size());
  for (uint32_t n = 0; n < trace.frames().size(); ++n)
    if (trace.frames()[n].head.kind == FrameKind::kBlocks)
      if (auto done = add_pieces(trace, n, out); !done) return done.error();
  return out;
}

}  // namespace dejavm
