#include "vmm/machine/host.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace dejavm {
namespace {

constexpr uint64_t kPollInstructions = 5'000'000;
constexpr size_t kBufferBytes = 4096, kReadBytes = 64;
constexpr uint8_t kEscape = 1;  // Ctrl-A

volatile sig_atomic_t stopping = 0;

void on_signal(int number) {
  if (stopping) {
    signal(number, SIG_DFL);
    raise(number);
  }
  stopping = 1;
}

// Until there is input, `wait` is over (negative: for ever), `wake_fd` is readable, or a signal comes. True: input, or
// its end.
bool wait_for_input(std::chrono::nanoseconds wait, int wake_fd = -1) {
  pollfd p[2] = {{STDIN_FILENO, POLLIN, 0}, {wake_fd, POLLIN, 0}};
  timespec t{};
  if (wait.count() >= 0) {
    t.tv_sec = wait.count() / 1'000'000'000;
    t.tv_nsec = wait.count() % 1'000'000'000;
  }
  return ppoll(p, 2, wait.count() < 0 ? nullptr : &t, nullptr) > 0 && p[0].revents != 0;
}

}  // namespace

std::unique_ptr<HostConsole> HostConsole::standard_output(bool quiet) {
  std::unique_ptr<HostConsole> console(new HostConsole(STDOUT_FILENO, {}));
  if (isatty(STDOUT_FILENO)) console->terminal_.emplace(quiet);
  return console;
}

Result<std::unique_ptr<HostConsole>> HostConsole::file(const std::string& path, bool force) {
  const auto refused = [&](const std::string& why) { return Error{ErrorKind::kHost, path + ": " + why}; };
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return refused(std::string("cannot write the console to it: ") + std::strerror(errno));
  std::unique_ptr<HostConsole> console(new HostConsole(fd, path));
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return console;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0)
    return refused("is being written by a dejavm; choose another file for the console, or end that one first");
  if (st.st_size > 0 && !force)
    return refused("exists; choose another file for the console, or give --force to replace its content");
  console->to_be_emptied_ = st.st_size > 0;
  return console;
}

void HostConsole::empty() {
  if (!to_be_emptied_) return;
  to_be_emptied_ = false;
  if (ftruncate(fd_, 0) != 0 && error_ == 0) error_ = errno;
}

HostConsole::~HostConsole() {
  flush();
  if (terminal_) write_all(terminal_->restore());
  if (!path_.empty()) close(fd_);
}

Result<void> HostConsole::finish() {
  empty();
  flush();
  if (terminal_) write_all(terminal_->restore());
  const std::string name = path_.empty() ? "standard output" : path_;
  if (error_ != 0 && error_ != EPIPE)
    return Error{ErrorKind::kHost, name + ": the guest's output is not complete: " + std::strerror(error_)};
  struct stat open, named;
  if (path_.empty() || fstat(fd_, &open) != 0 || !S_ISREG(open.st_mode)) return {};
  if (stat(path_.c_str(), &named) != 0 || open.st_dev != named.st_dev || open.st_ino != named.st_ino)
    return Error{ErrorKind::kHost, name + ": was removed or replaced while the guest's output was written to it"};
  return {};
}

void HostConsole::serial(std::span<const uint8_t> bytes) {
  buffer_.append(bytes.begin(), bytes.end());
  if (buffer_.size() >= kBufferBytes || (!bytes.empty() && bytes.back() == '\n')) flush();
}

void HostConsole::debug(uint8_t byte) { serial({&byte, 1}); }

void HostConsole::flush() {
  write_all(terminal_ ? terminal_->pass(buffer_) : buffer_);
  buffer_.clear();
}

void HostConsole::write_all(std::string_view text) {
  if (!text.empty()) empty();
  while (!text.empty() && error_ == 0) {
    const ssize_t n = write(fd_, text.data(), text.size());
    if (n >= 0) text.remove_prefix(static_cast<size_t>(n));
    else if (errno != EINTR) error_ = errno;
  }
}

void stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction before {};
  sigaction(SIGHUP, nullptr, &before);
  if (before.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);  // nohup's programs outlive their terminal
  signal(SIGPIPE, SIG_IGN);
}

bool stop_requested() { return stopping; }

Retired NoConsoleInputs::next_poll(Position at) { return at.retired + 4 * kPollInstructions; }
Input NoConsoleInputs::take(Position, Nanos) {
  return {stop_requested() ? Input::Kind::kStop : Input::Kind::kNone, {}};
}
Nanos NoConsoleInputs::idle(Position, Nanos now, Nanos next_event) { return next_event == kNever ? now : next_event; }

