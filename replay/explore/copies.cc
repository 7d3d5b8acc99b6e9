#include "replay/explore/copies.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

namespace dejavm {
namespace {

// What it throws ends it, and is not caught by whoever waits for it, of whom it is a copy, too.
[[noreturn]] void be_a_copy(int fd, const std::function<std::string()>& what) noexcept {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::string answer = what();
  std::string_view rest = answer;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(2);
    rest.remove_prefix(static_cast<size_t>(n));
  }
  _exit(0);
}

}  // namespace

Copies::~Copies() {
  for (const Copy& copy : all_) {
    kill(copy.pid, SIGKILL);
    close(copy.fd);
    waitpid(copy.pid, nullptr, 0);
  }
}

void Copies::start(uint64_t key, const std::function<std::string()>& what) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid == 0) {
    close(ends[0]);
    for (const Copy& other : all_) close(other.fd);
    be_a_copy(ends[1], what);
  }
  close(ends[1]);
  all_.push_back({key, pid, ends[0], Clock::now() + limit_, {}});
}

bool Copies::read_some(Copy& copy) {
  char buffer[1 << 16];
  const ssize_t n = ::read(copy.fd, buffer, sizeof buffer);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  copy.answer.append(buffer, static_cast<size_t>(n));
  return n > 0;
}

Copies::Done Copies::finish(size_t n) {
  Copy copy = std::move(all_[n]);
  all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(n));
  close(copy.fd);
  int status = 0;
  while (waitpid(copy.pid, &status, 0) < 0 && errno == EINTR) {}
  Done done{copy.key, {}, {}};
  if (copy.timed_out) done.fault = "it ran into the limit of the host's time";
  else if (WIFSIGNALED(status)) done.fault = fmt::format("it was ended by {}", strsignal(WTERMSIG(status)));
  else if (WEXITSTATUS(status) != 0) done.fault = fmt::format("it ended with status {}", WEXITSTATUS(status));
  else done.answer = std::move(copy.answer);
  return done;
}

std::optional<Copies::Done> Copies::wait(std::chrono::milliseconds at_most) {
  const Clock::time_point until = Clock::now() + at_most;
  while (!all_.empty()) {
    Clock::time_point first = until;
    std::vector<pollfd> fds;
    for (const Copy& copy : all_) {
      first = std::min(first, copy.deadline);
      fds.push_back({copy.fd, POLLIN, 0});
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Clock::now()).count();
    poll(fds.data(), fds.size(), static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
    for (size_t n = 0; n < fds.size(); ++n)
      if (fds[n].revents != 0 && !read_some(all_[n])) return finish(n);
    for (Copy& copy : all_)
      if (!copy.timed_out && Clock::now() >= copy.deadline) {
        copy.timed_out = true;
        kill(copy.pid, SIGKILL);
        copy.deadline = Clock::time_point::max();
      }
    if (Clock::now() >= until) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace dejavm
