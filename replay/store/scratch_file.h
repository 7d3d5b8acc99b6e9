// A file without a name, for what memory is too small for; it is gone with whoever made it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "devices/core/result.h"

namespace dejavm {

class ScratchFile {
 public:
  static Result<std::unique_ptr<ScratchFile>> create(const std::string& folder);
  ~ScratchFile();
  // Where it is from now on.
  Result<uint64_t> append(std::span<const uint8_t> bytes);
  Result<void> read_at(uint64_t offset, std::span<uint8_t> to) const;

 private:
  ScratchFile(int fd, std::string folder) : fd_(fd), folder_(std::move(folder)) {}
  int fd_;
  std::string folder_;
  uint64_t len_bytes_ = 0;
};

}  // namespace dejavm
