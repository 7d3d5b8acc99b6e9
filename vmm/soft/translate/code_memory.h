// Memory for generated code: one piece of memory mapped twice, once to write and once to execute, so that no page is
// ever both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "devices/core/result.h"

namespace dejavm::soft {

class CodeMemory {
 public:
  // Error: the host refuses memory that can be executed.
  static Result<std::unique_ptr<CodeMemory>> create(size_t bytes);
  ~CodeMemory();
  CodeMemory(const CodeMemory&) = delete;
  CodeMemory& operator=(const CodeMemory&) = delete;
  uint8_t* writable() const { return write_; }
  const uint8_t* executable() const { return execute_; }
  size_t bytes() const { return bytes_; }

 private:
  CodeMemory() = default;
  uint8_t* write_ = nullptr;
  uint8_t* execute_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace dejavm::soft
