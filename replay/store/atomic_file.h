// A file that appears whole or not at all: written without a name (or beside its name), synced, then renamed, and the
// folder synced. Killed at any moment it leaves what was there before.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "devices/core/result.h"
#include "replay/store/file_io.h"

namespace dejavm {

class AtomicFile {
 public:
  // An existing file at `path` is refused unless `force`, which replaces it at commit().
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path, bool force);
  // Replaces the file that is open as `locked`, and that the caller has locked, at commit(); with its owner and mode.
  static Result<std::unique_ptr<AtomicFile>> replace(const std::string& path, int locked);
  ~AtomicFile();  // without commit(): nothing remains
  Result<void> write_at(uint64_t offset, std::span<const uint8_t> bytes);
  Result<void> set_size(uint64_t bytes);  // what was not written is holes
  // What was written so far, to be read back; errors call it `name`.
  std::unique_ptr<ByteSource> source(const std::string& name) const;
  Result<void> commit();

 private:
  AtomicFile(int fd, std::string path, std::string partial, bool force)
      : fd_(fd), path_(std::move(path)), partial_(std::move(partial)), force_(force) {}
  static Result<std::unique_ptr<AtomicFile>> open_beside(const std::string& path, bool force);
  int fd_;
  int locked_ = -1;             // what replace() was given
  std::string path_, partial_;  // partial_: its name meanwhile; empty: it has none
  bool force_;
};

// A whole file at once.
Result<void> write_whole(const std::string& path, std::span<const uint8_t> content, bool force);
Result<void> write_text(const std::string& path, std::string_view text, bool force);

}  // namespace dejavm
