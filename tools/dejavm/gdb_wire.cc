#include "tools/dejavm/gdb_wire.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace dejavm::cli {
namespace {

class FdWire final : public gdb::Wire {
 public:
  FdWire(int in, int out, bool owned) : in_(in), out_(out), owned_(owned) {}
  ~FdWire() override {
    if (owned_) close(in_);
  }
  std::vector<uint8_t> receive(bool wait) override {
    std::vector<uint8_t> bytes(65536);
    pollfd p{in_, POLLIN, 0};
    int ready;
    do ready = poll(&p, 1, wait ? -1 : 0);
    while (ready < 0 && errno == EINTR);
    if (ready == 0) return {};
    const ssize_t n = read(in_, bytes.data(), bytes.size());
    if (n <= 0) {
      closed_ = closed_ || n == 0 || errno != EINTR;
      return {};
    }
    bytes.resize(static_cast<size_t>(n));
    return bytes;
  }
  void send(std::string_view text) override {
    while (!text.empty() && !closed_) {
      const ssize_t n =
          owned_ ? ::send(out_, text.data(), text.size(), MSG_NOSIGNAL) : write(out_, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) closed_ = true;
      else text.remove_prefix(static_cast<size_t>(n));
    }
  }
  bool closed() const override { return closed_; }
  int fd() const override { return in_; }

 private:
  int in_, out_;
  bool owned_, closed_ = false;
};

Error host_error(std::string why) { return {ErrorKind::kHost, std::move(why)}; }

}  // namespace

Listener::Listener(Listener&& o) noexcept : fd_(std::exchange(o.fd_, -1)), address_(std::move(o.address_)) {}
Listener::~Listener() {
  if (fd_ >= 0) close(fd_);
}

Result<Listener> Listener::open(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon + 1 == text.size())
    return host_error(fmt::format("'{}': expected HOST:PORT, as in 127.0.0.1:1234", text));
  std::string host = text.substr(0, colon);
  const std::string port = text.substr(colon + 1);
  if (host.empty()) host = "127.0.0.1";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0)
    return host_error(fmt::format("'{}': {}", text, gai_strerror(error)));
  Listener l;
  l.fd_ = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (l.fd_ >= 0) setsockopt(l.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool listening = l.fd_ >= 0 && bind(l.fd_, found->ai_addr, found->ai_addrlen) == 0 && listen(l.fd_, 1) == 0;
  const int error = errno;
  freeaddrinfo(found);
  if (!listening)
    return host_error(
        fmt::format("cannot listen at {}: {}; port 0 takes any that is free", text, std::strerror(error)));
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(l.fd_, reinterpret_cast<sockaddr*>(&bound), &size);
  const bool v6 = bound.ss_family == AF_INET6;
  const unsigned number =
      ntohs(v6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  l.address_ = fmt::format("{}:{}", v6 ? "[" + host + "]" : host, number);
  return l;
}

Result<std::unique_ptr<gdb::Wire>> Listener::accept() {
  int fd;
  do fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return host_error(fmt::format("no connection at {}: {}", address_, std::strerror(errno)));
  close(std::exchange(fd_, -1));
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return std::unique_ptr<gdb::Wire>(std::make_unique<FdWire>(fd, fd, true));
}

std::unique_ptr<gdb::Wire> stdio_wire() { return std::make_unique<FdWire>(STDIN_FILENO, STDOUT_FILENO, false); }

}  // namespace dejavm::cli
