// gdb's end of the line: a TCP connection, or standard input and output.
#pragma once

#include <memory>
#include <string>

#include "replay/gdb/session.h"

namespace dejavm::cli {

class Listener {
 public:
  // "HOST:PORT", ":PORT" for this host only, port 0 for a free one; IPv6 as [::1]:PORT. Errors name what cannot be had.
  static Result<Listener> open(const std::string& address);
  Listener(Listener&&) noexcept;
  ~Listener();
  const std::string& address() const { return address_; }  // as gdb's `target remote` takes it
  // Waits for one client; from then on nobody else can connect.
  Result<std::unique_ptr<gdb::Wire>> accept();

 private:
  Listener() = default;
  int fd_ = -1;
  std::string address_;
};

std::unique_ptr<gdb::Wire> stdio_wire();

}  // namespace dejavm::cli
