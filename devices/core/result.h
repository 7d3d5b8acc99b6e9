// Errors of the world (bad files, missing permissions, hostile input) travel as Result<T>; our own faults are
// CHECKs, which stay on in release builds. No exception crosses a folder.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace dejavm {

// Exit statuses of the command line, by what went wrong. docs/manual.md lists them for users.
enum class ErrorKind : uint8_t {
  kHost = 1,        // usage, or the host refuses: permissions, full disk, missing file
  kBadInput = 2,    // a file is damaged, truncated, hostile, or of an unknown version
  kDivergence = 3,  // a replay differs from its log
  kGuest = 4,       // the guest stopped abnormally
};

// What, where and why, and what to do: `message` is complete as printed.
struct Error {
  ErrorKind kind = ErrorKind::kHost;
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : v_(std::move(error)) {}  // NOLINT
  bool ok() const { return v_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& operator*() { return std::get<0>(v_); }
  const T& operator*() const { return std::get<0>(v_); }
  T* operator->() { return &std::get<0>(v_); }
  const T* operator->() const { return &std::get<0>(v_); }
  const Error& error() const { return std::get<1>(v_); }
  T take() { return std::move(std::get<0>(v_)); }

 private:
  std::variant<T, Error> v_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

[[noreturn]] inline void check_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "dejavm: internal error: %s does not hold at %s:%d; please report this\n", what, file, line);
  std::abort();
}
#define CHECK(x) ((x) ? (void)0 : ::dejavm::check_failed(#x, __FILE__, __LINE__))

}  // namespace dejavm
