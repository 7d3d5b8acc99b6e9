#include "replay/replay/logged_image.h"

#include <algorithm>

namespace dejavm {
namespace {

class LoggedImage final : public DiskImage {
 public:
  LoggedImage(const TraceReader& trace, std::shared_ptr<const DiskPieces> pieces, size_t disk)
      : trace_(trace), pieces_(std::move(pieces)), disk_(disk) {}

  bool read(uint64_t offset, std::span<uint8_t> to) override {
    while (!to.empty()) {
      const uint64_t at = offset % kDiskPieceBytes;
      const size_t count = static_cast<size_t>(std::min<uint64_t>(to.size(), kDiskPieceBytes - at));
      if (!read_piece(offset / kDiskPieceBytes, at, to.first(count))) return false;
      to = to.subspan(count);
      offset += count;
    }
    return true;
  }

  Range range_at(uint64_t offset) const override {
    const auto& pieces = (*pieces_)[disk_];
    const auto found = pieces.lower_bound(offset / kDiskPieceBytes);
    if (found == pieces.end()) return {Range::Kind::kUnknown, kMaxDiskBytes};
    const uint64_t start = found->first * kDiskPieceBytes;
    if (start > offset) return {Range::Kind::kUnknown, start - offset};
    return {found->second.zero ? Range::Kind::kZeros : Range::Kind::kData, kDiskPieceBytes - (offset - start)};
  }

 private:
  bool read_piece(uint64_t number, uint64_t at, std::span<uint8_t> to) {
    const auto found = (*pieces_)[disk_].find(number);
    if (found == (*pieces_)[disk_].end() || at + to.size() > found->second.len_bytes) return false;
    const DiskPiece& piece = found->second;
    if (piece.zero) {
      std::ranges::fill(to, uint8_t{0});
      return true;
    }
    if (content_.empty() || frame_ != piece.frame) {
      auto content = trace_.payload(piece.frame);
      if (!content) return false;
      content_ = content.take();
      frame_ = piece.frame;
    }
    std::copy_n(content_.begin() + static_cast<ptrdiff_t>(piece.offset + at), to.size(), to.begin());
    return true;
  }

  const TraceReader& trace_;
  std::shared_ptr<const DiskPieces> pieces_;
  size_t disk_;
  Bytes content_;  // of the frame that was read last
  uint32_t frame_ = 0;
};

}  // namespace

Result<std::vector<std::unique_ptr<DiskImage>>> logged_images(const TraceReader& trace) {
  std::vector<std::unique_ptr<DiskImage>> out;
  if (trace.header().config.disks.empty()) return out;
  auto pieces = trace.disk_pieces();
  if (!pieces) return pieces.error();
  for (size_t n = 0; n < trace.header().config.disks.size(); ++n)
    out.push_back(std::make_unique<LoggedImage>(trace, *pieces, n));
  return out;
}

}  // namespace dejavm
