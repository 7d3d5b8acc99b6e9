#include "replay/store/scratch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <fmt/format.h>

#include "replay/store/file_io.h"

namespace dejavm {

Result<std::unique_ptr<ScratchFile>> ScratchFile::create(const std::string& folder) {
  int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    const std::string name = fmt::format("{}/.dejavm.{}.scratch", folder, getpid());
    fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) ::unlink(name.c_str());
  }
  if (fd < 0) return host_error(folder, "create a temporary file in it", errno);
  return std::unique_ptr<ScratchFile>(new ScratchFile(fd, folder));
}

ScratchFile::~ScratchFile() { ::close(fd_); }

Result<uint64_t> ScratchFile::append(std::span<const uint8_t> bytes) {
  const uint64_t start = len_bytes_;
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(start + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return host_error(folder_, "write a temporary file in it", n < 0 ? errno : EIO);
    done += static_cast<size_t>(n);
  }
  len_bytes_ = start + bytes.size();
  return start;
}

Result<void> ScratchFile::read_at(uint64_t offset, std::span<uint8_t> to) const {
  for (size_t done = 0; done < to.size();) {
    const ssize_t n = ::pread(fd_, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return host_error(folder_, "read a temporary file in it", n < 0 ? errno : EIO);
    done += static_cast<size_t>(n);
  }
  return {};
}

}  // namespace dejavm
