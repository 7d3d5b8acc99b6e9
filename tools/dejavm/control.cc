#include "tools/dejavm/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

#include "replay/store/file_io.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {
namespace {

using nlohmann::json;

constexpr size_t kMaxUnread = 1 << 20, kMaxClients = 64;
constexpr unsigned kMaxWaiting = 64;  // of one client ...
constexpr size_t kMaxQueued = 256;    // ... and of all

void wake(int fd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
}
void drain(int fd) {
  uint64_t count;
  [[maybe_unused]] const ssize_t n = ::read(fd, &count, sizeof count);
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error{ErrorKind::kHost,
                 fmt::format("{}: a socket's path has 1 to {} characters", path, sizeof address.sun_path - 1)};
  path.copy(address.sun_path, path.size());
  const auto* const where = reinterpret_cast<const sockaddr*>(&address);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return host_error(path, "make a socket", errno);
  auto give_up = [&](Error e) {
    ::close(fd);
    return e;
  };
  struct stat st;
  if (::lstat(path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) return give_up({ErrorKind::kHost, fmt::format("{}: exists and is no socket", path)});
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool alive = ::connect(probe, where, sizeof address) == 0;
    ::close(probe);
    if (alive) return give_up({ErrorKind::kHost, fmt::format("{}: another machine listens there", path)});
    ::unlink(path.c_str());
  }
  const mode_t before = ::umask(0177);  // 0600 from the first moment on
  const int bound = ::bind(fd, where, sizeof address);
  ::umask(before);
  if (bound != 0 || ::listen(fd, 128) != 0) return give_up(host_error(path, "listen", errno));
  return std::unique_ptr<ControlServer>(new ControlServer(path, fd));
}

ControlServer::ControlServer(std::string path, int fd)
    : path_(std::move(path)),
      listen_(fd),
      wake_server_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      wake_machine_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void ControlServer::start(const ControlStatus& status) {
  status_ = status;
  thread_ = std::thread([this] { work(); });
}

ControlServer::~ControlServer() {
  quit_ = true;
  wake(wake_server_);
  if (thread_.joinable()) thread_.join();
  ::unlink(path_.c_str());
  for (const auto& c : clients_) ::close(c->fd);
  ::close(listen_);
  ::close(wake_server_);
  ::close(wake_machine_);
}

std::optional<ControlRequest> ControlServer::next() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return std::nullopt;
  ControlRequest r = std::move(queue_.front());
  queue_.pop_front();
  pending_ = !queue_.empty();
  if (!pending_) drain(wake_machine_);
  return r;
}

std::string ControlServer::waiting() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const ControlRequest& r : queue_)
    out += (out.empty() ? "" : ", ") + r.command + (r.file.empty() ? "" : " " + r.file);
  if (out.size() > 1000) out.resize(1000);
  return out;
}

void ControlServer::wait(unsigned milliseconds) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(milliseconds), [&] { return !queue_.empty(); });
}

void ControlServer::answer(const ControlRequest& r, json answer) {
  if (!r.id.is_null()) answer["id"] = r.id;
  const std::lock_guard lock(mutex_);
  answers_.emplace_back(r.client, std::move(answer));
  wake(wake_server_);
}

void ControlServer::woken() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) drain(wake_machine_);
}

void ControlServer::watch(int fd) {
  const std::lock_guard lock(mutex_);
  watched_ = fd;
  wake(wake_server_);
}

void ControlServer::publish(const ControlStatus& s) {
  const std::lock_guard lock(mutex_);
  status_ = s;
}

