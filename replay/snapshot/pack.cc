#include "replay/snapshot/pack.h"

#include <elf.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include "replay/snapshot/snapshot_file.h"
#include "replay/store/atomic_file.h"

namespace dejavm {
namespace {

constexpr size_t kPiece = 1 << 20;
constexpr uint64_t kMaxSnapshotBytes = uint64_t{1} << 41;

struct Free {
  void operator()(ZSTD_CCtx* c) const { ZSTD_freeCCtx(c); }
  void operator()(ZSTD_DCtx* d) const { ZSTD_freeDCtx(d); }
};

// Writes all but pages of zeros.
Result<void> write_sparse(AtomicFile& file, uint64_t offset, std::span<const uint8_t> bytes) {
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    auto zero = [&](size_t p) { return bytes.size() - p >= 4096 && is_zero_page(&bytes[p]); };
    while (end < bytes.size() && !zero(end)) end = std::min(end + 4096, bytes.size());
    if (end > at)
      if (auto done = file.write_at(offset + at, bytes.subspan(at, end - at)); !done) return done;
    at = end;
    while (at < bytes.size() && zero(at)) at += 4096;
  }
  return {};
}

}  // namespace

Result<void> pack(const std::string& from, const std::string& to, bool force) {
  auto file = SnapshotFile::open(from);
  if (!file) return file.error();
  if (auto done = (*file)->verify(); !done) return done;
  auto out = AtomicFile::create(to, force);
  if (!out) return out.error();
  const std::unique_ptr<ZSTD_CCtx, Free> c(ZSTD_createCCtx());
  CHECK(c != nullptr);
  const uint64_t size = (*file)->source().size();
  ZSTD_CCtx_setParameter(c.get(), ZSTD_c_compressionLevel, 3);
  ZSTD_CCtx_setParameter(c.get(), ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setPledgedSrcSize(c.get(), size);
  std::vector<uint8_t> in(kPiece), packed(ZSTD_CStreamOutSize());
  uint64_t written = 0;
  for (uint64_t at = 0; at < size;) {
    const uint64_t n = std::min<uint64_t>(kPiece, size - at);
    if (auto done = (*file)->source().read_at(at, std::span(in).first(n)); !done) return done;
    at += n;
    ZSTD_inBuffer source{in.data(), n, 0};
    const bool last = at == size;
    for (size_t left = 1; last ? left != 0 : source.pos < source.size;) {
      ZSTD_outBuffer target{packed.data(), packed.size(), 0};
      left = ZSTD_compressStream2(c.get(), &target, &source, last ? ZSTD_e_end : ZSTD_e_continue);
      CHECK(!ZSTD_isError(left));
      if (auto done = (*out)->write_at(written, {packed.data(), target.pos}); !done) return done;
      written += target.pos;
    }
  }
  return (*out)->commit();
}

Result<void> unpack(const std::string& from, const std::string& to, bool force) {
  auto source = open_file(from);
  if (!source) return source.error();
  auto bad = [&](std::string_view why) { return Error{ErrorKind::kBadInput, fmt::format("{}: {}", from, why)}; };
  auto out = AtomicFile::create(to, force);
  if (!out) return out.error();
  const std::unique_ptr<ZSTD_DCtx, Free> d(ZSTD_createDCtx());
  CHECK(d != nullptr);
  ZSTD_DCtx_setParameter(d.get(), ZSTD_d_windowLogMax, 27);
  // Pieces are gathered to whole ones, so that pages stay aligned.
  std::vector<uint8_t> in(kPiece), piece(kPiece);
  uint64_t written = 0;
  size_t filled = 0, left = 1;
  auto flush = [&]() -> Result<void> {
    if (written == 0 && (filled < SELFMAG || std::memcmp(piece.data(), ELFMAG, SELFMAG) != 0))
      return bad("what is packed there is no snapshot");
    if (written + filled > kMaxSnapshotBytes) return bad("unpacks to more than any snapshot");
    if (auto done = write_sparse(**out, written, std::span(piece).first(filled)); !done) return done;
    written += filled;
    filled = 0;
    return {};
  };
  for (uint64_t at = 0; at < (*source)->size();) {
    const uint64_t n = std::min<uint64_t>(kPiece, (*source)->size() - at);
    if (auto done = (*source)->read_at(at, std::span(in).first(n)); !done) return done;
    at += n;
    ZSTD_inBuffer input{in.data(), n, 0};
    while (input.pos < input.size || filled == piece.size()) {
      if (left == 0) return bad("bytes after the packed snapshot");
      ZSTD_outBuffer target{piece.data(), piece.size(), filled};
      left = ZSTD_decompressStream(d.get(), &target, &input);
      if (ZSTD_isError(left)) return bad(fmt::format("not a packed snapshot, or damaged: {}", ZSTD_getErrorName(left)));
      filled = target.pos;
      if (filled < piece.size()) continue;
      if (auto done = flush(); !done) return done;
    }
  }
  // What the decompressor still holds.
  for (size_t before = 1; left != 0 && before != 0;) {
    ZSTD_inBuffer nothing{nullptr, 0, 0};
    ZSTD_outBuffer target{piece.data(), piece.size(), filled};
    left = ZSTD_decompressStream(d.get(), &target, &nothing);
    if (ZSTD_isError(left)) return bad(fmt::format("damaged: {}", ZSTD_getErrorName(left)));
    before = target.pos - filled;
    filled = target.pos;
    if (filled == piece.size())
      if (auto done = flush(); !done) return done;
  }
  if (left != 0) return bad("cut off");
  if (auto done = flush(); !done) return done;
  if (auto done = (*out)->set_size(written); !done) return done;
  auto snapshot = SnapshotFile::open((*out)->source(from));
  if (!snapshot) return snapshot.error();
  if (auto done = (*snapshot)->verify(); !done) return done;
  return (*out)->commit();
}

}  // namespace dejavm
