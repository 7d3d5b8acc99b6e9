#include "vmm/soft/translate/code_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace dejavm::soft {

Result<std::unique_ptr<CodeMemory>> CodeMemory::create(size_t bytes) {
  auto refused = [](const char* what) {
    return Error{ErrorKind::kHost, std::string(what) + ": " + std::strerror(errno)};
  };
  const int fd = memfd_create("dejavm-code", MFD_CLOEXEC);
  if (fd < 0) return refused("memfd_create");
  std::unique_ptr<CodeMemory> m(new CodeMemory);
  m->bytes_ = bytes;
  const char* problem = nullptr;
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) problem = "ftruncate";
  void* write = problem ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (!problem && write == MAP_FAILED) problem = "mmap";
  if (write != MAP_FAILED) m->write_ = static_cast<uint8_t*>(write);
  void* execute = problem ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
  if (!problem && execute == MAP_FAILED) problem = "mmap of executable memory";
  if (execute != MAP_FAILED) m->execute_ = static_cast<uint8_t*>(execute);
  const int error = errno;
  close(fd);
  errno = error;
  if (problem != nullptr) return refused(problem);
  return m;
}

CodeMemory::~CodeMemory() {
  if (write_ != nullptr) munmap(write_, bytes_);
  if (execute_ != nullptr) munmap(execute_, bytes_);
}

}  // namespace dejavm::soft