// One at a time: the handlers below have no other way to it.
struct StandardInput::Terminal {
  termios before{}, raw{};
  const pid_t group = getpgrp();  // now: the sandbox does not let it be asked later
  static Terminal* current;
  Terminal() {
    tcgetattr(STDIN_FILENO, &before);
    raw = before;
    cfmakeraw(&raw);
    raw.c_oflag = before.c_oflag;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    current = this;
    struct sigaction action {};
    action.sa_handler = [](int) { current->enter(current->raw); };
    sigaction(SIGCONT, &action, nullptr);
    action.sa_handler = [](int) {
      current->enter(current->before);
      raise(SIGSTOP);
    };
    sigaction(SIGTSTP, &action, nullptr);
  }
  ~Terminal() {
    signal(SIGCONT, SIG_DFL);
    signal(SIGTSTP, SIG_DFL);
    enter(before);
    current = nullptr;
  }
  // In the background the terminal is somebody else's, and touching it would stop the process.
  void enter(const termios& mode) const {
    const int error = errno;
    if (tcgetpgrp(STDIN_FILENO) == group) tcsetattr(STDIN_FILENO, TCSANOW, &mode);
    errno = error;
  }
};
StandardInput::Terminal* StandardInput::Terminal::current = nullptr;

StandardInput::StandardInput(std::function<size_t()> room, std::function<void()> flush, std::function<int()> wake_fd)
    : room_(std::move(room)), flush_(std::move(flush)), wake_fd_(std::move(wake_fd)) {
  if (isatty(STDIN_FILENO)) terminal_ = std::make_unique<Terminal>();
}
StandardInput::~StandardInput() = default;

Retired StandardInput::next_poll(Position at) { return at.retired + kPollInstructions; }

// What standard input has, without waiting.
std::vector<uint8_t> StandardInput::read_some() {
  std::vector<uint8_t> bytes(std::min(room_(), kReadBytes));
  if (bytes.empty() || !wait_for_input(std::chrono::nanoseconds(0))) return {};
  const ssize_t n = read(STDIN_FILENO, bytes.data(), bytes.size());
  if (n <= 0) {
    ended_ = n == 0 || errno != EINTR;
    return {};
  }
  bytes.resize(static_cast<size_t>(n));
  if (!terminal_) return bytes;
  std::vector<uint8_t> typed;
  for (uint8_t byte : bytes) {
    if (escape_) {
      escape_ = false;
      if (byte == 'x') stop_ = true;
      else typed.push_back(byte);
    } else if (byte == kEscape) {
      escape_ = true;
    } else {
      typed.push_back(byte);
    }
  }
  return typed;
}

Input StandardInput::take(Position at, Nanos now) {
  if (stop_) return {Input::Kind::kStop, {}};
  if (Input input = NoConsoleInputs::take(at, now); input.kind != Input::Kind::kNone) return input;
  if (ended_ || (!ready_ && at.retired.value < next_read_)) return {};
  ready_ = false;
  next_read_ = at.retired.value + kPollInstructions;
  flush_();
  std::vector<uint8_t> bytes = read_some();
  if (stop_) return {Input::Kind::kStop, {}};
  if (bytes.empty()) return {};
  return {Input::Kind::kConsole, std::move(bytes)};
}

Nanos StandardInput::idle(Position at, Nanos now, Nanos next_event) {
  flush_();
  if (ended_) return NoConsoleInputs::idle(at, now, next_event);
  ready_ = true;
  const bool for_ever = next_event == kNever;
  if (!terminal_) {
    // A pipe: typed bytes are taken now, or, when there is nothing else to wait for, as soon as there are any.
    if (!for_ever) return next_event;
    wait_for_input(std::chrono::nanoseconds(-1), wake_fd_());
    return now + Nanos{1};
  }
  const auto begin = std::chrono::steady_clock::now();
  wait_for_input(std::chrono::nanoseconds(
                     for_ever ? -1 : static_cast<int64_t>(std::min((next_event - now).value, uint64_t{1} << 62))),
                 wake_fd_());
  const auto waited = static_cast<uint64_t>((std::chrono::steady_clock::now() - begin).count());
  return std::min(now + Nanos{std::max<uint64_t>(waited, 1)}, next_event);
}

}  // namespace dejavm
