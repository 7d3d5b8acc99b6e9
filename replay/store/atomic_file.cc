#include "replay/store/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <fmt/format.h>

namespace dejavm {
namespace {

std::string beside(const std::string& path) {
  return fmt::format("{}/.{}.{}.partial", folder_of(path), file_name(path), getpid());
}

}  // namespace

Result<std::unique_ptr<AtomicFile>> AtomicFile::create(const std::string& path, bool force) {
  struct stat st;
  if (::lstat(path.c_str(), &st) == 0) {
    if (!force) return exists_error(path);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
      return Error{ErrorKind::kHost, fmt::format("{}: is not a regular file", path)};
    if (auto done = not_being_written(path); !done) return done.error();
  }
  return open_beside(path, force);
}

Result<std::unique_ptr<AtomicFile>> AtomicFile::replace(const std::string& path, int locked) {
  struct stat st;
  if (::fstat(locked, &st) != 0) return host_error(path, "look at the file", errno);
  auto file = open_beside(path, true);
  if (!file) return file;
  (*file)->locked_ = locked;
  const int fd = (*file)->fd_;
  struct stat own;
  if (::fstat(fd, &own) != 0) return host_error(path, "look at the file", errno);
  const bool same_owner = own.st_uid == st.st_uid && own.st_gid == st.st_gid;
  if (!same_owner && ::fchown(fd, st.st_uid, st.st_gid) != 0) return host_error(path, "keep its owner", errno);
  if (::fchmod(fd, st.st_mode & 07777) != 0) return host_error(path, "keep its mode", errno);
  return file;
}

Result<std::unique_ptr<AtomicFile>> AtomicFile::open_beside(const std::string& path, bool force) {
  int fd = ::open(folder_of(path).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  std::string partial;
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    partial = beside(path);
    fd = ::open(partial.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  }
  if (fd < 0) return host_error(path, "create the file", errno);
  return std::unique_ptr<AtomicFile>(new AtomicFile(fd, path, partial, force));
}

AtomicFile::~AtomicFile() {
  ::close(fd_);
  if (!partial_.empty()) ::unlink(partial_.c_str());
}

Result<void> AtomicFile::write_at(uint64_t offset, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return host_error(path_, "write the file", n < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<void> AtomicFile::set_size(uint64_t bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return host_error(path_, "write the file", errno);
  return {};
}

std::unique_ptr<ByteSource> AtomicFile::source(const std::string& name) const { return borrow_file(fd_, name); }

Result<void> AtomicFile::commit() {
  if (::fsync(fd_) != 0) return host_error(path_, "write the file to disk", errno);
  if (force_)
    if (auto done = locked_ < 0 ? not_being_written(path_) : still_in_place(locked_, path_); !done) return done;
  if (partial_.empty()) {
    // A file without a name gets one; that cannot replace another, so with force it is a passing one.
    const std::string from = fmt::format("/proc/self/fd/{}", fd_), to = force_ ? beside(path_) : path_;
    if (force_) ::unlink(to.c_str());
    if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) != 0)
      return host_error(path_, "give the file its name", errno);
    if (force_) partial_ = to;
  }
  if (!partial_.empty()) {
    int result = ::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, path_.c_str(), force_ ? 0 : RENAME_NOREPLACE);
    if (result != 0 && errno == EINVAL && !force_) {
      // A file system that cannot do that (9p, some NFS): the name is taken first, and then replaced.
      const int taken = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (taken >= 0) {
        ::close(taken);
        result = ::rename(partial_.c_str(), path_.c_str());
        if (result != 0) {
          const int error = errno;
          ::unlink(path_.c_str());
          errno = error;
        }
      }
    }
    if (result != 0) return host_error(path_, "give the file its name", errno);
    partial_.clear();
  }
  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return {};
}

Result<void> write_whole(const std::string& path, std::span<const uint8_t> content, bool force) {
  auto file = AtomicFile::create(path, force);
  if (!file) return file.error();
  auto done = (*file)->write_at(0, content);
  return done ? (*file)->commit() : done;
}

Result<void> write_text(const std::string& path, std::string_view text, bool force) {
  return write_whole(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, force);
}

}  // namespace dejavm
