#include "replay/store/file_io.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace dejavm {
namespace {

class FileSink final : public ByteSink {
 public:
  FileSink(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~FileSink() override { ::close(fd_); }
  Result<void> append(std::span<const uint8_t> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return host_error(path_, "write the file", n < 0 ? errno : EIO);
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return {};
  }
  void truncate(uint64_t len) override {
    // Best effort: a reader stops at the last whole frame anyway.
    if (::ftruncate(fd_, static_cast<off_t>(len)) == 0) ::lseek(fd_, static_cast<off_t>(len), SEEK_SET);
  }
  void discard() override {
    if (in_place()) ::unlink(path_.c_str());
  }
  Result<void> in_place() const override { return still_in_place(fd_, path_); }

 private:
  int fd_;
  std::string path_;
};

class FileSource final : public ByteSource {
 public:
  FileSource(int fd, std::string path, uint64_t size) : fd_(fd), path_(std::move(path)), size_(size) {}
  ~FileSource() override { ::close(fd_); }
  uint64_t size() const override { return size_; }
  Result<void> read_at(uint64_t offset, std::span<uint8_t> to) const override {
    while (!to.empty()) {
      const ssize_t n = ::pread(fd_, to.data(), to.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return host_error(path_, "read the file", errno);
      if (n == 0) return Error{ErrorKind::kBadInput, fmt::format("{}: became shorter while it was read", path_)};
      to = to.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return {};
  }
  const std::string& name() const override { return path_; }
  int fd() const override { return fd_; }

 private:
  int fd_;
  std::string path_;
  uint64_t size_;
};

}  // namespace

Error host_error(const std::string& path, std::string_view doing, int error) {
  std::string hint;
  if (error == ENOSPC || error == EDQUOT) hint = "; free some space and try again";
  return {ErrorKind::kHost, fmt::format("{}: cannot {}: {}{}", path, doing, std::strerror(error), hint)};
}

Error exists_error(const std::string& path) {
  return {ErrorKind::kHost, fmt::format("{}: exists; choose another name, or give --force to replace it", path)};
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Result<void> not_being_written(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {};
  const bool locked = ::flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  if (!locked) return {};
  return Error{ErrorKind::kHost,
               fmt::format("{}: is being written by a dejavm; choose another name, or end that one first", path)};
}

Result<void> still_in_place(int fd, const std::string& path) {
  struct stat open, named;
  if (::fstat(fd, &open) != 0) return host_error(path, "look at the file", errno);
  if (::stat(path.c_str(), &named) != 0)
    return Error{ErrorKind::kHost, fmt::format("{}: was removed while it was written; its content is lost", path)};
  if (open.st_dev != named.st_dev || open.st_ino != named.st_ino)
    return Error{ErrorKind::kHost,
                 fmt::format("{}: was replaced by another file while it was written; its content is lost", path)};
  return {};
}

namespace {

// Whether an existing file at `path` may be replaced.
Result<void> replaceable(const std::string& path, bool force) {
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0) return {};
  if (!force) return exists_error(path);
  if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
    return Error{ErrorKind::kHost, fmt::format("{}: is not a regular file", path)};
  return not_being_written(path);
}

}  // namespace

Result<std::unique_ptr<ByteSink>> create_file(const std::string& path, bool force) {
  if (auto done = replaceable(path, force); !done) return done.error();
  // With `force` it is locked before it has the name, and replaces an existing one rather than empties it: who has that
  // open keeps a whole one.
  const std::string name = force ? fmt::format("{}/.{}.{}.new", folder_of(path), file_name(path), getpid()) : path;
  const int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | (force ? O_TRUNC : O_EXCL) | O_CLOEXEC, 0666);
  if (fd < 0) return errno == EEXIST ? exists_error(path) : host_error(path, "create the file", errno);
  ::flock(fd, LOCK_EX | LOCK_NB);  // tells others that it is being written
  if (force && ::rename(name.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(name.c_str());
    ::close(fd);
    return host_error(path, "create the file", error);
  }
  return std::unique_ptr<ByteSink>(std::make_unique<FileSink>(fd, path));
}

Result<std::unique_ptr<ByteSource>> open_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return host_error(path, "open the file", errno);
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    return Error{ErrorKind::kHost, fmt::format("{}: is not a regular file", path)};
  }
  return std::unique_ptr<ByteSource>(std::make_unique<FileSource>(fd, path, static_cast<uint64_t>(st.st_size)));
}

std::unique_ptr<ByteSource> borrow_file(int fd, const std::string& name) {
  struct stat st;
  const int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  CHECK(own >= 0 && ::fstat(own, &st) == 0);
  return std::make_unique<FileSource>(own, name, static_cast<uint64_t>(st.st_size));
}

Result<void> MemorySink::append(std::span<const uint8_t> bytes) {
  const uint64_t room = limit_ - to_.size();
  const auto part = bytes.first(std::min<uint64_t>(room, bytes.size()));
  to_.insert(to_.end(), part.begin(), part.end());
  if (part.size() < bytes.size()) return host_error("memory", "write the file", ENOSPC);
  return {};
}

Result<void> MemorySource::read_at(uint64_t offset, std::span<uint8_t> to) const {
  CHECK(offset <= bytes_.size() && to.size() <= bytes_.size() - offset);
  std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
  return {};
}

}  // namespace dejavm