void ControlServer::work() {
  while (!quit_) {
    std::vector<pollfd> fds = {{listen_, POLLIN, 0}, {wake_server_, POLLIN, 0}, {-1, POLLIN, 0}};
    {
      const std::lock_guard lock(mutex_);
      fds[2].fd = watched_;
    }
    for (const auto& c : clients_)
      fds.push_back(
          {c->fd, static_cast<short>((c->closing || c->ended ? 0 : POLLIN) | (c->out.empty() ? 0 : POLLOUT)), 0});
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    const size_t heard = clients_.size();
    for (size_t i = 0; i < heard; ++i) {
      Client& c = *clients_[i];
      const short events = fds[i + 3].revents;
      if ((events & POLLIN) && !c.closing && !c.ended) hear(c);
      else if (events & (POLLHUP | POLLERR)) drop(c);
      if (c.fd >= 0 && (events & POLLOUT)) {
        const ssize_t n = ::send(c.fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
        if (n > 0) c.out.erase(0, static_cast<size_t>(n));
        else if (n < 0 && errno != EAGAIN && errno != EINTR) drop(c);
      }
    }
    if (fds[1].revents & POLLIN) drain(wake_server_);
    if (fds[2].revents) {
      const std::lock_guard lock(mutex_);
      if (watched_ == fds[2].fd) watched_ = -1;
      wake(wake_machine_);
    }
    std::deque<std::pair<uint64_t, json>> answers;
    {
      const std::lock_guard lock(mutex_);
      answers.swap(answers_);
    }
    for (const auto& [number, answer] : answers)
      for (const auto& c : clients_)
        if (c->number == number && c->fd >= 0) {
          if (c->waiting > 0) --c->waiting;
          send(*c, answer);
        }
    if (fds[0].revents & POLLIN) accept_one();
    for (const auto& c : clients_)
      if (c->fd >= 0 && c->out.empty() && (c->closing || (c->ended && c->waiting == 0))) drop(*c);
    std::erase_if(clients_, [](const auto& c) { return c->fd < 0; });
  }
  // Last words: answers given just before the end.
  const std::lock_guard lock(mutex_);
  for (const auto& [number, answer] : answers_)
    for (const auto& c : clients_)
      if (c->number == number && c->fd >= 0) c->out += line_of(answer) + "\n";
  for (const auto& c : clients_)
    if (c->fd >= 0 && !c->out.empty()) ::send(c->fd, c->out.data(), c->out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ControlServer::accept_one() {
  const int fd = ::accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  ucred peer{};
  socklen_t len = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || (peer.uid != ::geteuid() && peer.uid != 0)) {
    ::close(fd);
    return;
  }
  if (clients_.size() >= kMaxClients) {
    // Who has been silent longest, and waits for nothing, makes room.
    const auto oldest = std::min_element(clients_.begin(), clients_.end(), [](const auto& a, const auto& b) {
      return std::pair(a->waiting > 0, a->last_heard) < std::pair(b->waiting > 0, b->last_heard);
    });
    drop(**oldest);
    std::erase_if(clients_, [](const auto& c) { return c->fd < 0; });
  }
  auto c = std::make_unique<Client>();
  c->number = next_client_++;
  c->fd = fd;
  c->last_heard = ++heard_;
  send(*c, {{"dejavm", "control"}, {"version", kControlVersion}, {"pid", ::getpid()}});
  clients_.push_back(std::move(c));
}

void ControlServer::hear(Client& c) {
  char part[16 << 10];
  const ssize_t n = ::recv(c.fd, part, sizeof part, 0);
  if (n == 0) {
    c.ended = true;
    return;
  }
  if (n < 0 && errno != EAGAIN && errno != EINTR) return drop(c);
  if (n < 0) return;
  c.last_heard = ++heard_;
  c.in.append({part, static_cast<size_t>(n)});
  while (c.fd >= 0) {
    const auto text = c.in.next();
    if (!text) break;
    auto parsed = parse_request(*text);
    if (auto* request = std::get_if<ControlRequest>(&parsed)) take(c, std::move(*request));
    else send(c, std::get<json>(parsed));
  }
  if (c.fd >= 0 && c.in.too_long()) {
    send(c, RequestLines::refusal_of_too_long());
    c.closing = true;
  }
}

void ControlServer::take(Client& c, ControlRequest r) {
  r.client = c.number;
  auto refuse = [&](const std::string& why) {
    json a = refusal(why);
    if (!r.id.is_null()) a["id"] = r.id;
    send(c, a);
  };
  if (r.command == "status") {
    ControlStatus s;
    {
      const std::lock_guard lock(mutex_);
      s = status_;
    }
    json a{
        {"ok", true}, {"state", s.state}, {"instruction", s.instruction}, {"now_ns", s.now_ns}, {"saving", s.saving}};
    if (!s.recording.empty()) a["recording"] = s.recording;
    if (!r.id.is_null()) a["id"] = r.id;
    return send(c, a);
  }
  if (c.waiting >= kMaxWaiting) return refuse("too many requests are waiting for their answers");
  bool full;
  {
    const std::lock_guard lock(mutex_);
    full = queue_.size() >= kMaxQueued;
    if (!full) queue_.push_back(r);
    pending_ = true;
  }
  if (full) return refuse("too many requests are waiting for this machine");
  ++c.waiting;
  wake(wake_machine_);
  changed_.notify_all();
}

void ControlServer::send(Client& c, const json& j) {
  c.out += line_of(j) + "\n";
  if (c.out.size() > kMaxUnread) return drop(c);  // it does not read
  const ssize_t n = ::send(c.fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
  if (n > 0) c.out.erase(0, static_cast<size_t>(n));
}

// What it asked for and the machine has not begun, nobody wants any more.
void ControlServer::drop(Client& c) {
  if (c.fd >= 0) ::close(c.fd);
  c.fd = -1;
  const std::lock_guard lock(mutex_);
  std::erase_if(queue_, [&](const ControlRequest& r) { return r.client == c.number; });
  pending_ = !queue_.empty();
}

}  // namespace dejavm::cli
