#include "tools/dejavm/image_commit.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include <fmt/format.h>

#include "replay/snapshot/disk_images.h"
#include "replay/store/atomic_file.h"
#include "replay/store/file_io.h"

namespace dejavm::cli {
namespace {

Error cannot(const std::string& path, std::string_view why) {
  return {ErrorKind::kHost, fmt::format("{}: cannot be committed to: {}", path, why)};
}

Result<std::string> without_links(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (!real) return host_error(path, "find the file", errno);
  return std::string(real.get());
}

}  // namespace

Result<std::unique_ptr<ImageCommit>> ImageCommit::prepare(const std::string& path, ImageFormat said) {
  const bool is_raw = said == ImageFormat::kRaw;
  if (!is_raw && is_nbd_uri(path)) return cannot(path, "only raw files can; the server keeps its image to itself");
  auto real = without_links(path);
  if (!real) return real.error();
  if (const char* format = image_format_of(*real); format != nullptr && !is_raw)
    return cannot(path, fmt::format("its format is {}, and only raw files can; qemu-img convert makes one", format));
  auto image = RawImage::open(*real);
  if (!image) return image.error();
  const int lock = ::open(real->c_str(), O_RDWR | O_CLOEXEC);
  if (lock < 0) return host_error(path, "open the image for writing", errno);
  std::unique_ptr<ImageCommit> made(new ImageCommit(lock, real.take(), image.take()));
  struct stat st {};
  if (::fstat(lock, &st) != 0 || !S_ISREG(st.st_mode)) return cannot(path, "it is not a regular file");
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) return cannot(path, "another dejavm is about to do so");
  if (!still_in_place(lock, made->path_)) return cannot(path, "it was replaced just now; try again");
  return made;
}

ImageCommit::~ImageCommit() { ::close(lock_); }

Result<void> ImageCommit::replace(DiskImage& disk, uint64_t len_bytes) {
  if (image_->changed()) return cannot(path_, "it was written by another program meanwhile");
  auto out = AtomicFile::replace(path_, lock_);
  if (!out) return out.error();
  if (auto done = write_raw(**out, disk, 0, len_bytes); !done) return done.error();
  if (auto done = write_raw(**out, *image_, len_bytes, image_->len_bytes()); !done) return done.error();
  return (*out)->commit();
}

}  // namespace dejavm::cli
