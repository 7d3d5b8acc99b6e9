// The only door to the host's console, signals and real time. What comes in through here enters the machine as an Input
// and nowhere else (inputs.h), so the recorder sees all of it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "devices/core/result.h"
#include "vmm/board/inputs.h"
#include "vmm/machine/terminal_output.h"

namespace dejavm {

// Console of a file descriptor. Writes whole lines, or what there is at flush(). A write that fails (a full disk) is no
// error of the machine's, which goes on: output stops, and finish() says why.
class HostConsole final : public Console {
 public:
  // quiet: on a terminal, no question of the guest's reaches it (terminal_output.h).
  static std::unique_ptr<HostConsole> standard_output(bool quiet = false);
  // An existing file is refused unless it is empty or `force`, which empties it once there is something to write, or at
  // finish(): a run that never begins leaves it as it was. Not while somebody writes it. What is not a regular file (a
  // device, a pipe) is written to as it is.
  static Result<std::unique_ptr<HostConsole>> file(const std::string& path, bool force);
  ~HostConsole() override;
  void serial(std::span<const uint8_t> bytes) override;
  void debug(uint8_t byte) override;
  void flush();
  // All of it is where it should be, or what became of it. A reader that has closed its end of a pipe has what it
  // wanted.
  Result<void> finish();

 private:
  HostConsole(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;  // empty: standard output
  int error_ = 0;     // of the first write that failed
  bool to_be_emptied_ = false;
  void empty();
  void write_all(std::string_view text);
  std::optional<TerminalOutput> terminal_;  // standard output, if it is one
  std::string buffer_;
};

// From now on SIGINT, SIGTERM and SIGHUP (unless ignored) end a run as its user's wish instead of the process; a second
// one kills.
void stop_on_signals();
bool stop_requested();

// Nothing typed; an idle machine skips ahead. Ends the run on stop_requested().
class NoConsoleInputs : public Inputs {
 public:
  Retired next_poll(Position at) override;
  Input take(Position at, Nanos now) override;
  Nanos idle(Position at, Nanos now, Nanos next_event) override;
};

// Standard input. On a terminal (raw mode while this object lives, and again when the process goes on after a stop;
// Ctrl-A x ends the run, Ctrl-A Ctrl-A types a Ctrl-A) an idle machine waits in real time for input or its next event.
// Otherwise the bytes are typed as fast as the machine takes them, and an idle machine skips ahead once they are at an
// end.
class StandardInput final : public NoConsoleInputs {
 public:
  // room: how many bytes the machine takes now. flush: called before waiting.
  // wake_fd: what ends a wait early once it is readable; -1: nothing.
  StandardInput(
      std::function<size_t()> room, std::function<void()> flush, std::function<int()> wake_fd = [] { return -1; });
  ~StandardInput() override;
  Retired next_poll(Position at) override;
  Input take(Position at, Nanos now) override;
  Nanos idle(Position at, Nanos now, Nanos next_event) override;

 private:
  std::vector<uint8_t> read_some();
  struct Terminal;
  std::function<size_t()> room_;
  std::function<void()> flush_;
  std::function<int()> wake_fd_;
  std::unique_ptr<Terminal> terminal_;  // raw mode, if standard input is a terminal
  uint64_t next_read_ = 0;              // retired
  bool ready_ = false, ended_ = false, escape_ = false, stop_ = false;
};

}  // namespace dejavm
