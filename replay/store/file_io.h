// The two things that a trace needs of a file: to append, and to read at an offset. Also in memory, for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/result.h"

namespace dejavm {

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // All of it, or an error and possibly a part.
  virtual Result<void> append(std::span<const uint8_t> bytes) = 0;
  // Takes back what lies beyond `len` (a part of a failed append).
  virtual void truncate(uint64_t len) = 0;
  // The file is of no use to anybody: no snapshot got into it.
  virtual void discard() = 0;
  // Whether what was appended is what a reader finds under the name: nobody has replaced or removed it meanwhile.
  virtual Result<void> in_place() const { return {}; }
};

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  // All of `to`, or an error; never beyond size().
  virtual Result<void> read_at(uint64_t offset, std::span<uint8_t> to) const = 0;
  virtual const std::string& name() const = 0;
  virtual int fd() const { return -1; }  // of a file, for mapping it
};

// "PATH: cannot DOING: what errno says"
Error host_error(const std::string& path, std::string_view doing, int error);

// "PATH: exists; ...": an existing file is refused unless the user forces it.
Error exists_error(const std::string& path);
std::string folder_of(const std::string& path);  // "." for a bare name
std::string file_name(const std::string& path);

// An error if somebody, this process included, is writing the file at `path`: what dejavm writes is locked meanwhile.
Result<void> not_being_written(const std::string& path);
// An error unless `path` names the file that is open as `fd`.
Result<void> still_in_place(int fd, const std::string& path);

// Creates the file itself, not a temporary one, and keeps it locked. An existing one is refused unless `force`, which
// replaces it, but not while it is being written.
Result<std::unique_ptr<ByteSink>> create_file(const std::string& path, bool force);
Result<std::unique_ptr<ByteSource>> open_file(const std::string& path);
// A file that is open already, through a descriptor of its own.
std::unique_ptr<ByteSource> borrow_file(int fd, const std::string& name);

class MemorySink final : public ByteSink {
 public:
  explicit MemorySink(std::vector<uint8_t>& to, uint64_t limit = ~uint64_t{0}) : to_(to), limit_(limit) {}
  Result<void> append(std::span<const uint8_t> bytes) override;
  void truncate(uint64_t len) override { to_.resize(len); }
  void discard() override { to_.clear(); }

 private:
  std::vector<uint8_t>& to_;
  uint64_t limit_;  // a disk of this size
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::vector<uint8_t> bytes, std::string name = "memory")
      : bytes_(std::move(bytes)), name_(std::move(name)) {}
  uint64_t size() const override { return bytes_.size(); }
  Result<void> read_at(uint64_t offset, std::span<uint8_t> to) const override;
  const std::string& name() const override { return name_; }

 private:
  std::vector<uint8_t> bytes_;
  std::string name_;
};

}  // namespace dejavm
